package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// world is a target with its journal, a model registry's promotion, and what
// happened.
type world struct {
	*testing.T
	target  *slipwaytest.MemoryTarget
	journal *slipwaytest.MemoryJournal
	asker   *asker

	mu       sync.Mutex
	promoted int // the version the alias points at
	prepared []int
	events   []slipway.Event
}

func newWorld(t *testing.T) *world {
	return &world{
		T: t, target: slipwaytest.NewMemoryTarget(2), journal: slipwaytest.NewMemoryJournal(),
		asker: &asker{answers: map[slipway.Digest][]answer{}},
	}
}

// driver returns a driver as a new process would have it.
func (w *world) driver() *rollout.Driver {
	return rollout.New(w.target, w.journal, w.asker, w.config())
}

func (w *world) config() rollout.Config {
	return rollout.Config{Target: "local://127.0.0.1:8000", Environment: "production", Sink: func(e slipway.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
}

func (w *world) promote(version int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.promoted = version
}

// ask is what `slipway deploy models:/iris@champion` asks.
func (w *world) ask() rollout.Ask {
	return rollout.Ask{Promoted: true, Resolve: w.resolve, Prepare: w.prepare}
}

func (w *world) resolve(ctx context.Context) (slipway.ModelVersion, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return version(w.promoted), ctx.Err()
}

func (w *world) prepare(ctx context.Context, v slipway.ModelVersion) (slipway.Release, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var n int
	if _, err := fmt.Sscan(string(v.Version), &n); err != nil {
		return slipway.Release{}, err
	}
	w.prepared = append(w.prepared, n)
	return slipway.Release{Asked: "models:/iris@champion", Model: v, Image: slipway.Image{Repository: "images.test/iris", Digest: image(n)}}, ctx.Err()
}

func version(n int) slipway.ModelVersion {
	return slipway.ModelVersion{Name: "iris", Version: slipway.Version(fmt.Sprint(n))}
}

// deploy promotes the version and deploys it.
func (w *world) deploy(version int) rollout.Outcome {
	w.Helper()
	w.promote(version)
	o, err := w.driver().Deploy(w.Context(), w.ask())
	if err != nil {
		w.Fatalf("deploying version %d: %v", version, err)
	}
	return o
}

func (w *world) record() slipway.Record {
	w.Helper()
	rec, err := w.journal.Load(context.WithoutCancel(w.Context()))
	if err != nil {
		w.Fatal(err)
	}
	return rec
}

func (w *world) observe() slipway.Observation {
	w.Helper()
	o, err := w.target.Observe(context.WithoutCancel(w.Context()))
	if err != nil {
		w.Fatal(err)
	}
	return o
}

// applied returns how often the target was told to serve the version.
func (w *world) applied(version int) int {
	n := 0
	for _, a := range w.target.Acts() {
		if a.Kind == slipway.Apply && a.Release.Image.Digest == image(version) {
			n++
		}
	}
	return n
}

// wantServing fails unless the target serves the version and nothing else, the
// record says so, and nothing is on its way. Version 0 is nothing.
func (w *world) wantServing(version int) {
	w.Helper()
	rec, o := w.record(), w.observe()
	if rec.Current != nil {
		w.Errorf("%s is still on its way: %s", rec.Current.Model, rec.Current.Phase)
	}
	want := slipway.Digest("")
	if version > 0 {
		want = image(version)
	}
	if o.Desired != want {
		w.Errorf("the target is set to %s, want %s", o.Desired.Short(), want.Short())
	}
	for _, r := range o.Replicas {
		if r.Serving && r.Image != want {
			w.Errorf("%s serves %s", r.Name, r.Model)
		}
	}
	ids := map[slipway.ReleaseID]bool{}
	for _, r := range rec.History {
		if ids[r.ID] || r.ID == "" {
			w.Errorf("two releases in the history are called %q", r.ID)
		}
		ids[r.ID] = true
	}
	for _, problem := range w.asker.misused {
		w.Error(problem)
	}
	if version > 0 && !o.Settled(want) {
		w.Errorf("version %d is not settled: %+v", version, o)
	}
	live := 0
	if rec.Live != nil {
		if _, err := fmt.Sscan(string(rec.Live.Model.Version), &live); err != nil {
			w.Error(err)
		}
		if rec.Live.Phase != slipway.Verified || rec.Live.Previous != nil || rec.Live.Verdict == nil || !rec.Live.Verdict.Passed {
			w.Errorf("the live release is %s, verdict %+v", rec.Live.Phase, rec.Live.Verdict)
		}
	}
	if live != version {
		w.Errorf("the record says version %d is live, want %d", live, version)
	}
}

func (w *world) wantKind(o rollout.Outcome, want rollout.Kind) {
	w.Helper()
	if o.Kind != want {
		w.Errorf("outcome %q (%s), want %q", o.Kind, o.Message, want)
	}
	if o.Message == "" {
		w.Errorf("outcome %q says nothing", o.Kind)
	}
}

// phases returns how the releases in the history ended, oldest first.
func (w *world) phases() []string {
	var list []string
	for _, r := range w.record().History {
		list = append(list, string(r.Model.Version)+" "+string(r.Phase))
	}
	return list
}

func (w *world) quarantined() []string {
	list := []string{}
	for _, q := range w.record().Quarantine {
		list = append(list, string(q.Model.Version))
	}
	return list
}

// asker is a verifier that asks the replicas it is shown: those that belong to
// the release and receive requests. It answers for an image as it was told,
// one answer after the other, and from then on that all is well.
type asker struct {
	mu      sync.Mutex
	answers map[slipway.Digest][]answer
	misused []string                  // how it was asked for what cannot be verified yet
	during  func(ctx context.Context) // called while it asks
}

type answer struct {
	problem *slipway.Problem
	takes   time.Duration
	hangs   bool // until its context ends
}

func (a *asker) tell(image slipway.Digest, answers ...answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[image] = answers
}

func (a *asker) next(o slipway.Observation, r slipway.Release) answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !o.Settled(r.Image.Digest) || o.Release != r.ID {
		a.misused = append(a.misused, fmt.Sprintf("asked to verify %s, and the target shows %+v", r.Model, o))
	}
	list := a.answers[r.Image.Digest]
	if len(list) == 0 {
		return answer{}
	}
	a.answers[r.Image.Digest] = list[1:]
	return list[0]
}

// Verify implements rollout.Verifier.
func (a *asker) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict {
	next := a.next(o, r)
	if a.during != nil {
		a.during(ctx)
	}
	var timer <-chan time.Time
	if !next.hangs {
		timer = time.After(next.takes)
	}
	select {
	case <-timer:
	case <-ctx.Done():
		next.problem = &slipway.Problem{Kind: "cut-short", Message: ctx.Err().Error(), Heals: true}
	}
	v := slipway.Verdict{At: time.Now(), Passed: next.problem == nil, Problem: next.problem}
	for _, replica := range o.Replicas {
		if replica.Image == r.Image.Digest && replica.Serving {
			v.Replicas = append(v.Replicas, slipway.ReplicaCheck{
				Replica: replica.Name, Image: replica.Image, Health: slipway.HealthChecks, Ready: true, Predictions: 5, Problem: next.problem,
			})
		}
	}
	return v
}

var wrongAnswer = answer{problem: &slipway.Problem{Kind: "golden-differs", Message: "golden prediction 2 differs"}}

// errKilled is what a killed process panics with.
var errKilled = errors.New("killed")

// fragile puts a hook before and after every call that a driver makes to the
// worlds outside it. After dead is set, nothing of the driver's reaches them.
type fragile struct {
	*world
	hook func(point string)
	dead bool
}

func (f *fragile) driver() *rollout.Driver {
	return rollout.New(fragileTarget{f}, fragileJournal{f}, fragileVerifier{f}, f.config())
}

// around calls the hook before and after the call.
func (f *fragile) around(name string, call func()) {
	if f.dead {
		return
	}
	f.hook("before " + name)
	call()
	f.hook("after " + name)
}

type fragileTarget struct{ *fragile }

func (t fragileTarget) Observe(ctx context.Context) (o slipway.Observation, err error) {
	err = errKilled
	t.around("Observe", func() { o, err = t.target.Observe(ctx) })
	return o, err
}

func (t fragileTarget) Act(ctx context.Context, a slipway.Action) error {
	err := errKilled
	t.around("Act "+string(a.Kind), func() { err = t.target.Act(ctx, a) })
	return err
}

type fragileJournal struct{ *fragile }

func (j fragileJournal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	var lock slipway.Lock
	err := errKilled
	j.around("Lock", func() { lock, err = j.journal.Lock(ctx, c) })
	return fragileLock{lock, j.fragile}, err
}

func (j fragileJournal) Load(ctx context.Context) (r slipway.Record, err error) {
	err = errKilled
	j.around("Load", func() { r, err = j.journal.Load(ctx) })
	return r, err
}

func (j fragileJournal) Store(ctx context.Context, fence uint64, rec slipway.Record) (r slipway.Record, err error) {
	err = errKilled
	j.around("Store "+stored(rec), func() { r, err = j.journal.Store(ctx, fence, rec) })
	return r, err
}

func stored(rec slipway.Record) string {
	switch n := len(rec.History); {
	case rec.Current != nil:
		return string(rec.Current.Phase)
	case n > 0:
		return string(rec.History[n-1].Phase)
	}
	return "settings"
}

type fragileLock struct {
	slipway.Lock
	f *fragile
}

func (l fragileLock) Unlock(ctx context.Context) error {
	err := errKilled
	l.f.around("Unlock", func() { err = l.Lock.Unlock(ctx) })
	return err
}

type fragileVerifier struct{ *fragile }

func (v fragileVerifier) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) (verdict slipway.Verdict) {
	v.around("Verify", func() { verdict = v.asker.Verify(ctx, o, r) })
	return verdict
}
