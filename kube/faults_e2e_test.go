//go:build e2e

package kube_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/verify"
)

// fault is something that goes wrong on the way of a release, and what is to
// be said of it.
type fault struct {
	name    string
	first   bool                           // nothing serves before it
	prepare func(*scene)                   // before the bad release
	bend    func(*scene, *slipway.Release) // makes the release bad
	during  func(*scene)                   // while the release is on its way
	want    rollout.Kind                   // default: rolled back, removed if it is the first
	kind    string                         // of the problem; empty: none
	says    string                         // a part of its message or evidence
	heals   string                         // the kind of a problem that is seen meanwhile and heals
	notes   string                         // a part of a note that is told
	gap     bool                           // nothing need serve for a while: the pods before made room for ones that were ready
}

var faults = []fault{
	{name: "the image does not exist", bend: otherImage(strings.Repeat("0", 64)), kind: "image-not-found", says: "not found"},
	{name: "the registry answers 401", bend: fromRegistry("401"), kind: "pull-refused", says: "401"},
	{name: "the registry answers 403", bend: fromRegistry("403"), kind: "pull-refused", says: "403"},
	{name: "no such platform", bend: func(s *scene, r *slipway.Release) { r.Image = wrongImage(s.t).index }, kind: "no-platform"},
	{name: "the registry answers 503 and recovers", bend: fromRegistry("503-once"), during: (*scene).registryRecovers, want: rollout.Live, heals: "pull-fails"},
	{name: "the registry is slow", bend: fromRegistry("slow"), want: rollout.Live},

	{name: "it crashes at once", bend: wrong("dies"), kind: "crashed", says: "out of flour"},
	{name: "it crashes after it was ready", bend: wrong("dies-asked"), kind: "crashed", says: "oven is cold", gap: true},
	{name: "it needs more memory than its limit", prepare: memoryLimit("64Mi"), bend: wrong("gobbles"), kind: "oom-killed", says: "64Mi"},
	{name: "the command is wrong", first: true, prepare: patchContainer(`"command":["/nothere"]`), kind: "cannot-start", says: "/nothere"},
	{name: "golden predictions differ", bend: func(s *scene, r *slipway.Release) { *r = again(makeImages(s.t)[0], r.ID) }, kind: "golden-differs", says: "dahlia"},
	{name: "it is never ready", bend: func(s *scene, r *slipway.Release) { wrong("never-ready")(s, r); r.Startup = 4 * time.Second }, kind: "never-ready", says: "start-up probe"},

	{name: "no node has room, and no autoscaler can make any", bend: requests("1000"), during: (*scene).autoscalerRefuses, kind: "no-room", says: "Insufficient cpu", heals: "no-room"},
	{name: "no node has room, and no autoscaler says anything", bend: requests("1000"), kind: "no-room", says: "within 1m", heals: "no-room"},
	{name: "no node is like that", first: true, prepare: patchPod(`"nodeSelector":{"disk":"gold"}`), kind: "no-node", says: "selector"},
	{name: "the quota refuses", prepare: quota, kind: "quota", says: "exceeded quota"},
	{name: "an admission policy refuses", prepare: policy, kind: "admission", says: "only on Tuesdays"},
	{name: "an admission webhook is away and comes back", prepare: webhook, during: (*scene).webhookGoes, want: rollout.Live, heals: "admission"},
	{name: "the Secret has another name", bend: func(_ *scene, r *slipway.Release) { r.SecretEnv = []string{"TOKEN=nope/token"} }, kind: "config-missing", says: "nope"},
	{name: "the ConfigMap of a volume has another name", first: true, prepare: mount(`"configMap":{"name":"nope"}`), kind: "config-missing", says: "nope"},
	{name: "the volume is bad", first: true, prepare: mount(`"hostPath":{"path":"/nowhere","type":"Directory"}`), kind: "volume", says: "/nowhere"},
	{name: "nobody has claimed the volume", first: true, prepare: mount(`"persistentVolumeClaim":{"claimName":"nope"}`), kind: "volume", says: "nope"},
	{name: "an init container crashes", first: true, prepare: initContainer, kind: "crashed", says: "out of flour"},
	{name: "the Deployment is paused", prepare: func(s *scene) { s.kubectl("rollout", "pause", "deployment/iris") }, want: rollout.Failed, kind: "refused", says: "paused"},

	{name: "a new pod is deleted by hand", bend: wrong("late"), during: (*scene).podDeleted, want: rollout.Live},
	{name: "it is scaled by hand", bend: wrong("late"), during: func(s *scene) { s.kubectl("scale", "deployment/iris", "--replicas=3") }, want: rollout.Live, notes: "scaled to 3 by kubectl"},
}

// TestE2EFaults has each fault happen to a real release, on its way through
// the driver, the journal and the verifier.
func TestE2EFaults(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	makeImages(t)
	for _, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			newScene(t, cluster).play(f)
		})
	}
}

// scene is a Deployment in a namespace of its own.
type scene struct {
	t         *testing.T
	cluster   *e2e.KubeCluster
	namespace string
	target    *kube.Target

	mu     sync.Mutex
	events []slipway.Event
	moved  chan struct{} // closed when the bad release has begun to move
	mended atomic.Bool   // the image registry is well again
	on     func(slipway.Event)
}

func newScene(t *testing.T, cluster *e2e.KubeCluster) *scene {
	s := &scene{t: t, cluster: cluster, namespace: cluster.Namespace(t), moved: make(chan struct{})}
	cluster.Place(t, s.namespace, "iris", 2)
	s.target = newTarget(t, cluster, s.namespace, "iris", nil)
	return s
}

func (s *scene) kubectl(args ...string) string {
	s.t.Helper()
	return s.cluster.Kubectl(s.t, append([]string{"-n", s.namespace}, args...)...)
}

// play lets the fault happen and looks at what became of it.
func (s *scene) play(f fault) {
	s.t.Helper()
	if !f.first {
		if o := s.deploy(again(makeImages(s.t)[1], "01GOOD")); o.Kind != rollout.Live {
			s.t.Fatalf("the good release: %s: %s", o.Kind, o.Message)
		}
	}
	if f.prepare != nil {
		f.prepare(s)
	}
	bad := again(makeImages(s.t)[2], "01BAD")
	if f.bend != nil {
		f.bend(s, &bad)
	}
	var during sync.WaitGroup
	if f.during != nil {
		during.Go(func() { <-s.moved; f.during(s) })
	}
	s.mu.Lock()
	s.events = nil
	s.mu.Unlock()
	o := s.deploy(bad)
	during.Wait()
	s.check(f, o)
}

func (s *scene) deploy(r slipway.Release) rollout.Outcome {
	s.t.Helper()
	verifier := verify.Verifier{
		Config: verify.Config{HTTP: s.target.HTTP(), Front: s.target.Front()},
		Golden: func(_ context.Context, r slipway.Release) (mlmodel.Golden, error) { return goldenFor(s.t, r), nil },
	}
	d := rollout.New(s.target, s.target.Journal(), verifier, rollout.Config{Target: "kubernetes://" + s.namespace + "/iris", Sink: s.hear})
	o, err := d.Deploy(s.t.Context(), rollout.Ask{
		Resolve: func(context.Context) (slipway.ModelVersion, error) { return r.Model, nil },
		Prepare: func(context.Context, slipway.ModelVersion) (slipway.Release, error) { return r, nil },
	})
	if err != nil {
		s.t.Fatalf("deploying %s: %v", r.ID, err)
	}
	return o
}

func (s *scene) hear(e slipway.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	if s.on != nil {
		s.on(e)
	}
	if e.Observation != nil && e.Observation.Release == "01BAD" {
		select {
		case <-s.moved:
		default:
			close(s.moved)
		}
	}
}

// check compares how the release ended with what was expected, and looks that
// the one before never stopped serving.
func (s *scene) check(f fault, o rollout.Outcome) {
	s.t.Helper()
	want := cmp.Or(f.want, rollout.RolledBack)
	if f.want == "" && f.first {
		want = rollout.Removed
	}
	if o.Kind != want {
		s.t.Errorf("it ended %s: %s", o.Kind, o.Message)
	}
	var p slipway.Problem
	if o.Release.Failure != nil {
		p = o.Release.Failure.Problem
	}
	if p.Kind != f.kind || f.kind != "" && (p.Message == "" || p.Evidence == "" && want != rollout.Failed || p.Hint == "") {
		s.t.Errorf("the problem: %+v", p)
	}
	if f.says != "" && !strings.Contains(p.Message+p.Evidence, f.says) {
		s.t.Errorf("%+v does not say %q", p, f.says)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.heals != "" && !slices.ContainsFunc(s.events, func(e slipway.Event) bool { return sees(e, f.heals) }) {
		s.t.Errorf("a problem %s that may heal was never seen", f.heals)
	}
	if f.notes != "" && !slices.ContainsFunc(s.events, func(e slipway.Event) bool {
		return e.Observation != nil && strings.Contains(strings.Join(e.Observation.Notes, "; "), f.notes)
	}) {
		s.t.Errorf("no note says %q", f.notes)
	}
	if !f.first && !f.gap {
		s.alwaysServed()
	}
	s.t.Logf("%s: %s\n%s\n%s", p.Kind, p.Message, p.Evidence, p.Hint)
	s.log()
}

func sees(e slipway.Event, kind string) bool {
	return slices.ContainsFunc(problemsIn(e.Observation), func(p slipway.Problem) bool { return p.Kind == kind && p.Heals })
}

func problemsIn(o *slipway.Observation) []slipway.Problem {
	var all []slipway.Problem
	if o == nil {
		return nil
	}
	if o.Problem != nil {
		all = append(all, *o.Problem)
	}
	for _, r := range o.Replicas {
		if r.Problem != nil {
			all = append(all, *r.Problem)
		}
	}
	return all
}

// alwaysServed looks that at every moment something received requests.
func (s *scene) alwaysServed() {
	s.t.Helper()
	for _, e := range s.events {
		if o := e.Observation; o != nil && !slices.ContainsFunc(o.Replicas, func(r slipway.Replica) bool { return r.Serving }) {
			s.t.Errorf("nothing received requests: %+v", *o)
			return
		}
	}
}

// log tells how long it took: from the cluster's first word of what is wrong
// to the decision, and to the end.
func (s *scene) log() {
	s.t.Helper()
	var word, moved, decided, ended time.Time
	for _, e := range s.events {
		switch {
		case e.Observation != nil && e.Observation.Release == "01BAD" && moved.IsZero():
			moved = e.At
		case e.Kind == slipway.Stopped && decided.IsZero():
			decided = e.At
		}
		if word.IsZero() && len(problemsIn(e.Observation)) > 0 {
			word = e.At
		}
		ended = e.At
	}
	if decided.IsZero() || word.IsZero() {
		s.t.Logf("figures: %.1f s", ended.Sub(moved).Seconds())
		return
	}
	s.t.Logf("figures: first word after %.1f s, decided %.1f s after it, back %.1f s later (%s)",
		word.Sub(moved).Seconds(), decided.Sub(word).Seconds(), ended.Sub(decided).Seconds(), s.firstWarning(decided))
}

// firstWarning tells when the cluster first warned, by its own events. Other
// warnings than those of the fault may be among them.
func (s *scene) firstWarning(decided time.Time) string {
	var list struct {
		Items []struct {
			Reason         string    `json:"reason"`
			FirstTimestamp time.Time `json:"firstTimestamp"`
			EventTime      time.Time `json:"eventTime"`
		} `json:"items"`
	}
	out, _, err := s.cluster.TryKubectl(s.t, "", "-n", s.namespace, "get", "events", "--field-selector=type=Warning", "-o", "json")
	if err != nil || json.Unmarshal([]byte(out), &list) != nil {
		return "no events"
	}
	var said []string
	for _, e := range list.Items {
		if e.FirstTimestamp.IsZero() {
			e.FirstTimestamp = e.EventTime
		}
		if text := fmt.Sprintf("%s %.0f s before", e.Reason, decided.Sub(e.FirstTimestamp).Seconds()); !slices.Contains(said, text) {
			said = append(said, text)
		}
	}
	return strings.Join(said, ", ")
}

// again is the release under another name.
func again(r slipway.Release, id slipway.ReleaseID) slipway.Release {
	r.ID, r.Created = id, time.Now()
	return r
}
