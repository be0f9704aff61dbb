package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"time"
)

// startLimit bounds the wait for each thing to work.
const startLimit = 3 * time.Minute

// up makes the cluster run: at once if it does, else from nothing, whatever a
// crash has left.
func (c cluster) up(ctx context.Context, say func(string, ...any)) error {
	want, err := version()
	if err != nil {
		return err
	}
	if c.healthy(ctx, want) == nil {
		return nil
	}
	if err := prepareMachine(say); err != nil {
		return err
	}
	if err := c.checkAlone(); err != nil {
		return err
	}
	if err := c.build(ctx, say); err != nil {
		return err
	}
	if err := c.down(); err != nil {
		return err
	}
	if err := c.prepare(); err != nil {
		return err
	}
	s := &starter{cluster: c, say: say, ended: map[string]<-chan struct{}{}}
	if err := s.start(ctx); err != nil {
		return err
	}
	return os.WriteFile(c.run("version"), []byte(want), 0o644)
}

// healthy says what is missing from a cluster of that version.
func (c cluster) healthy(ctx context.Context, want string) error {
	if have, err := os.ReadFile(c.run("version")); err != nil || string(have) != want {
		return errors.New("no cluster of this version was started")
	}
	running, err := c.processes()
	if err != nil {
		return err
	}
	alive := map[string]bool{}
	for _, name := range running {
		alive[name] = true
	}
	for _, p := range c.programs() {
		if !alive[p.name] {
			return fmt.Errorf("%s has ended", p.name)
		}
	}
	a, err := c.api()
	if err != nil {
		return err
	}
	return errors.Join(a.get(ctx, "/readyz", nil), a.expect(ctx, "/api/v1/nodes/"+nodeName, "Ready"))
}

// prepare writes what the programs need into an empty run folder and checks
// that nobody is in their way.
func (c cluster) prepare() error {
	if err := os.MkdirAll(c.Run(), 0o755); err != nil {
		return err
	}
	if err := writeCertificates(c.PKI(), time.Now()); err != nil {
		return err
	}
	if err := c.writeConfig(); err != nil {
		return err
	}
	if err := c.makeCgroups(); err != nil {
		return err
	}
	if err := setUpNetwork(); err != nil {
		return err
	}
	return checkFree()
}

// starter starts the programs of one cluster in the order of their needs.
type starter struct {
	cluster
	say   func(string, ...any)
	ended map[string]<-chan struct{}
}

func (s *starter) start(ctx context.Context) error {
	if err := s.launch(s.registry(), s.containerd(), s.etcd()); err != nil {
		return err
	}
	if err := s.await(ctx, "etcd", "etcd answers", answers("http://"+etcdClient+"/health")); err != nil {
		return err
	}
	if err := s.launch(s.apiServer()); err != nil {
		return err
	}
	if err := s.awaitImages(ctx); err != nil {
		return err
	}
	a, err := s.api()
	if err != nil {
		return err
	}
	if err := s.await(ctx, "kube-apiserver", "the API server answers", func(ctx context.Context) error { return a.get(ctx, "/readyz", nil) }); err != nil {
		return err
	}
	if err := s.launch(s.controllerManager(), s.scheduler(), s.kubelet(), s.kubeProxy()); err != nil {
		return err
	}
	if err := s.startMetrics(ctx); err != nil {
		return err
	}
	return s.awaitNode(ctx, a)
}

// awaitImages waits for what pods are made of.
func (s *starter) awaitImages(ctx context.Context) error {
	if err := s.await(ctx, "registry", "the image registry answers", answers("http://"+registryAddress+"/v2/pause/manifests/3.10")); err != nil {
		return err
	}
	return s.await(ctx, "containerd", "containerd listens", func(context.Context) error { _, err := os.Stat(s.Socket()); return err })
}

// startMetrics tells the API server of metrics-server and starts it.
func (s *starter) startMetrics(ctx context.Context) error {
	manifest, err := render("metrics.yaml", s.cluster)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.bin("kubectl"), "--kubeconfig="+s.kubeconfig("admin"), "apply", "--validate=false", "-f", "-")
	cmd.Stdin = bytes.NewReader(manifest)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return s.launch(s.metricsServer())
}

func (s *starter) awaitNode(ctx context.Context, a api) error {
	for _, w := range []struct {
		program, what string
		ready         func(context.Context) error
	}{
		{"kubelet", "the node is ready", func(ctx context.Context) error { return a.expect(ctx, "/api/v1/nodes/"+nodeName, "Ready") }},
		{"kube-proxy", "Services are routed", answers("http://" + proxyHealth + "/healthz")},
		{"kube-controller-manager", "pods may be made", func(ctx context.Context) error {
			return a.get(ctx, "/api/v1/namespaces/default/serviceaccounts/default", nil)
		}},
		{"metrics-server", "metrics-server answers", func(ctx context.Context) error {
			return a.expect(ctx, "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io", "Available")
		}},
		{"metrics-server", "the node's use is known", func(ctx context.Context) error {
			return a.get(ctx, "/apis/metrics.k8s.io/v1beta1/nodes/"+nodeName, nil)
		}},
	} {
		if err := s.await(ctx, w.program, w.what, w.ready); err != nil {
			return err
		}
	}
	return nil
}

func (s *starter) launch(programs ...program) error {
	for _, p := range programs {
		ended, err := s.cluster.start(p)
		if err != nil {
			return err
		}
		s.ended[p.name] = ended
	}
	return nil
}

// await polls until something is so, or the program it depends on has ended, or
// it is too late.
func (s *starter) await(ctx context.Context, program, what string, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ready(ctx)
		if err == nil {
			s.say("%s", what)
			return nil
		}
		select {
		case <-s.ended[program]:
			return fmt.Errorf("%s ended:\n%s", program, s.logTail(program))
		case <-ctx.Done():
			return fmt.Errorf("waited in vain until %s: %w\n%s", what, err, s.logTail(program))
		case <-tick.C:
		}
	}
}

// answers asks a URL whether it is well.
func answers(url string) func(context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second}
	return func(ctx context.Context) error { return get(ctx, client, url, nil) }
}
