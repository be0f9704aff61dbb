//go:build e2e

package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// kubeStage is what all tales share: a cluster and the registries.
type kubeStage struct {
	*world
	cluster  *e2e.KubeCluster
	dir      string
	creating sync.Mutex // what --create makes is large: one at a time
}

func newKubeStage(t *testing.T) *kubeStage {
	t.Helper()
	dir := t.TempDir()
	w, err := newWorld(dir, buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	delete(w.vars, "XDG_CACHE_HOME") // each machine has its own
	buildWrongServer(t, "miscalculates")
	return &kubeStage{world: w, cluster: e2e.Cluster(t), dir: dir}
}

// kubePlace is a Deployment, the model that is brought to it and whoever asks
// it all the time.
type kubePlace struct {
	ns     string
	name   string  // of the Deployment and of the model
	live   string  // the version that serves; empty: none
	prober *prober // nil: nobody asks
}

// kubeCrash tells tales in a namespace of its own.
type kubeCrash struct {
	*kubeStage
	*kubePlace
	t       *testing.T
	home    string // the namespace
	proxied string // the kubeconfig of the machine whose runs are killed
	proxy   *e2e.APIProxy
	lasting *kubePlace // where there is always a release before
	tale    *kubeTale
	turn    int
	what    string
}

func (k *kubeStage) worker(t *testing.T) *kubeCrash {
	t.Helper()
	c := &kubeCrash{kubeStage: k, t: t, home: k.cluster.Namespace(t)}
	c.proxied, c.proxy = k.cluster.Proxied(t)
	return c
}

// begin makes everything ready for the tale.
func (c *kubeCrash) begin(tale *kubeTale) {
	c.t.Helper()
	c.tale = tale
	switch {
	case tale.creates:
		c.kubePlace = c.nowhere()
		return
	case tale.fresh:
		c.kubePlace = c.newPlace()
		return
	}
	if c.lasting == nil {
		c.settle()
	}
	c.kubePlace = c.lasting
	if tale.steps() {
		c.prepare()
	}
}

func (t *kubeTale) steps() bool { return len(t.codes) > 1 }

// newPlace makes a Deployment that nothing was deployed to. The one before is
// taken away.
func (c *kubeCrash) newPlace() *kubePlace {
	c.t.Helper()
	if old := c.kubePlace; old != nil && old != c.lasting && old.prober != nil {
		old.prober.close()
		c.cluster.Kubectl(c.t, "-n", old.ns, "delete", "deployment/"+old.name, "service/"+old.name, "--wait=false")
	}
	p := c.named(c.home)
	p.prober = newPacedProber(c.cluster.Place(c.t, p.ns, p.name, 1), 50*time.Millisecond)
	c.t.Cleanup(p.prober.close)
	return p
}

// nowhere is a place of which nothing is there, not even the namespace.
func (c *kubeCrash) nowhere() *kubePlace {
	c.t.Helper()
	p := c.named("e2e-" + strings.ToLower(rand.Text()[:10]))
	c.t.Cleanup(func() { c.cluster.EndNamespace(c.t, p.ns) })
	return p
}

// named returns a place with a model of its own.
func (c *kubeCrash) named(ns string) *kubePlace {
	c.t.Helper()
	c.turn++
	p := &kubePlace{ns: ns, name: fmt.Sprintf("iris-%d-%s", c.turn, strings.TrimPrefix(c.home, "e2e-"))}
	for _, dir := range []string{"iris-1", "iris-2"} {
		if _, err := c.client.Register(c.t.Context(), slipway.ModelName(p.name), c.vars["MODELS"]+"/"+dir); err != nil {
			c.t.Fatal(err)
		}
	}
	return p
}

// settle makes the place where there is always a release before: both versions
// were verified, and every request must be answered from now on.
func (c *kubeCrash) settle() {
	c.t.Helper()
	c.lasting = c.newPlace()
	c.kubePlace = c.lasting
	for _, version := range []string{"1", "2"} {
		c.must("two", "deploy", "models:/"+c.name+"/"+version, "--image", c.image(), "--to", c.target())
		c.live = version
	}
	c.prober.routed(c.t)
	c.prober.live()
}

// prepare makes release.json, as the steps before the rollout do.
func (c *kubeCrash) prepare() {
	c.t.Helper()
	for _, args := range [][]string{
		{"extract", "models:/" + c.name + "/" + c.wanted(), "--image", c.image(), "--to", c.target()}, {"validate"}, {"build"}, {"push"},
	} {
		c.must("one", append(args, "--release", c.release())...)
	}
}

func (c *kubeCrash) target() string  { return "kubernetes://" + c.ns + "/" + c.name }
func (c *kubeCrash) image() string   { return c.vars["IMAGES"] + "/" + c.name }
func (c *kubeCrash) release() string { return filepath.Join(c.dir, c.name+".json") }

// wanted is the version that the tale deploys: the one that does not serve.
func (c *kubeCrash) wanted() string {
	if c.live == "2" {
		return "1"
	}
	return "2"
}

// deploy is the tale's command.
func (c *kubeCrash) deploy(flags ...string) []string {
	args := []string{"deploy", "models:/" + c.name + "/" + c.wanted(), "--image", c.image(), "--to", c.target()}
	if c.tale.server != "" {
		args = append(args, "--server", buildWrongServer(c.t, c.tale.server))
	}
	return append(args, flags...)
}

// again is deploy as the next run does it: what was bad is not insisted on.
func (c *kubeCrash) again() []string {
	switch {
	case c.tale.server != "":
		return c.deploy()
	case c.tale.creates:
		return c.deploy("--create")
	}
	return c.deploy("--retry")
}

// command is a run of slipway in a process of its own, on one of two machines.
func (c *kubeCrash) command(machine, kubeconfig string, args ...string) (*exec.Cmd, *bytes.Buffer) {
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	for name, value := range c.vars {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Env = append(cmd.Env, "HOME="+filepath.Join(c.dir, machine), "PATH="+os.Getenv("PATH"), "KUBECONFIG="+kubeconfig,
		crashLease+"="+shortLease.String())
	out := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, out
	return cmd, out
}

func (c *kubeCrash) slipwayAt(machine, kubeconfig string, args ...string) (int, string) {
	c.t.Helper()
	cmd, out := c.command(machine, kubeconfig, args...)
	if err := cmd.Run(); cmd.ProcessState == nil {
		c.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// must runs slipway, which is to end well.
func (c *kubeCrash) must(machine string, args ...string) {
	c.t.Helper()
	if code, text := c.slipwayAt(machine, c.cluster.Kubeconfig, args...); code != exitLive {
		c.t.Fatalf("%s: slipway %v: exit code %d\n%s", c.what, args, code, text)
	}
}

// get reads an object, or a list, of the namespace.
func (c *kubeCrash) get(v any, args ...string) {
	c.t.Helper()
	out := c.cluster.Kubectl(c.t, append([]string{"-n", c.ns, "get", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		c.t.Fatalf("kubectl get %v: %v", args, err)
	}
}

// record is the target's journal; zero where there is none yet.
func (c *kubeCrash) record() (r slipway.Record) {
	c.t.Helper()
	var m struct {
		Items []struct {
			Metadata struct{ Name string }
			Data     map[string]string
		}
	}
	c.get(&m, "configmaps")
	for _, item := range m.Items {
		if item.Metadata.Name != c.name+"-slipway" || item.Data["record.json"] == "" {
			continue
		}
		if err := json.Unmarshal([]byte(item.Data["record.json"]), &r); err != nil {
			c.t.Fatal(err)
		}
	}
	return r
}

// check looks at all worlds: the cluster, the journal in it, the model registry
// and those who ask for predictions.
func (c *kubeCrash) check(allowed ...string) {
	c.t.Helper()
	record := c.record()
	if record.Current != nil {
		c.t.Errorf("%s: %s is still on its way, %s", c.what, record.Current.Model, record.Current.Phase)
	}
	served := ""
	if record.Live != nil {
		served = string(record.Live.Model.Version)
	}
	if !slices.Contains(allowed, served) {
		c.t.Errorf("%s: version %q is live, want one of %q", c.what, served, allowed)
	}
	if record.Live != nil && record.Live.Phase != slipway.Verified {
		c.t.Errorf("%s: what is live is %s", c.what, record.Live.Phase)
	}
	c.checkPods(record.Live)
	c.checkTags(served)
	if c.prober != nil {
		c.prober.blame(c.t, c.what)
	}
	c.live = served
}

// pods are those of the place which do not end.
func (c *kubeCrash) pods() (running []kubePod) {
	c.t.Helper()
	var list struct{ Items []kubePod }
	c.get(&list, "pods", "-l", "app="+c.name)
	for _, p := range list.Items {
		if p.Metadata.DeletionTimestamp == "" {
			running = append(running, p)
		}
	}
	return running
}

type kubePod struct {
	Metadata struct{ Name, DeletionTimestamp string }
	Spec     struct{ Containers []struct{ Image string } }
	Status   struct {
		Conditions []struct{ Type, Status string }
	}
}

func (p kubePod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// checkPods wants every pod to run the release and to be ready; nil: none to be
// ready.
func (c *kubeCrash) checkPods(live *slipway.Release) {
	c.t.Helper()
	pods := c.pods()
	for _, p := range pods {
		image := p.Spec.Containers[0].Image
		ready := p.ready() || c.tale.creates // an autoscaler may just have made more
		if live == nil && p.ready() || live != nil && (!ready || image != live.Image.Ref()) {
			c.t.Errorf("%s: live is %+v, and %s runs %s, ready: %t", c.what, live, p.Metadata.Name, image, p.ready())
		}
	}
	if live != nil && len(pods) != 1 && !c.tale.creates {
		c.t.Errorf("%s: %d pods", c.what, len(pods))
	}
	var d struct {
		Metadata struct{ Annotations map[string]string }
	}
	c.get(&d, "deployment", c.name)
	if got := d.Metadata.Annotations["slipway.dev/release"]; live != nil && got != string(live.ID) || live == nil && got != "" {
		c.t.Errorf("%s: live is %+v, and the Deployment says release %q", c.what, live, got)
	}
}

// checkTags wants the model registry to say that the version is live, and no
// other.
func (c *kubeCrash) checkTags(served string) {
	c.t.Helper()
	for _, version := range []string{"1", "2"} {
		v, err := c.client.Resolve(c.t.Context(), mustRef(c.t, "models:/"+c.name+"/"+version))
		if err != nil {
			c.t.Fatal(err)
		}
		if status := v.Tags[tagStatus]; (status == "live") != (version == served) {
			c.t.Errorf("%s: version %s serves, and %s is tagged %q", c.what, served, version, status)
		}
	}
}

// routed waits until the Service has answered for a second.
func (p *prober) routed(t *testing.T) {
	t.Helper()
	from := time.Now()
	for until := from.Add(30 * time.Second); time.Since(from) < time.Second; <-time.After(20 * time.Millisecond) {
		p.mu.Lock()
		lately, last, wrong := p.unheard, p.last, p.wrong
		p.unheard = 0
		p.mu.Unlock()
		if lately > 0 {
			from = time.Now()
		}
		if time.Now().After(until) {
			t.Fatalf("%s does not answer: %v %v", p.url, last, wrong)
		}
	}
}
