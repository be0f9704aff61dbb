package rollout_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// cutOff takes target and journal away together, as an API server that is
// away does.
type cutOff struct {
	*bent
	until time.Time
}

func newCutOff(w *world) *cutOff {
	c := &cutOff{bent: &bent{world: w}}
	c.bent.away = func() bool { return time.Now().Before(c.until) }
	c.locks = func() error {
		if c.bent.away() {
			return away
		}
		return nil
	}
	c.store = func(slipway.Record) (error, error) { return c.locks(), nil }
	return c
}

func (c *cutOff) cut(d time.Duration) {
	c.until = time.Now().Add(d)
	c.target.UnreachableFor(d)
}

// lines returns the warnings that tell of the outage.
func (c *cutOff) lines() []string {
	var list []string
	for _, e := range c.events {
		if e.Kind == slipway.Warning && strings.Contains(e.Message, "out of reach") {
			list = append(list, e.Message)
		}
	}
	return list
}

// An API server that is away for half a minute and more changes nothing but the time a
// release takes, in whatever phase it happens, also if the answer to the write
// that began the phase is lost.
func TestAnOutageIsSurvivedInEveryPhase(t *testing.T) {
	t.Parallel()
	tests := []struct {
		phase slipway.Phase
		first bool // there was nothing before
		wrong bool // the release answers wrongly
		want  rollout.Kind
	}{
		{slipway.Pending, false, false, rollout.Live},
		{slipway.RollingOut, false, false, rollout.Live},
		{slipway.Verifying, false, false, rollout.Live},
		{slipway.Verified, false, false, rollout.Live},
		{slipway.RollingBack, false, true, rollout.RolledBack},
		{slipway.Restoring, false, true, rollout.RolledBack},
		{slipway.RolledBack, false, true, rollout.RolledBack},
		{slipway.Removing, true, true, rollout.Removed},
		{slipway.Removed, true, true, rollout.Removed},
	}
	for _, tt := range tests {
		t.Run(string(tt.phase), func(t *testing.T) {
			inBubble(t, func(w *world) {
				if !tt.first {
					w.deploy(1)
				}
				if tt.wrong {
					w.asker.tell(image(2), wrongAnswer)
				}
				w.target.Behave(image(1), slipwaytest.Behaviour{ReadyAfter: 3 * time.Second}) // when it comes back
				c, done := newCutOff(w), false
				c.store = func(r slipway.Record) (error, error) {
					if c.bent.away() {
						return away, nil
					}
					if !done && stored(r) == string(tt.phase) && len(r.History) > 0 || r.Current != nil && r.Current.Phase == tt.phase && !done {
						done = true
						c.cut(35 * time.Second)
						return nil, away
					}
					return nil, nil
				}
				start := time.Now()
				o, err := c.deployBent(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, tt.want)
				w.wantServing(map[rollout.Kind]int{rollout.Live: 2, rollout.RolledBack: 1}[tt.want])
				if took := time.Since(start); !done || took < 35*time.Second || took > 40*time.Second {
					w.Errorf("took %s, cut off: %v", took, done)
				}
				if lines := c.lines(); len(lines) != 1 {
					w.Errorf("it is told %d times: %q", len(lines), lines)
				}
			})
		})
	}
}

// The same before the release has begun: what is asked first, and the lock.
func TestAnOutageIsSurvivedBeforeTheLock(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(c *cutOff){
		"the first look": func(c *cutOff) { c.cut(30 * time.Second) },
		"the lock": func(c *cutOff) {
			done := false
			before := c.locks
			c.locks = func() error {
				if !done {
					done = true
					c.cut(30 * time.Second)
				}
				return before()
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				c := newCutOff(w)
				set(c)
				o, err := c.deployBent(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, rollout.Live)
				w.wantServing(2)
				if lines := c.lines(); len(lines) != 1 {
					w.Errorf("it is told %d times: %q", len(lines), lines)
				}
			})
		})
	}
}

// Outages late in a phase, and several of them: none takes the phase's time.
func TestOutagesTakeNoTimeFromAPhase(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: 170 * time.Second})
		c, start := newCutOff(w), time.Now()
		c.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
			for _, at := range []time.Duration{60 * time.Second, 150 * time.Second} {
				if since := time.Since(start); since > at && since < at+20*time.Second {
					c.cut(20 * time.Second)
				}
			}
			return o, nil
		}
		o, err := c.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
	})
}

// A verification that began in an outage, and of which nobody could say any
// more until the outage was over, says nothing of the release.
func TestAVerdictOfAnOutageIsNotTheReleases(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		c := newCutOff(w)
		w.asker.tell(image(2), answer{problem: &slipway.Problem{
			Kind: "unreachable", Message: "it does not answer", Heals: true, HealBy: time.Now().Add(10 * time.Second)}})
		w.asker.during = func(context.Context) { w.asker.during = nil; c.cut(30 * time.Second) }
		o, err := c.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
	})
}

// But an outage does not hold up a release for ever.
func TestALongOutageEnds(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		c, start := newCutOff(w), time.Now()
		w.asker.during = func(context.Context) { c.cut(24 * time.Hour) }
		o, err := c.deployBent(w.Context())
		if err == nil || o.Kind != rollout.Unfinished {
			w.Errorf("%+v, %v", o, err)
		}
		if took := time.Since(start); took > 4*time.Minute {
			w.Errorf("took %s", took)
		}
	})
}

// A right that is missing is not waited for before anything has moved.
func TestAMissingRightIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	missing := slipway.Errorf(slipway.Unauthorized, "looking", "the right to list pods in the namespace production is missing").WithHint("kubectl create rolebinding")
	for name, set := range map[string]func(c *cutOff){
		"to look": func(c *cutOff) {
			c.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) { return o, missing }
		},
		"to lock":  func(c *cutOff) { c.locks = func() error { return missing } },
		"to store": func(c *cutOff) { c.store = func(slipway.Record) (error, error) { return missing, nil } },
		"to look, after it was journalled": func(c *cutOff) {
			c.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
				if c.record().Current != nil {
					return o, missing
				}
				return o, nil
			}
		},
		"to act": func(c *cutOff) { c.act = func(context.Context, slipway.Action) (error, bool) { return missing, true } },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				c, start := newCutOff(w), time.Now()
				set(c)
				o, err := c.deployBent(w.Context())
				if text := o.Message + o.Hint; !strings.Contains(text, "the right to list pods") || !strings.Contains(text, "kubectl create rolebinding") {
					w.Errorf("it says %q, %q, %v", o.Message, o.Hint, err)
				}
				if took := time.Since(start); took > time.Second {
					w.Errorf("took %s", took)
				}
				if w.observe().Desired != image(1) {
					w.Error("the target moved")
				}
			})
		})
	}
}

// A right that comes back, as after an API server's restart, costs a release
// that has moved nothing but time.
func TestARightThatIsMissingForAMomentIsWaitedFor(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: 3 * time.Second})
		c, until := newCutOff(w), time.Time{}
		c.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
			if until.IsZero() && o.Desired == image(2) {
				until = time.Now().Add(5 * time.Second)
			}
			if time.Now().Before(until) {
				return o, slipway.Errorf(slipway.Unauthorized, "looking", "RBAC: not synchronised")
			}
			return o, nil
		}
		o, err := c.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
	})
}

// What others do to the target is told once a run, whatever else changes.
func TestNotesAreToldOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.target.Behave(image(2), slipwaytest.Behaviour{ReadyAfter: 3 * time.Second})
		c, looks := newCutOff(w), 0
		c.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
			looks++
			o.Notes = []string{"scaled from 2 to 3 by the HorizontalPodAutoscaler"}
			if looks%3 == 0 {
				o.Notes = append(o.Notes, "somebody changed the label colour")
			}
			return o, nil
		}
		o, err := c.deployBent(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
		told := map[string]int{}
		for _, e := range w.events {
			if e.Kind == slipway.Note && e.Step == "rollout" {
				told[e.Message]++
			}
		}
		if told["scaled from 2 to 3 by the HorizontalPodAutoscaler"] != 1 || told["somebody changed the label colour"] != 1 {
			w.Errorf("after %d looks: %v", looks, told)
		}
	})
}
