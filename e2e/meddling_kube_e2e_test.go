//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/rollout"
)

// The moments at which somebody meddles: once the API server has taken in the
// first call of the kind, and before slipway learns so.
const (
	inRollout = "apply deployments"
	inVerify  = "get pods/proxy /health"
)

// meddling is what somebody else does in the middle of the release of version
// 2, and how that ends. Version 1 serves before.
type meddling struct {
	name     string
	at       string
	does     func(*meddled)
	end      rollout.Kind
	serves   string // the version that serves then; empty: none
	replicas int
	said     []string
	loses    bool // requests, because of what was done
	again    bool // another release follows; it always does when this one did not become live
}

var meddlings = []meddling{
	{name: "another env", at: inRollout, does: kubectlDoes("set", "env", "deployment/"+deployment, "FLOUR=rye"),
		end: rollout.Live, serves: "2", replicas: 2, said: []string{"the pod template was changed by kubectl-set"}},
	{name: "other resources", at: inVerify, does: kubectlDoes("set", "resources", "deployment/"+deployment, "--requests=memory=40Mi"),
		end: rollout.Live, serves: "2", replicas: 2, said: []string{"the pod template was changed by kubectl-set"}},
	{name: "another image", at: inRollout, does: kubectlDoes("set", "image", "deployment/"+deployment, deployment+"=registry.k8s.io/pause:3.10"),
		end: rollout.RolledBack, serves: "1", replicas: 2, said: []string{"somebody else set it back to nothing", "the image was set to registry.k8s.io/pause:3.10 by kubectl-set"}},
	{name: "scaled", at: inRollout, does: kubectlDoes("scale", "deployment/"+deployment, "--replicas=3"),
		end: rollout.Live, serves: "2", replicas: 3, said: []string{"scaled to 3 by kubectl"}},
	{name: "scaled while verified", at: inVerify, does: kubectlDoes("scale", "deployment/"+deployment, "--replicas=3"),
		end: rollout.Live, serves: "2", replicas: 3, said: []string{"scaled to 3 by kubectl"}},
	{name: "scaled by an autoscaler", at: inRollout, does: autoscales,
		end: rollout.Live, serves: "2", replicas: 3},
	{name: "undone", at: inRollout, does: kubectlDoes("rollout", "undo", "deployment/"+deployment),
		end: rollout.RolledBack, serves: "1", replicas: 2, said: []string{"somebody else set it back"}},
	{name: "undone while verified", at: inVerify, does: kubectlDoes("rollout", "undo", "deployment/"+deployment),
		end: rollout.RolledBack, serves: "1", replicas: 2, said: []string{"somebody else set it back"}},
	{name: "applied again", at: inRollout, does: func(m *meddled) { m.apply() },
		end: rollout.RolledBack, serves: "1", replicas: 2, said: []string{"somebody else set it back to nothing", "by kubectl-client-side-apply"}},
	{name: "paused", at: inRollout, does: kubectlDoes("rollout", "pause", "deployment/"+deployment),
		end: rollout.NeedsPerson, said: []string{"the Deployment is paused", "rollout resume"}},
	{name: "paused while verified", at: inVerify, does: kubectlDoes("rollout", "pause", "deployment/"+deployment),
		end: rollout.Live, serves: "2", replicas: 2},
	{name: "deleted", at: inRollout, does: kubectlDoes("delete", "deployment/"+deployment, "--wait=false"),
		end: rollout.NeedsPerson, said: []string{"--create"}, loses: true},
	{name: "a new pod deleted", at: inVerify, does: (*meddled).deletesPod,
		end: rollout.Live, serves: "2", replicas: 2},
	{name: "the record deleted", at: inRollout, does: kubectlDoes("delete", "configmap/"+deployment+"-slipway"),
		end: rollout.Live, serves: "2", replicas: 2, again: true},
	{name: "the lock deleted", at: inRollout, does: kubectlDoes("delete", "lease/"+deployment+"-slipway"),
		end: rollout.Live, serves: "2", replicas: 2, again: true},
}

// Whatever others do to a Deployment in the middle of a release: it is told,
// it ends consistent, and nothing that is wrong ever answers.
func TestE2ESomebodyMeddles(t *testing.T) {
	var all sync.WaitGroup // they wait most of the time
	turns := make(chan bool, 4)
	for _, m := range meddlings {
		all.Go(func() {
			turns <- true
			t.Run(m.name, m.happens)
			<-turns
		})
	}
	all.Wait()
}

func (m meddling) happens(t *testing.T) {
	c := newMeddled(t, 2)
	c.once(m.at, 1, func() { m.does(c) })
	got := c.release(m.end)
	c.ended(got, m.end, m.serves)
	for _, text := range m.said {
		if !strings.Contains(got.stderr+got.stdout, text) {
			t.Errorf("want %q said\n%s", text, got)
		}
	}
	if m.serves != "" {
		c.byHand("wait", "deployment/"+deployment, fmt.Sprintf("--for=jsonpath={.status.readyReplicas}=%d", m.replicas), "--timeout=90s")
		c.consistent(c.digests[m.serves], m.replicas)
	}
	c.watch.report(m.loses)
	if m.again || m.end != rollout.Live {
		c.nextIsLive()
	}
}

// kubectlDoes is somebody with kubectl.
func kubectlDoes(args ...string) func(*meddled) {
	return func(m *meddled) { m.byHand(args...) }
}

// autoscales makes an autoscaler, which wants three pods some seconds later:
// before the release has ended or after.
func autoscales(m *meddled) {
	m.byHand("autoscale", "deployment/"+deployment, "--min=3", "--max=3", "--cpu=70%")
}

// deletesPod deletes one of the pods of version 2.
func (m *meddled) deletesPod() {
	out := m.byHand("get", "pods", "-l", "app="+deployment, "-o", `jsonpath={range .items[*]}{.metadata.name} {.spec.containers[0].image}{"\n"}{end}`)
	for line := range strings.Lines(out) {
		if name, image, _ := strings.Cut(strings.TrimSpace(line), " "); !strings.HasSuffix(image, m.digests["1"]) {
			m.byHand("delete", "pod", name, "--wait=false")
			return
		}
	}
	m.t.Error("there is no pod of version 2")
}

// meddled is a world where version 1 serves and version 2 is promoted. What
// slipway asks of the API server goes through a proxy.
type meddled struct {
	*clustered
	proxy    *e2e.APIProxy
	digests  map[string]string // of the images, by version; of 2 once it was released
	watch    *watcher
	replicas int
}

func newMeddled(t testing.TB, replicas int) *meddled {
	t.Helper()
	m := &meddled{clustered: newClustered(t, replicas, "logistic", "forest", "odds"), digests: map[string]string{}, replicas: replicas}
	m.promote("champion", "1")
	m.digests["1"] = string(m.outcome(0, "deploy", m.champion()).Release.Image.Digest)
	m.promote("champion", "2")
	m.env[0] = "KUBECONFIG=" + m.cluster.Kubeconfig
	var config string
	config, m.proxy = m.cluster.Proxied(t)
	m.env[0] = "KUBECONFIG=" + config
	m.watch = newWatcher(m.clustered)
	return m
}

// elsewhere is another machine of the same people, with its own way to the API
// server.
func (m *meddled) elsewhere() *world {
	w := *m.world
	w.home = m.t.(*testing.T).TempDir()
	w.env = append([]string{"KUBECONFIG=" + m.cluster.Kubeconfig}, m.env[1:]...)
	return &w
}

// once does something when the API server has taken in the n-th call of the
// kind. slipway gets the answer once it is done.
func (m *meddled) once(kind string, n int, do func()) {
	var mu sync.Mutex
	m.proxy.After(func(c e2e.APICall) {
		if c.Kind != kind {
			return
		}
		mu.Lock()
		n--
		now := n == 0
		mu.Unlock()
		if now {
			// Who wrote last is known to the second: a second later nobody can
			// take what comes now for what came with the release.
			time.Sleep(time.Second)
			do()
		}
	})
}

// byHand runs kubectl while slipway runs.
func (m *meddled) byHand(args ...string) string {
	stdout, stderr, err := m.cluster.TryKubectl(m.t, "", append([]string{"-n", m.namespace}, args...)...)
	if err != nil {
		m.t.Errorf("kubectl %v: %v\n%s", args, err, stderr)
	}
	return stdout
}

func (m *meddled) apply() { m.cluster.Place(m.t, m.namespace, deployment, m.replicas) }

var codes = map[rollout.Kind]int{rollout.Live: 0, rollout.RolledBack: 3, rollout.NeedsPerson: 4}

// release deploys version 2, which ends so.
func (m *meddled) release(end rollout.Kind, flags ...string) ran {
	m.t.Helper()
	return m.want(codes[end], nil, append([]string{"deploy", m.champion(), "-o", "json"}, flags...)...)
}

// ended wants the outcome of a run, and what serves.
func (m *meddled) ended(got ran, end rollout.Kind, serves string) {
	m.t.Helper()
	var all []outcome
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || len(all) != 1 {
		m.t.Fatalf("not one outcome (%v)\n%s", err, got)
	}
	o := all[0]
	m.digests["2"] = string(o.Release.Image.Digest)
	if o.Kind != string(end) || serves != "" && (o.Serving == nil || string(o.Serving.Model.Version) != serves) {
		m.t.Errorf("want %s, and version %s to serve\n%s", end, serves, got)
	}
	if serves != "" {
		m.answersLike(serves, m.names[serves[0]-'1'])
	}
}

// nextIsLive wants the next release to find everything in order.
func (m *meddled) nextIsLive() {
	m.t.Helper()
	if m.kubectl("get", "deployment", deployment, "--ignore-not-found", "-o", "name") == "" {
		m.apply()
	}
	m.byHand("patch", "deployment", deployment, "-p", `{"spec": {"paused": false}}`)
	m.promote("champion", "3")
	w := m.elsewhere()
	if o := w.outcome(0, "deploy", m.champion()); o.Kind != "live" {
		m.t.Errorf("the next release: %+v", o)
	}
	m.answersLike("3", "odds")
}

// watcher asks a Service all the time, and judges the answers.
type watcher struct {
	t     testing.TB
	end   chan struct{}
	done  sync.WaitGroup
	mu    sync.Mutex
	right map[string]json.RawMessage
	asked int
	wrong []string
	lost  []string
}

// newWatcher begins to ask: over a connection that is kept and over new ones.
func newWatcher(c *clustered) *watcher {
	c.t.Helper()
	flower, right := c.flower()
	body, err := json.Marshal(map[string]any{"dataframe_records": []any{flower}})
	if err != nil {
		c.t.Fatal(err)
	}
	request := fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", c.address, len(body), body)
	w := &watcher{t: c.t, end: make(chan struct{}), right: right}
	time.Sleep(time.Second) // kube-proxy may need as long for a Service that is new
	for _, keep := range []bool{true, false} {
		w.done.Go(func() { w.ask(caller{address: c.address}, request, keep) })
	}
	c.t.Cleanup(w.stop)
	return w
}

func (w *watcher) ask(c caller, request []byte, keep bool) {
	defer c.hangUp()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-w.end:
			return
		case <-tick.C:
		}
		version, body, err := c.ask(request)
		if !keep || err != nil {
			c.hangUp()
		}
		w.judge(version, body, err)
	}
}

func (w *watcher) judge(version string, body []byte, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if err != nil {
		w.lost = append(w.lost, time.Now().Format("15:04:05.000 ")+err.Error())
		return
	}
	var reply struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := json.Unmarshal(body, &reply); err != nil || !bytes.Equal(reply.Predictions, w.right[version]) {
		w.wrong = append(w.wrong, fmt.Sprintf("version %q answered %s", version, body))
	}
}

func (w *watcher) stop() {
	select {
	case <-w.end:
	default:
		close(w.end)
	}
	w.done.Wait()
}

// report fails the test for wrong answers so far, and for lost requests unless
// some had to be.
func (w *watcher) report(loses bool) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Logf("%d requests, %d lost", w.asked, len(w.lost))
	if len(w.wrong) > 0 {
		w.t.Errorf("%d wrong answers, the first: %s", len(w.wrong), w.wrong[0])
	}
	if len(w.lost) > 0 && !loses {
		w.t.Errorf("%d of %d requests lost, the first: %s", len(w.lost), w.asked, w.lost[0])
	}
	w.lost = nil
}

// writes are the calls that left a trace, from the n-th on.
func (m *meddled) writes(from int) []string {
	var kinds []string
	for _, c := range m.proxy.Calls() {
		if c.Number >= from && !c.Reads {
			kinds = append(kinds, c.Kind)
		}
	}
	slices.Sort(kinds)
	return kinds
}
