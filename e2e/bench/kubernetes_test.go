//go:build bench

package bench_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/k8s"
	"github.com/slipway-dev/slipway/mlflow"
)

const inCluster = "deployment/inference-service"

// site is the Deployment of the project's manifest with three pods, in a
// namespace of its own.
type site struct {
	*machine
	t         *testing.T
	cluster   *e2e.KubeCluster
	namespace string
	lose      atomic.Bool // the image registry has no manifest for the nodes
}

// small makes of the manifest what always fits on one node.
var small = strings.NewReplacer("cpu: 100m", "cpu: 10m", "memory: 128Mi", "memory: 32Mi", "maxReplicas: 10", "maxReplicas: 3")

// newSite brings version 1 of the demo's model to a new Deployment.
func newSite(t *testing.T) *site {
	t.Helper()
	cluster := e2e.Cluster(t)
	s := &site{t: t, cluster: cluster, namespace: cluster.Namespace(t)}
	s.machine = &machine{program: filepath.Join(root(t), "bin", "slipway"), target: "kubernetes://" + s.namespace + "/inference-service"}
	s.registry = s.openRegistry(e2e.StartImageRegistry(t))
	s.env = append(homeIs(t.TempDir()), "KUBECONFIG="+cluster.Kubeconfig)
	cluster.Apply(t, small.Replace(strings.ReplaceAll(string(k8s.Production), "production", s.namespace)))
	s.kubectl("scale", inCluster, "--replicas=3") // the autoscaler takes its time
	s.deploy(t, 1, 0)
	s.settle()
	return s
}

// openRegistry is the way to the image registry, which can lose images after
// they were pushed.
func (s *site) openRegistry(host string) string {
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.lose.Load() && path.Base(path.Dir(r.URL.Path)) == "manifests" && strings.HasPrefix(r.UserAgent(), "containerd/") {
			http.NotFound(w, r)
			return
		}
		to.ServeHTTP(w, r)
	}))
	s.t.Cleanup(door.Close)
	return strings.TrimPrefix(door.URL, "http://")
}

func (s *site) kubectl(args ...string) string {
	s.t.Helper()
	return s.cluster.Kubectl(s.t, append([]string{"-n", s.namespace}, args...)...)
}

// settle waits until there are three pods and no more, all of them ready.
func (s *site) settle() {
	s.t.Helper()
	s.kubectl("rollout", "status", inCluster, "--timeout=2m")
	for deadline := time.Now().Add(2 * time.Minute); ; {
		ready := strings.Fields(s.kubectl("get", "pods", "-l", "app=inference-service", "-o", `jsonpath={range .items[*]}{.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`))
		if slices.Equal(ready, []string{"True", "True", "True"}) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("no three ready pods in %s: %v", s.namespace, ready)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// surge sets how many pods more than three there may be during a rollout.
func (s *site) surge(pods string) {
	s.kubectl("patch", inCluster, "--type=merge", "-p", fmt.Sprintf(`{"spec":{"strategy":{"rollingUpdate":{"maxSurge":%s}}}}`, pods))
}

// release deploys a version and returns how long that took from the time its
// image was in the registry, as kubectl finds it.
func (s *site) release(version, wantCode int, args ...string) (slipway.Release, time.Duration) {
	s.t.Helper()
	r, took := s.deploy(s.t, version, wantCode, args...)
	return r, took - spent(r, "resolve", "validate", "build", "push")
}

// byKubectl sets the image and waits for the rollout, as people do.
func (s *site) byKubectl(image string) time.Duration {
	s.t.Helper()
	began := time.Now()
	s.kubectl("set", "image", inCluster, "inference-service="+image)
	s.kubectl("rollout", "status", inCluster, "--timeout=5m")
	return time.Since(began)
}

func middle(all []time.Duration) time.Duration {
	slices.Sort(all)
	return all[len(all)/2].Round(10 * time.Millisecond)
}

// TestKubernetesUpdate replaces a version by another one, with kubectl and with
// slipway in turns, each in a Deployment of its own.
func TestKubernetesUpdate(t *testing.T) {
	ours, theirs := newSite(t), newSite(t)
	images := map[int]string{}
	for _, v := range []int{2, 1} { // so that every image has been on the node before
		r, _ := theirs.release(v, 0)
		images[v] = r.Image.Ref()
		theirs.settle()
		ours.release(v, 0)
		ours.settle()
	}
	bars := map[string]string{"1": "≤ 1.2 times", `"100%"`: "≤ 0.7 of kubectl with 1"}
	var single time.Duration
	for _, surge := range []string{"1", `"100%"`} {
		ours.surge(surge)
		theirs.surge(surge)
		var a, b []time.Duration
		for i := range 4 {
			v := 2 - i%2
			b = append(b, theirs.byKubectl(images[v]))
			theirs.settle()
			_, took := ours.release(v, 0)
			a = append(a, took)
			ours.settle()
		}
		o, k := middle(a), middle(b)
		if surge == "1" {
			single = k
		}
		row(t, "update of 3 pods to live, maxSurge "+strings.Trim(surge, `"`), bars[surge], "%v of kubectl's %v = %.2f", o, k, o.Seconds()/k.Seconds())
		if surge != "1" {
			row(t, "… of kubectl with maxSurge 1", "≤ 0.7", "%v of %v = %.2f", o, single, o.Seconds()/single.Seconds())
		}
	}
}

// TestKubernetesFailure has versions fail, and counts what they answered.
func TestKubernetesFailure(t *testing.T) {
	s := newSite(t)
	s.lose.Store(true)
	r, took := s.release(2, 3)
	s.lose.Store(false)
	row(t, "image that is gone: noticed and back", "≤ 3 s", "%v (noticed %v, back %v)", took.Round(10*time.Millisecond), spent(r, "rollout"), spent(r, "rollback"))
	row(t, "… with kubectl, 30 s deadline, then undo", "", "%v", newSite(t).undone().Round(10*time.Millisecond))
	for _, fault := range []string{"dies", "miscalculates"} {
		s.settle()
		answered := s.count()
		r, took := s.release(3, 3, "--retry", "--server", buildWrong(t, fault))
		row(t, "model that "+fault+": noticed and back", "≤ 5 s", "%v (noticed %v, back %v)", took.Round(10*time.Millisecond), spent(r, "rollout"), spent(r, "rollback"))
		bad, all := answered()
		row(t, "… requests it answered", "0", "%d of %d", bad, all)
	}
}

// undone is how long a missing image takes with kubectl until all is as before.
func (s *site) undone() time.Duration {
	s.t.Helper()
	s.kubectl("patch", inCluster, "--type=merge", "-p", `{"spec":{"progressDeadlineSeconds":30}}`)
	s.settle()
	began := time.Now()
	s.kubectl("set", "image", inCluster, "inference-service="+s.registry+"/iris:none")
	if _, _, err := s.cluster.TryKubectl(s.t, "", "-n", s.namespace, "rollout", "status", inCluster, "--timeout=110s"); err == nil {
		s.t.Fatal("kubectl takes an image that does not exist for a good one")
	}
	s.kubectl("rollout", "undo", inCluster)
	for { // at first it still tells the deadline of the rollout that was undone
		_, stderr, err := s.cluster.TryKubectl(s.t, "", "-n", s.namespace, "rollout", "status", inCluster, "--timeout=60s")
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > 3*time.Minute {
			s.t.Fatalf("the undone rollout does not settle: %s", stderr)
		}
	}
}

func buildWrong(t *testing.T, fault string) string {
	t.Helper()
	return build(t, "./e2e/testdata/wrongserver", "-X main.fault="+fault)
}

// count asks the Service all the time, until the function it returns is called:
// that gives how many answers were not version 1's, and how many there were.
func (s *site) count() func() (bad, all int) {
	s.t.Helper()
	ip := s.kubectl("get", "service", "inference-service", "-o", "jsonpath={.spec.clusterIP}")
	live := s.liveVersion()
	stop, ended := make(chan struct{}), make(chan [2]int)
	go func() {
		var n [2]int
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				ended <- n
				return
			case <-tick.C:
			}
			n[1]++
			r, err := client.Post("http://"+ip+":8000/invocations", "application/json", strings.NewReader(oneRow))
			if err == nil {
				r.Body.Close()
			}
			if err != nil || r.StatusCode != http.StatusOK || r.Header.Get("X-Model-Version") != live {
				n[0]++
			}
		}
	}()
	return func() (bad, all int) {
		close(stop)
		n := <-ended
		return n[0], n[1]
	}
}

func (s *site) liveVersion() string {
	s.t.Helper()
	out, _, err := s.run(s.t.Context(), "status", s.target, "-o", "json")
	if err != nil {
		s.t.Fatal(err)
	}
	var all []struct{ Serving slipway.Release }
	if err := json.Unmarshal(out, &all); err != nil || len(all) != 1 {
		s.t.Fatalf("reading %s: %v", out, err)
	}
	return string(all[0].Serving.Model.Version)
}

// TestKubernetesPromotion moves an alias in a real MLflow and waits until the
// version serves on three pods, all of them verified.
func TestKubernetesPromotion(t *testing.T) {
	s := newSite(t)
	uri := e2e.MLflow(t)
	s.env = append(s.env, "MLFLOW_TRACKING_URI="+uri)
	client := registered(t, uri)
	var took []time.Duration
	for i := range 4 {
		began := time.Now()
		if err := client.SetAlias(t.Context(), "iris", "champion", slipway.Version(strconv.Itoa(1+i%2))); err != nil {
			t.Fatal(err)
		}
		if _, _, err := s.run(t.Context(), "deploy", "models:/iris@champion", "--image", s.registry+"/iris", "--to", s.target); err != nil {
			t.Fatal(err)
		}
		if i > 0 { // the first one finds nothing in any cache
			took = append(took, time.Since(began))
		}
		s.settle()
	}
	row(t, "promote in MLflow to live on 3 pods", "≤ 8 s", "%v (median of 3)", middle(took))
}

// registered has two versions of the model "iris" logged and registered.
func registered(t *testing.T, uri string) *mlflow.Client {
	t.Helper()
	file := filepath.Join(t.TempDir(), "answers.json")
	cmd := exec.CommandContext(t.Context(), e2e.Python(t, e2e.ScikitLearn...), "../testdata/log_models.py", uri, file)
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("logging models: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var logged map[string]struct{ ID string }
	if err := json.Unmarshal(data, &logged); err != nil {
		t.Fatal(err)
	}
	client, err := mlflow.New(mlflow.Config{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.CreateModel(t.Context(), "iris"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"logistic", "forest"} {
		id := logged[name].ID
		if _, err := client.CreateVersion(t.Context(), "iris", mlflow.NewVersion{Source: "models:/" + id, ModelID: id}); err != nil {
			t.Fatal(err)
		}
	}
	return client
}
