package rollout_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// setTo sets the target to the newest release of the version, as somebody
// would by hand: the target says of itself what it said then.
func (w *world) setTo(version int) {
	w.Helper()
	rec := w.record()
	for i := len(rec.History) - 1; i >= 0; i-- {
		if r := rec.History[i]; r.Image.Digest == image(version) {
			if err := w.target.Act(w.Context(), slipway.Action{Kind: slipway.Apply, Fence: w.fence(), Release: r}); err != nil {
				w.Fatal(err)
			}
			return
		}
	}
	w.Fatalf("version %d was never released", version)
}

// fence is the number under which somebody gets past the target's check.
func (w *world) fence() uint64 {
	fence := uint64(0)
	for _, r := range w.record().History {
		fence = max(fence, r.Fence)
	}
	return fence
}

func (w *world) warned(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.events {
		if e.Kind == slipway.Warning && strings.Contains(e.Message, text) {
			n++
		}
	}
	return n
}

// Somebody sets the target back by hand while nothing is on its way. Whatever
// comes next takes note of it; nothing puts back what was undone by itself.
func TestUndoneByHand(t *testing.T) {
	t.Parallel()
	deploy := func(w *world) (rollout.Outcome, error) { return w.driver().Deploy(w.Context(), w.ask()) }
	tests := []struct {
		name    string
		promote int // besides 2, which is live until it is undone
		run     func(w *world) (rollout.Outcome, error)
		want    rollout.Kind
		serves  int
		bad     []string // what is quarantined then
		phases  []string
	}{
		{"deploy of the same again", 2, deploy, rollout.Quarantined, 1, []string{"2"}, []string{"1 verified", "2 undone", "1 verified"}},
		{"deploy of another one", 3, deploy, rollout.Live, 3, []string{}, []string{"1 verified", "2 undone", "1 verified", "3 verified"}},
		{"deploy of what it was undone to", 1, deploy, rollout.Nothing, 1, []string{}, []string{"1 verified", "2 undone", "1 verified"}},
		{"deploy with --retry", 2, func(w *world) (rollout.Outcome, error) {
			ask := w.ask()
			ask.Retry = true
			return w.driver().Deploy(w.Context(), ask)
		}, rollout.Live, 2, []string{}, []string{"1 verified", "2 undone", "1 verified", "2 verified"}},
		{"rollout in steps", 2, func(w *world) (rollout.Outcome, error) { return w.driver().Rollout(w.Context(), w.ask()) },
			rollout.Quarantined, 1, []string{"2"}, []string{"1 verified", "2 undone", "1 verified"}},
		{"recover", 2, func(w *world) (rollout.Outcome, error) { return w.driver().Recover(w.Context()) },
			rollout.Live, 1, []string{"2"}, []string{"1 verified", "2 undone", "1 verified"}},
		{"rollback", 2, func(w *world) (rollout.Outcome, error) {
			return w.driver().Rollback(w.Context(), rollout.Return{})
		}, rollout.Live, 1, []string{"2"}, []string{"1 verified", "2 undone", "1 verified"}},
		{"rollback to the same version", 2, func(w *world) (rollout.Outcome, error) {
			return w.driver().Rollback(w.Context(), rollout.Return{Version: "1"})
		}, rollout.Live, 1, []string{"2"}, []string{"1 verified", "2 undone", "1 verified"}},
		{"rollback to what was undone", 2, func(w *world) (rollout.Outcome, error) {
			return w.driver().Rollback(w.Context(), rollout.Return{Version: "2"})
		}, rollout.Live, 2, []string{"1"}, []string{"1 verified", "2 undone", "1 undone", "2 verified"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				w.deploy(2)
				w.setTo(1)
				w.promote(tt.promote)
				prepared := len(w.prepared)
				o, err := tt.run(w)
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, tt.want)
				w.wantServing(tt.serves)
				if diff := cmp.Diff(tt.bad, w.quarantined()); diff != "" {
					w.Errorf("quarantined (-want +got):\n%s", diff)
				}
				if n := w.warned("kubectl rollout undo"); n != 1 {
					w.Errorf("told %d times", n)
				}
				if tt.want == rollout.Quarantined && len(w.prepared) != prepared {
					w.Error("the version that was undone was prepared again")
				}
				if diff := cmp.Diff(tt.phases, w.phases()); diff != "" {
					w.Errorf("history (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// Twenty polls after a hand-made undo are one adoption.
func TestUndoneByHandIsNotedOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.deploy(2)
		w.setTo(1)
		acts := len(w.target.Acts())
		for range 20 {
			w.wantKind(w.deploy(2), rollout.Quarantined)
		}
		if n := len(w.target.Acts()) - acts; n != 1 {
			w.Errorf("the target was acted on %d times, want once: to say which release it serves", n)
		}
		q := w.record().Quarantine
		if len(q) != 1 || !strings.Contains(q[0].Reason, "undone by hand outside of slipway (kubectl rollout undo)") {
			w.Errorf("quarantine %+v", q)
		}
		served := rollout.Served(w.record())
		if len(served) != 3 || served[1].Until != served[2].From || served[2].Release.Model != version(1) || !served[2].Until.IsZero() {
			w.Errorf("served %+v", served)
		}
	})
}

// What it was undone to must be right, too. If not, a person decides: what was
// undone by hand does not come back by itself.
func TestUndoneByHandToWhatIsWrong(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.deploy(2)
		w.setTo(1)
		w.asker.tell(image(1), wrongAnswer, wrongAnswer)
		o, err := w.driver().Recover(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.NeedsPerson)
		if got := w.observe().Desired; got != image(1) {
			w.Errorf("the target is set to %s", got.Short())
		}
	})
}

// A target at rest that somebody emptied or set to what nobody released does
// not answer "nothing to do": the promoted version is rolled out again.
func TestSomebodyTookTheLiveReleaseAway(t *testing.T) {
	t.Parallel()
	stranger := slipway.Release{ID: "STRANGER", Image: slipway.Image{Digest: image(9)}, Model: version(9)}
	for name, action := range map[string]slipway.Action{
		"nothing":                      {Kind: slipway.Remove},
		"a stranger":                   {Kind: slipway.Apply, Release: stranger},
		"the same image by a stranger": {Kind: slipway.Apply, Release: slipway.Release{ID: "STRANGER", Image: slipway.Image{Digest: image(2)}}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				w.deploy(2)
				action.Fence = w.fence()
				if err := w.target.Act(w.Context(), action); err != nil {
					w.Fatal(err)
				}
				w.wantKind(w.deploy(2), rollout.Live)
				w.wantServing(2)
				if len(w.quarantined()) > 0 {
					w.Errorf("quarantined %v", w.quarantined())
				}
				w.wantKind(w.deploy(2), rollout.Nothing)
			})
		})
	}
}

// A release that was failed, and somebody went back to it by hand: nobody ever
// verified it, so it is replaced.
func TestUndoneByHandToWhatWasNeverVerified(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.tell(image(3), wrongAnswer)
		w.wantKind(w.deploy(3), rollout.RolledBack)
		w.setTo(3)
		w.wantKind(w.deploy(1), rollout.Live)
		w.wantServing(1)
	})
}

// While a release is on its way, a hand-made undo ends it: the version is
// quarantined, and the text says who serves.
func TestUndoneByHandOnItsWay(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.during = func(ctx context.Context) {
			if c := w.record().Current; c != nil && c.Phase == slipway.Verifying {
				old := *w.record().Live
				if err := w.target.Act(ctx, slipway.Action{Kind: slipway.Apply, Fence: c.Fence, Release: old}); err != nil {
					w.Error(err)
				}
			}
		}
		o := w.deploy(2)
		w.wantKind(o, rollout.RolledBack)
		if !strings.Contains(o.Message, "somebody else set it back to iris 1") {
			w.Errorf("it says %q", o.Message)
		}
		w.wantServing(1)
		w.asker.during = nil
		w.wantKind(w.deploy(2), rollout.Quarantined)
	})
}

// A rollback of the whole template asks for it once; whoever comes back to
// that release later does not.
func TestWholeTemplateIsAskedForOnce(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.deploy(2)
		if _, err := w.driver().Rollback(w.Context(), rollout.Return{WholeTemplate: true}); err != nil {
			w.Fatal(err)
		}
		acts := w.target.Acts()
		if last := acts[len(acts)-1].Release; !last.WholeTemplate || last.Image.Digest != image(1) {
			w.Errorf("the target was not asked for the whole template: %+v", last)
		}
		if w.record().Live.WholeTemplate {
			w.Error("the live release still asks for it")
		}
		w.asker.tell(image(3), wrongAnswer)
		w.wantKind(w.deploy(3), rollout.RolledBack)
		acts = w.target.Acts()
		if last := acts[len(acts)-1].Release; last.WholeTemplate || last.Image.Digest != image(1) {
			w.Errorf("going back asks for the whole template: %+v", last)
		}
	})
}

// Going back to what differs only in what a replica asks for, or in how long
// it may take to start, is a rollback.
func TestRollbackOfRequestsAlone(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*slipway.Release){
		"requests": func(r *slipway.Release) { r.Requests = slipway.Requests{CPU: "2"} },
		"startup":  func(r *slipway.Release) { r.Startup = time.Minute },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				ask := w.ask()
				ask.Same = func(slipway.Release) bool { return false }
				ask.Prepare = func(ctx context.Context, v slipway.ModelVersion) (slipway.Release, error) {
					r, err := w.prepare(ctx, v)
					change(&r)
					return r, err
				}
				if o, err := w.driver().Deploy(w.Context(), ask); err != nil || o.Kind != rollout.Live {
					w.Fatalf("%+v, %v", o, err)
				}
				o, err := w.driver().Rollback(w.Context(), rollout.Return{})
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, rollout.Live)
				if live := w.record().Live; live.Requests != (slipway.Requests{}) || live.Startup != 0 {
					w.Errorf("live %+v", live)
				}
			})
		})
	}
}
