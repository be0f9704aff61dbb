package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// bent is a target and a journal that can be bent on their way to the driver.
type bent struct {
	*world
	observe func(ctx context.Context, o slipway.Observation) (slipway.Observation, error)
	act     func(ctx context.Context, a slipway.Action) (error, bool) // true: it stays with that
	store   func(r slipway.Record) (before, after error)
	loads   int // reads of the journal that fail next
	locks   func() error
	away    func() bool // the journal cannot be read
	unlock  error
}

func (b *bent) driver() *rollout.Driver {
	return rollout.New(bentTarget{b}, bentJournal{b}, b.asker, b.config())
}

type bentTarget struct{ *bent }

func (t bentTarget) Observe(ctx context.Context) (slipway.Observation, error) {
	o, err := t.target.Observe(ctx)
	if err == nil && t.bent.observe != nil {
		return t.bent.observe(ctx, o)
	}
	return o, err
}

func (t bentTarget) Act(ctx context.Context, a slipway.Action) error {
	if t.act != nil {
		if err, stays := t.act(ctx, a); stays {
			return err
		}
	}
	return t.target.Act(ctx, a)
}

type bentJournal struct{ *bent }

func (j bentJournal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	if j.locks != nil {
		if err := j.locks(); err != nil {
			return nil, err
		}
	}
	lock, err := j.journal.Lock(ctx, c)
	return bentLock{lock, j.bent}, err
}

func (j bentJournal) Load(ctx context.Context) (slipway.Record, error) {
	if j.loads > 0 {
		j.loads--
		return slipway.Record{}, away
	}
	if j.bent.away != nil && j.bent.away() {
		return slipway.Record{}, away
	}
	return j.journal.Load(ctx)
}

func (j bentJournal) Store(ctx context.Context, fence uint64, r slipway.Record) (slipway.Record, error) {
	var before, after error
	if j.store != nil {
		before, after = j.store(r)
	}
	if before != nil {
		return slipway.Record{}, before
	}
	stored, err := j.journal.Store(ctx, fence, r)
	if after != nil {
		return slipway.Record{}, after
	}
	return stored, err
}

type bentLock struct {
	slipway.Lock
	b *bent
}

func (l bentLock) Unlock(ctx context.Context) error {
	return errors.Join(l.Lock.Unlock(ctx), l.b.unlock)
}

// deployBent deploys version 2 over version 1 with a driver that is bent.
func (b *bent) deployBent(ctx context.Context) (rollout.Outcome, error) {
	b.promote(2)
	return b.driver().Deploy(ctx, b.ask())
}

var away = slipway.Errorf(slipway.Unavailable, "writing", "out of reach")

// Somebody else sets the target while a release is on its way: tell, do not
// fight.
func TestSomebodyElseChangesTheTarget(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		phase slipway.Phase // from which on the target is theirs
		to    slipway.Observation
		wrong bool // version 2 answers wrongly
		want  rollout.Kind
	}{
		{"while rolling out", slipway.RollingOut, slipway.Observation{Desired: image(9)}, false, rollout.NeedsPerson},
		{"while verifying", slipway.Verifying, slipway.Observation{Desired: image(9)}, false, rollout.NeedsPerson},
		{"by another release of the same image", slipway.Verifying, slipway.Observation{Desired: image(2), Release: "STRANGER"}, false, rollout.NeedsPerson},
		{"while rolling back", slipway.RollingBack, slipway.Observation{Desired: image(9)}, true, rollout.NeedsPerson},
		{"while verifying the one before", slipway.Restoring, slipway.Observation{Desired: image(9)}, true, rollout.NeedsPerson},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: time.Second})
				if tt.wrong {
					w.asker.tell(image(2), wrongAnswer)
				}
				b := &bent{world: w}
				acts, theirs := 0, false
				b.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
					if c := w.record().Current; c != nil && c.Phase == tt.phase && (o.Desired == image(2) || tt.wrong) {
						theirs = true
					}
					if theirs {
						o.Desired, o.Release = tt.to.Desired, tt.to.Release
					}
					return o, nil
				}
				b.act = func(context.Context, slipway.Action) (error, bool) {
					if theirs {
						acts++
					}
					return nil, false
				}
				o, err := b.deployBent(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, tt.want)
				failure := o.Release.Failure
				if tt.wrong {
					failure = o.Release.BackFailure
				}
				if failure == nil || failure.Problem.Kind != rollout.KindForeign || failure.Code != slipway.Conflict || failure.Problem.Hint == "" || o.Hint == "" {
					w.Errorf("failure %+v, hint %q", failure, o.Hint)
				}
				if acts > 0 {
					w.Errorf("it acted %d times on what somebody else had set", acts)
				}
			})
		})
	}
}

// Once the target had taken it in, a release that is gone from it was set back
// by somebody else: it is not put there again.
func TestSomebodyElseSetsTheTargetBack(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: time.Second})
		b := &bent{world: w}
		b.observe = func(ctx context.Context, o slipway.Observation) (slipway.Observation, error) {
			if o.Desired != image(2) {
				return o, nil
			}
			if err := w.target.Act(ctx, slipway.Action{Kind: slipway.Apply, Fence: 2, Release: *w.record().Live}); err != nil {
				w.Error(err)
			}
			return w.target.Observe(ctx)
		}
		o, err := b.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.RolledBack)
		if n := w.applied(2); n != 1 || o.Release.Failure.Problem.Kind != rollout.KindForeign {
			w.Errorf("applied %d times, failure %+v", n, o.Release.Failure)
		}
		w.wantServing(1)
	})
}

// What was found on the target when the release began is no foreign change,
// also for the run that takes up after a crash.
func TestRecoverOfATargetThatDrifted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		stranger := slipway.Release{ID: "STRANGER", Image: slipway.Image{Digest: image(9)}}
		if err := w.target.Act(w.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: stranger}); err != nil {
			w.Fatal(err)
		}
		w.leave(2, slipway.RollingOut)
		dead := w.record().Current.Fence
		o, err := w.driver().Recover(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
		if o.Release.Fence <= dead {
			w.Errorf("it went on under fence %d of the run that died, %d", o.Release.Fence, dead)
		}
		w.wantServing(2)
	})
}

// Replicas that go on with their image under a new release keep their past.
func TestRestartsOfLongAgoAreNoCrash(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		<-time.After(time.Hour)
		b := &bent{world: w, observe: func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
			for i := range o.Replicas {
				o.Replicas[i].Restarts = 3
			}
			return o, nil
		}}
		o, err := b.driver().Deploy(w.Context(), w.withThreads("2"))
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
	})
}

// The end was written, its answer got lost, and then the lock was lost too.
func TestTheEndIsFoundOut(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		b := &bent{world: w}
		b.store = func(r slipway.Record) (error, error) {
			if stored(r) != string(slipway.Verified) || r.Live.Model != version(2) {
				return nil, nil
			}
			w.journal.Die()
			b.loads = 1
			return nil, away
		}
		o, err := b.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
		w.wantServing(2)
	})
}

// What becomes of another run's release is not the answer to this one's.
func TestTheEndOfWhatWasLeftIsNotOurs(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.leave(3, slipway.Verifying)
		b := &bent{world: w}
		b.store = func(r slipway.Record) (error, error) {
			if stored(r) != string(slipway.Verified) {
				return nil, nil
			}
			w.journal.Die()
			b.loads = 1
			return nil, away
		}
		o, err := b.deployBent(w.Context())
		if err == nil || o.Recovered == nil || o.Recovered.Model != version(3) {
			w.Errorf("gave %+v, %v", o, err)
		}
		w.wantKind(o, rollout.Failed)
		w.wantServing(3)
	})
}

// A target that was changed while nothing was on its way is told about, and
// the next release replaces what is there.
func TestATargetThatDrifted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		stranger := slipway.Release{ID: "STRANGER", Image: slipway.Image{Digest: image(9)}}
		if err := w.target.Act(w.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: stranger}); err != nil {
			w.Fatal(err)
		}
		w.asker.tell(image(2), wrongAnswer)
		o := w.deploy(2)
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
		if o.Release.Found != image(9) {
			w.Errorf("found %s, want %s", o.Release.Found, image(9))
		}
		warned := slices.ContainsFunc(w.events, func(e slipway.Event) bool {
			return e.Kind == slipway.Warning && strings.Contains(e.Message, image(9).Short())
		})
		if !warned {
			w.Error("it did not tell")
		}
	})
}

func TestAJournalThatFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		store  func(n int, b *bent) (before, after error) // the n-th write, from 1
		want   rollout.Kind
		serves int
	}{
		{"now and then", func(n int, _ *bent) (error, error) { return when(n%3 != 0, away), nil }, rollout.Live, 2},
		{"and its answers get lost", func(n int, _ *bent) (error, error) { return nil, when(n%2 == 1, away) }, rollout.Live, 2},
		{"and its answers turn into conflicts", func(n int, _ *bent) (error, error) {
			return nil, when(n%2 == 1, slipway.Errorf(slipway.Conflict, "writing", "changed meanwhile"))
		}, rollout.Live, 2},
		{"also when it is read", func(n int, b *bent) (error, error) {
			b.loads = n % 2
			return nil, when(n%2 == 1, slipway.Errorf(slipway.Conflict, "writing", "changed meanwhile"))
		}, rollout.Live, 2},
		{"before anything moved", func(int, *bent) (error, error) { return away, nil }, rollout.Failed, 1},
		{"once it is rolling out", func(n int, _ *bent) (error, error) { return when(n > 2, away), nil }, rollout.Unfinished, 2},
		{"and is full", func(n int, _ *bent) (error, error) {
			return when(n > 2, slipway.Errorf(slipway.Exhausted, "writing", "no space left")), nil
		}, rollout.Unfinished, 2},
		{"and is another's", func(n int, _ *bent) (error, error) {
			return when(n > 2, slipway.Errorf(slipway.Conflict, "writing", "a newer release owns the target")), nil
		}, rollout.Unfinished, 2},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				n := 0
				b := &bent{world: w}
				b.store = func(slipway.Record) (error, error) { n++; return tt.store(n, b) }
				o, err := b.deployBent(w.Context())
				w.wantKind(o, tt.want)
				if bad := tt.want == rollout.Unfinished || tt.want == rollout.Failed; bad != (err != nil) {
					w.Errorf("gave %v", err)
				}
				if tt.want == rollout.Unfinished {
					if o.Hint != "slipway recover local://127.0.0.1:8000" {
						w.Errorf("hint %q", o.Hint)
					}
					if _, err := w.driver().Recover(w.Context()); err != nil {
						w.Error(err)
					}
				}
				w.wantServing(tt.serves)
			})
		})
	}
}

func when(yes bool, err error) error {
	if yes {
		return err
	}
	return nil
}

// A target that has seen a newer fence is another run's.
func TestATargetThatKnowsANewerFence(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		b := &bent{world: w, act: func(context.Context, slipway.Action) (error, bool) {
			return slipway.Errorf(slipway.Conflict, "acting", "a newer release owns the target"), true
		}}
		o, err := b.deployBent(w.Context())
		if slipway.CodeOf(err) != slipway.Conflict {
			w.Errorf("gave %v", err)
		}
		w.wantKind(o, rollout.Unfinished)
	})
}

// What hangs is cut: by the phase's deadline, and five seconds after an
// interruption.

func hang(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// hangs makes every action for the version hang.
func (b *bent) hangs(n int) *bent {
	b.act = func(ctx context.Context, a slipway.Action) (error, bool) {
		if a.Release.Model == version(n) {
			return hang(ctx), true
		}
		return nil, false
	}
	return b
}

func (w *world) interruptAfter(d time.Duration) context.Context {
	ctx, cancel := context.WithCancelCause(w.Context())
	time.AfterFunc(d, func() { cancel(errInterrupt) })
	return ctx
}

func TestALookThatHangs(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		looks := 0
		b := &bent{world: w, observe: func(ctx context.Context, o slipway.Observation) (slipway.Observation, error) {
			if looks++; stored(w.record()) == string(slipway.RollingOut) && looks%4 != 0 {
				return o, hang(ctx)
			}
			return o, nil
		}}
		o, err := b.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
	})
}

func TestAnActionThatHangs(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		b := (&bent{world: w}).hangs(2)
		o, err := b.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
	})
}

func TestAnActionThatHangsInterrupted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		b := (&bent{world: w}).hangs(2)
		start := time.Now()
		o, err := b.deployBent(w.interruptAfter(time.Minute))
		if err != nil || !o.Interrupted || time.Since(start) > time.Minute+time.Second {
			w.Errorf("after %s: %+v, %v", time.Since(start), o, err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
	})
}

func TestEverythingHangsInterrupted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.tell(image(2), answer{hangs: true})
		b := (&bent{world: w}).hangs(1)
		start := time.Now()
		o, err := b.deployBent(w.interruptAfter(20 * time.Second))
		if err == nil || !o.Interrupted || time.Since(start) != 25*time.Second {
			w.Errorf("after %s: %+v, %v", time.Since(start), o, err)
		}
		w.wantKind(o, rollout.Unfinished)
		if o.Hint != "slipway recover local://127.0.0.1:8000" || !strings.Contains(o.Message, o.Hint) {
			w.Errorf("it does not print the command that goes on: %q, %q", o.Message, o.Hint)
		}
		if o, err = w.driver().Recover(w.Context()); err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
	})
}

func TestWaitingForTheLockInterrupted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		if _, err := w.journal.Lock(w.Context(), slipway.Claim{Holder: "github run 812"}); err != nil {
			w.Fatal(err)
		}
		w.promote(2)
		o, err := w.driver().Deploy(w.interruptAfter(time.Hour), w.ask())
		if !errors.Is(err, errInterrupt) || !o.Interrupted {
			w.Errorf("%+v, %v", o, err)
		}
		w.wantKind(o, rollout.Failed)
		told := slices.ContainsFunc(w.events, func(e slipway.Event) bool { return strings.Contains(e.Message, "github run 812") })
		if !told {
			w.Error("nobody was told whom it waits for")
		}
	})
}

func TestTheLockIsLostWhileTheVerifierHangs(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.tell(image(2), answer{hangs: true})
		time.AfterFunc(10*time.Second, w.journal.Die)
		w.promote(2)
		start := time.Now()
		o, err := w.driver().Deploy(w.Context(), w.ask())
		if slipway.CodeOf(err) != slipway.Conflict || time.Since(start) > 11*time.Second {
			w.Errorf("after %s: %v", time.Since(start), err)
		}
		w.wantKind(o, rollout.Unfinished)
	})
}

func TestAnUnlockThatFailsIsTold(t *testing.T) {
	inBubble(t, func(w *world) {
		b := &bent{world: w, unlock: away}
		o, err := b.deployBent(w.Context())
		if err != nil || o.Kind != rollout.Live {
			w.Fatal(o, err)
		}
		if !slices.ContainsFunc(w.events, func(e slipway.Event) bool { return e.Kind == slipway.Warning }) {
			w.Error("nobody was told")
		}
	})
}

// Two deploys at once of the same promotion: one waits, looks again, and finds
// nothing to do.
func TestTwoDeploysAtOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.promote(2)
		w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: time.Second})
		kinds := make([]string, 5)
		var wg sync.WaitGroup
		for i := range kinds {
			wg.Go(func() {
				o, err := w.driver().Deploy(w.Context(), w.ask())
				if err != nil {
					w.Error(err)
				}
				kinds[i] = string(o.Kind)
			})
		}
		wg.Wait()
		slices.Sort(kinds)
		if diff := cmp.Diff([]string{"live", "nothing-to-do", "nothing-to-do", "nothing-to-do", "nothing-to-do"}, kinds); diff != "" {
			w.Error(diff)
		}
		if n := w.applied(2); n != 1 {
			w.Errorf("rolled out %d times", n)
		}
		w.wantServing(2)
	})
}

// Promotions come while deploys of earlier ones run: the newest serves in the
// end, whatever the order they get the lock in.
func TestManyPromotionsAtOnce(t *testing.T) {
	t.Parallel()
	for seed := range 30 {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			var wg sync.WaitGroup
			for v := 1; v <= 8; v++ {
				if (seed+v)%3 == 0 && v != 8 {
					w.asker.tell(image(v), wrongAnswer)
				}
				w.target.Behave(image(v), slipwaytest.Behaviour{ReadyAfter: time.Duration(seed*v%7) * 100 * time.Millisecond})
				w.promote(v)
				wg.Go(func() {
					if _, err := w.driver().Deploy(t.Context(), w.ask()); err != nil {
						t.Errorf("seed %d: %v", seed, err)
					}
				})
				<-time.After(time.Duration(seed*37%400) * time.Millisecond)
			}
			wg.Wait()
			w.wantServing(8)
			for _, r := range w.record().History {
				if r.Phase == slipway.Broken {
					t.Errorf("seed %d: %s", seed, fmt.Sprint(w.phases()))
				}
			}
		})
	}
}

// A run that was asleep for longer than its lock lasts finds that another has
// ended its release and has gone on to the next: it does not call its own live.
func TestAnotherRunEndedItAndWentOn(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		b, asleep := &bent{world: w}, false
		b.act = func(context.Context, slipway.Action) (error, bool) {
			if !asleep {
				asleep = true
				w.journal.Die()
				w.wantKind(w.deploy(3), rollout.Live)
			}
			return nil, false
		}
		o, err := b.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Superseded)
		w.wantServing(3)
	})
}
