package rollout_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// What the versions of a random life are like.
const (
	goodVersion   = 1
	slowVersion   = 2
	brokenVersion = 3 // its golden predictions differ: it must never answer
	wrongVersion  = 4 // only the verifier finds out
	frailVersion  = 5 // crashes while it is verified
)

// Operations follow each other on one target for a while, at random, and each
// is left alone, killed, interrupted or robbed of its lock at a random point,
// with the target away now and then. After every one of them, a version that
// was verified answers; and in the end one recover puts all in order.
func TestRandomLives(t *testing.T) {
	t.Parallel()
	kinds := map[rollout.Kind]int{}
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			l := newLife(t, seed)
			for range 12 {
				kinds[l.round()]++
			}
			l.settle()
			if t.Failed() {
				t.Fatalf("seed %d: %v\n%v", seed, l.told, l.phases())
			}
		})
	}
	t.Logf("ended %v", kinds)
	if len(kinds) < 10 {
		t.Errorf("the lives met %d kinds of ends only", len(kinds))
	}
}

type life struct {
	*world
	rng  *rand.Rand
	told []string
	step *slipway.Release // what a rollout handed on
}

func newLife(t *testing.T, seed uint64) *life {
	l := &life{world: newWorld(t), rng: rand.New(rand.NewPCG(seed, 3))}
	l.target.Behave(image(slowVersion), slipwaytest.Behaviour{ReadyAfter: 7 * time.Second})
	l.target.Behave(image(brokenVersion), slipwaytest.GoldenDiffers())
	l.target.Behave(image(frailVersion), slipwaytest.Behaviour{CrashAfter: 2 * time.Second})
	l.asker.tell(image(wrongVersion), slices.Repeat([]answer{wrongAnswer}, 1000)...)
	l.asker.tell(image(frailVersion), slices.Repeat([]answer{{takes: 3 * time.Second}}, 1000)...)
	return l
}

// round does one operation under one fault and returns how it ended.
func (l *life) round() rollout.Kind {
	ctx, cancel := context.WithCancelCause(l.Context())
	defer cancel(nil)
	point, fault := l.rng.IntN(60), l.rng.IntN(5)
	f := &fragile{world: l.world}
	f.hook = func(string) {
		l.watchBroken()
		if point--; point != 0 {
			return
		}
		switch fault {
		case 0:
			f.dead = true
			panic(errKilled)
		case 1:
			cancel(errInterrupt)
		case 2:
			l.journal.Die()
		case 3:
			l.target.UnreachableFor(time.Duration(l.rng.IntN(15)) * time.Second)
		}
	}
	name, run := l.choose()
	var o rollout.Outcome
	if f.killed(func(d *rollout.Driver) { o, _ = run(ctx, d) }) {
		o.Kind = "killed"
	}
	if o.Kind == rollout.Unverified && o.Release.Phase == slipway.Unverified {
		l.step = &o.Release
	}
	l.told = append(l.told, fmt.Sprintf("%s (fault %d): %s", name, fault, o.Kind))
	if o.Kind == rollout.NeedsPerson {
		l.Errorf("a person is needed: %s", o.Message)
	}
	<-time.After(time.Duration(l.rng.IntN(20)) * time.Minute)
	return o.Kind
}

// choose returns an operation; faults may make it fail, so its error is no
// matter here.
func (l *life) choose() (string, func(context.Context, *rollout.Driver) (rollout.Outcome, error)) {
	version := 1 + l.rng.IntN(6)
	switch n := l.rng.IntN(10); {
	case n < 4:
		l.promote(version)
		return fmt.Sprint("deploy ", version), func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) { return d.Deploy(ctx, l.ask()) }
	case n < 6:
		l.promote(version)
		return fmt.Sprint("rollout ", version), func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) { return d.Rollout(ctx, l.ask()) }
	case n < 7 && l.step != nil:
		return "verify", func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) { return d.Verify(ctx, *l.step) }
	case n < 8:
		return "rollback", func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) {
			return d.Rollback(ctx, rollout.Return{})
		}
	case n < 9:
		return "hold, resume", func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) {
			if o, err := d.Hold(ctx, "ada", ""); err != nil {
				return o, err
			}
			return d.Resume(ctx)
		}
	}
	return "recover", func(ctx context.Context, d *rollout.Driver) (rollout.Outcome, error) { return d.Recover(ctx) }
}

func (l *life) watchBroken() {
	o, err := l.target.Observe(l.Context())
	if err != nil {
		return // the target is away
	}
	for _, r := range o.Replicas {
		if r.Image == image(brokenVersion) && r.Serving {
			l.Errorf("%s answers requests", r.Name)
		}
	}
}

// settle brings all in order, and looks whether it is.
func (l *life) settle() {
	<-time.After(time.Hour)
	if _, err := l.driver().Recover(l.Context()); err != nil {
		l.Error(err)
	}
	rec, version := l.record(), 0
	if rec.Live != nil {
		if _, err := fmt.Sscan(string(rec.Live.Model.Version), &version); err != nil {
			l.Error(err)
		}
	}
	if slices.Contains([]int{brokenVersion, wrongVersion, frailVersion}, version) {
		l.Errorf("version %d is live", version)
	}
	l.wantServing(version)
	for _, r := range rec.History {
		if !r.Phase.Ended() {
			l.Errorf("%s is %s, in the history", r.Model, r.Phase)
		}
	}
}
