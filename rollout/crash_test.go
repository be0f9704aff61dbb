package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// story is an operation that is hit at every point of its way.
type story struct {
	name string
	set  func(w *world) // what is there before
	run  func(ctx context.Context, w *world, d *rollout.Driver) (rollout.Outcome, error)

	// ends are the versions that may serve once all is put in order: what the
	// operation is for, and what was there before. 0: nothing serves.
	ends []int
	bad  int // a version that must never receive a request; 0: none
}

func stories() []story {
	deploy := func(version int) func(context.Context, *world, *rollout.Driver) (rollout.Outcome, error) {
		return func(ctx context.Context, w *world, d *rollout.Driver) (rollout.Outcome, error) {
			w.promote(version)
			return d.Deploy(ctx, w.ask())
		}
	}
	live := func(versions ...int) func(w *world) {
		return func(w *world) {
			for _, v := range versions {
				w.wantKind(w.deploy(v), rollout.Live)
			}
			w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: 50 * time.Millisecond})
		}
	}
	broken := func(w *world) { w.target.Behave(image(2), slipwaytest.GoldenDiffers()) }
	wrong := func(w *world) { w.asker.tell(image(2), slices.Repeat([]answer{wrongAnswer}, 100)...) }
	return []story{
		{"a first release", func(*world) {}, deploy(2), []int{2, 0}, 0},
		{"a next release", live(1), deploy(2), []int{2, 1}, 0},
		{"a broken first release", broken, deploy(2), []int{0}, 2},
		{"a broken release", func(w *world) { live(1)(w); broken(w) }, deploy(2), []int{1}, 2},
		{"a release that answers wrongly", func(w *world) { live(1)(w); wrong(w) }, deploy(2), []int{1}, 0},
		{"a first release that answers wrongly", wrong, deploy(2), []int{0}, 0},
		{"a release the target refuses", func(w *world) { live(1)(w); w.target.Behave(image(2), slipwaytest.Behaviour{Refused: "full"}) }, deploy(2), []int{1}, 2},
		{"over what a dead run left", func(w *world) { live(1)(w); w.leave(3, slipway.RollingOut) }, deploy(2), []int{2, 1, 3}, 0},
		{"over a rollback a dead run left", func(w *world) { live(1)(w); w.leave(3, slipway.RollingBack) }, deploy(2), []int{2, 1}, 0},
		{"rolling back by hand", live(1, 2), func(ctx context.Context, w *world, d *rollout.Driver) (rollout.Outcome, error) {
			return d.Rollback(ctx, rollout.Return{})
		}, []int{1, 2}, 0},
		{"in steps", live(1), func(ctx context.Context, w *world, d *rollout.Driver) (rollout.Outcome, error) {
			w.promote(2)
			o, err := d.Rollout(ctx, w.ask())
			if err != nil || o.Kind != rollout.Unverified {
				return o, err
			}
			return d.Verify(ctx, o.Release)
		}, []int{1, 2}, 0},
		{"recovering", func(w *world) { live(1)(w); w.leave(2, slipway.Verifying) }, func(ctx context.Context, w *world, d *rollout.Driver) (rollout.Outcome, error) {
			return d.Recover(ctx)
		}, []int{1, 2}, 0},
	}
}

// leave puts a release into the journal and onto the target as a run that died
// in the phase had it there.
func (w *world) leave(version int, phase slipway.Phase) {
	w.Helper()
	f := &fragile{world: w}
	f.hook = func(point string) {
		if point == "after Store "+string(phase) {
			f.dead = true
			panic(errKilled)
		}
	}
	w.promote(version)
	if phase == slipway.RollingBack {
		w.asker.tell(image(version), wrongAnswer)
	}
	if !f.killed(func(d *rollout.Driver) {
		o, err := d.Deploy(w.Context(), w.ask())
		w.Errorf("it was not killed: %s, %v", o.Kind, err)
	}) {
		w.Fatalf("a release of version %d never came to be %s", version, phase)
	}
	if got := w.record().Current; got == nil || got.Phase != phase {
		w.Fatalf("the dead run left %+v, want a release %s", got, phase)
	}
}

// killed runs the operation with a driver that may be killed, and reports
// whether it was. The lock of a dead process is free.
func (f *fragile) killed(run func(*rollout.Driver)) (killed bool) {
	defer func() {
		if r := recover(); r != nil {
			if err, ok := r.(error); !ok || !errors.Is(err, errKilled) {
				panic(r)
			}
			killed = true
			f.journal.Die()
		}
	}()
	run(f.driver())
	return false
}

// Every story is killed before and after each call it makes to the world
// outside. The next run, a `recover` or another deploy, must bring everything
// in order; while all that goes on, what serves never stops serving, and what
// must not serve never does.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	heirs := map[string]func(w *world, d *rollout.Driver) (rollout.Outcome, error){
		"recover": func(w *world, d *rollout.Driver) (rollout.Outcome, error) { return d.Recover(w.Context()) },
		"deploy":  func(w *world, d *rollout.Driver) (rollout.Outcome, error) { return d.Deploy(w.Context(), w.ask()) },
	}
	for _, s := range stories() {
		for name, heir := range heirs {
			t.Run(s.name+", then "+name, func(t *testing.T) {
				t.Parallel()
				points := 0
				for n := 1; ; n++ {
					var point string
					synctest.Test(t, func(t *testing.T) { point = s.killedAt(newWorld(t), n, heir) })
					if point == "" {
						break
					}
					points++
				}
				if points < 6 {
					t.Errorf("killed at %d points only", points)
				}
				t.Logf("killed at %d points", points)
			})
		}
	}
}

// killedAt kills the story at its n-th point, has the heir put things in order
// and returns the point; "" if the story has fewer.
func (s story) killedAt(w *world, n int, heir func(*world, *rollout.Driver) (rollout.Outcome, error)) string {
	s.set(w)
	serving := w.answering()
	var point string
	f := &fragile{world: w}
	f.hook = func(p string) {
		w.watch(s, serving)
		if n--; n == 0 {
			point, f.dead = p, true
			panic(errKilled)
		}
	}
	killed := f.killed(func(d *rollout.Driver) {
		if _, err := s.run(w.Context(), w, d); err != nil {
			w.Errorf("nobody killed it, and it gave %v", err)
		}
	})
	if !killed {
		s.wantOrder(w, "unkilled")
		return ""
	}
	if _, err := heir(w, w.driver()); err != nil {
		w.Errorf("killed %s: the heir gave %v", point, err)
	}
	if c := w.record().Current; c != nil && c.Phase == slipway.Unverified { // left to its verify until its time is over
		<-time.After(time.Until(c.Deadline))
		if _, err := heir(w, w.driver()); err != nil {
			w.Errorf("killed %s: the heir gave %v", point, err)
		}
	}
	w.watch(s, serving)
	s.wantOrder(w, "killed "+point)
	if o, err := w.driver().Recover(w.Context()); err != nil || o.Kind != rollout.Nothing {
		w.Errorf("killed %s: recovering again gave %s, %v", point, o.Kind, err)
	}
	return point
}

// answering reports whether anything answers requests.
func (w *world) answering() bool {
	return slices.ContainsFunc(w.observe().Replicas, func(r slipway.Replica) bool { return r.Serving })
}

// watch fails if nothing answers where something did, or if what must never
// answer does.
func (w *world) watch(s story, serving bool) {
	w.Helper()
	answers := false
	for _, r := range w.observe().Replicas {
		answers = answers || r.Serving
		if s.bad != 0 && r.Image == image(s.bad) && r.Serving {
			w.Errorf("%s: %s answers requests", s.name, r.Name)
		}
	}
	if serving && !answers {
		w.Errorf("%s: nothing answers any more: %+v", s.name, w.observe())
	}
}

// wantOrder fails unless one of the story's ends is reached, by target and by
// record.
func (s story) wantOrder(w *world, when string) {
	w.Helper()
	rec := w.record()
	version := 0
	if rec.Live != nil {
		if _, err := fmt.Sscan(string(rec.Live.Model.Version), &version); err != nil {
			w.Error(err)
		}
	}
	if !slices.Contains(s.ends, version) {
		w.Errorf("%s: version %d is live, want one of %v", when, version, s.ends)
	}
	for _, r := range rec.History {
		if !r.Phase.Ended() || r.Phase == slipway.Broken {
			w.Errorf("%s: %s ended %s: %+v %+v", when, r.Model, r.Phase, r.Failure, r.BackFailure)
		}
	}
	w.wantServing(version)
	if w.Failed() {
		w.Logf("%s: history %v", when, w.phases())
	}
}

// Every story is interrupted before and after each call it makes. Within five
// seconds it must be over: gone back, or never begun, or journalled with the
// command that goes on.
func TestInterruptedAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			kinds := map[rollout.Kind]int{}
			for n := 1; ; n++ {
				hit := false
				synctest.Test(t, func(t *testing.T) {
					var kind rollout.Kind
					if kind, hit = s.interruptedAt(newWorld(t), n); hit {
						kinds[kind]++
					}
				})
				if !hit {
					break
				}
			}
			t.Logf("ended %v", kinds)
		})
	}
}

var errInterrupt = errors.New("SIGINT")

func (s story) interruptedAt(w *world, n int) (rollout.Kind, bool) {
	s.set(w)
	serving := w.answering()
	ctx, cancel := context.WithCancelCause(w.Context())
	var at time.Time
	point := ""
	f := &fragile{world: w, hook: func(p string) {
		w.watch(s, serving)
		if n--; n == 0 {
			point, at = p, time.Now()
			cancel(errInterrupt)
		}
	}}
	o, err := s.run(ctx, w, f.driver())
	if point == "" {
		return "", false
	}
	if took := time.Since(at); took > 5*time.Second {
		w.Errorf("interrupted %s: it took %s", point, took)
	}
	current := w.record().Current
	switch {
	case err != nil && !o.Interrupted:
		w.Errorf("interrupted %s: outcome %+v does not say so; %v", point, o, err)
	case (current != nil) != (o.Kind == rollout.Unfinished || o.Kind == rollout.Unverified || s.leaves(current)):
		w.Errorf("interrupted %s: outcome %s, and in the journal is %+v", point, o.Kind, current)
	case o.Kind == rollout.Unfinished && o.Hint != "slipway recover local://127.0.0.1:8000" && o.Hint != "slipway verify":
		w.Errorf("interrupted %s: unfinished, and the hint is %q", point, o.Hint)
	}
	if current != nil {
		<-time.After(time.Until(current.Deadline))
		if _, err := w.driver().Recover(w.Context()); err != nil {
			w.Errorf("interrupted %s: recovering gave %v", point, err)
		}
	}
	s.wantOrder(w, "interrupted "+point)
	return o.Kind, true
}

// leaves reports whether what is in the journal may be what the story found
// there: it was interrupted before it had taken that up.
func (s story) leaves(current *slipway.Release) bool {
	return current != nil && current.Fence <= 2 && s.set != nil
}

// The lock is lost before and after each call of every story: from then on the
// run changes nothing more, and another one puts things in order.
func TestLockLostAtEveryPoint(t *testing.T) {
	t.Parallel()
	for _, s := range stories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			points := 0
			for n := 1; ; n++ {
				hit := false
				synctest.Test(t, func(t *testing.T) { hit = s.lockLostAt(newWorld(t), n) })
				if !hit {
					break
				}
				points++
			}
			t.Logf("lost it at %d points", points)
		})
	}
}

func (s story) lockLostAt(w *world, n int) bool {
	s.set(w)
	point, held := "", false
	var acts int
	var before string
	f := &fragile{world: w}
	f.hook = func(p string) {
		switch p {
		case "after Lock":
			held = true
		case "before Unlock":
			held = false
		}
		if !held || point != "" {
			return
		}
		if n--; n == 0 {
			point = p
			w.journal.Die()
			if _, err := w.journal.Lock(w.Context(), slipway.Claim{Holder: "another run"}); err != nil {
				w.Error(err)
			}
			acts, before = len(w.target.Acts()), w.record().Revision

		}
	}
	o, err := s.run(w.Context(), w, f.driver())
	if point == "" {
		return false
	}
	inTheCall := 0 // what the lock is lost in the middle of, only the fence can stop
	if strings.HasPrefix(point, "before Act") {
		inTheCall = 1
	}
	if got := len(w.target.Acts()); got > acts+inTheCall {
		w.Errorf("lost the lock %s, and acted %d times since", point, got-acts)
	}
	if got := w.record().Revision; got != before {
		w.Errorf("lost the lock %s, and wrote the journal", point)
	}
	current := w.record().Current
	if current != nil && err == nil && o.Kind != rollout.Superseded && o.Kind != rollout.Unverified {
		w.Errorf("lost the lock %s, left a release %s and said %s without an error", point, current.Phase, o.Kind)
	}
	w.journal.Die() // the other run is done
	if current != nil {
		<-time.After(time.Until(current.Deadline))
		if _, err := w.driver().Recover(w.Context()); err != nil {
			w.Errorf("lost the lock %s: recovering gave %v", point, err)
		}
	}
	s.wantOrder(w, "lost the lock "+point)
	return true
}
