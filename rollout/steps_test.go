package rollout_test

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// rollOut deploys version 1, rolls version 2 out in steps, and returns the
// release as release.json hands it on.
func (w *world) rollOut() slipway.Release {
	w.Helper()
	w.deploy(1)
	w.promote(2)
	o, err := w.driver().Rollout(w.Context(), w.ask())
	if err != nil {
		w.Fatal(err)
	}
	w.wantKind(o, rollout.Unverified)
	data, err := json.Marshal(o.Release)
	if err != nil {
		w.Fatal(err)
	}
	r, err := slipway.DecodeRelease(bytes.NewReader(data), 1<<20)
	if err != nil {
		w.Fatal(err)
	}
	if r.Fence == 0 || r.Phase != slipway.Unverified || !r.Deadline.After(time.Now()) {
		w.Fatalf("handed on with fence %d, %s until %s", r.Fence, r.Phase, r.Deadline)
	}
	return r
}

func (w *world) verify(r slipway.Release) rollout.Outcome {
	w.Helper()
	o, err := w.driver().Verify(w.Context(), r)
	if err != nil {
		w.Fatal(err)
	}
	return o
}

func TestStepsGoOnWhereTheOneBeforeEnded(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		between func(w *world) // the two steps
		want    rollout.Kind
		serves  int
	}{
		{"at once", func(*world) {}, rollout.Live, 2},
		{"answers wrongly", func(w *world) { w.asker.tell(image(2), wrongAnswer) }, rollout.RolledBack, 1},
		{"after its time, nobody came", func(*world) { <-time.After(time.Hour) }, rollout.Live, 2},
		{"twice", func(w *world) { w.wantKind(w.verify(*w.record().Current), rollout.Live) }, rollout.Live, 2},
		{"a hold and its end come between", func(w *world) {
			for range 2 {
				if _, err := w.driver().Hold(w.Context(), "ada", ""); err != nil {
					w.Fatal(err)
				}
				if _, err := w.driver().Resume(w.Context()); err != nil {
					w.Fatal(err)
				}
			}
		}, rollout.Live, 2},
		{"recover leaves it its time", func(w *world) {
			o, err := w.driver().Recover(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, rollout.Unverified)
		}, rollout.Live, 2},
		{"recover finished it", func(w *world) {
			<-time.After(time.Hour)
			o, err := w.driver().Recover(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, rollout.Live)
		}, rollout.Live, 2},
		{"recover undid it", func(w *world) {
			<-time.After(time.Hour)
			w.asker.tell(image(2), wrongAnswer)
			o, err := w.driver().Recover(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, rollout.RolledBack)
		}, rollout.RolledBack, 1},
		{"a newer deploy finished it and went on", func(w *world) { w.wantKind(w.deploy(3), rollout.Live) }, rollout.Superseded, 3},
		{"it was rolled back by hand", func(w *world) {
			o, err := w.driver().Rollback(w.Context(), rollout.Return{Reason: "the canary test failed"})
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, rollout.RolledBack)
			if got := w.quarantined(); !slices.Equal(got, []string{"2"}) {
				w.Errorf("quarantined %v", got)
			}
		}, rollout.RolledBack, 1},
		{"somebody undid it", func(w *world) {
			if err := w.target.Act(w.Context(), slipway.Action{Kind: slipway.Apply, Fence: 2, Release: *w.record().Live}); err != nil {
				w.Fatal(err)
			}
		}, rollout.RolledBack, 1},
		{"it crashed", func(w *world) { <-time.After(6 * time.Minute) }, rollout.RolledBack, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				if tt.name == "it crashed" {
					w.target.Behave(image(2), slipwaytest.Behaviour{CrashAfter: 5 * time.Minute})
				}
				r := w.rollOut()
				tt.between(w)
				w.wantKind(w.verify(r), tt.want)
				w.wantServing(tt.serves)
			})
		})
	}
}

func TestVerifyOfATargetThatIsAnotherRuns(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.rollOut()
		if _, err := w.journal.Lock(w.Context(), slipway.Claim{Holder: "another run"}); err != nil {
			w.Fatal(err)
		}
		acts := len(w.target.Acts())
		w.wantKind(w.verify(r), rollout.Superseded)
		if len(w.target.Acts()) != acts {
			w.Error("it acted on another run's target")
		}
	})
}

func TestVerifyOfWhatWasNeverRolledOut(t *testing.T) {
	inBubble(t, func(w *world) {
		o, err := w.driver().Verify(w.Context(), slipway.Release{ID: "X", Image: slipway.Image{Digest: image(1)}})
		if slipway.CodeOf(err) != slipway.Invalid || o.Hint == "" {
			w.Errorf("gave %v, hint %q", err, o.Hint)
		}
	})
}

// A job that is run again hands the same release.json on.
func TestRolloutAgainOfTheSameRelease(t *testing.T) {
	inBubble(t, func(w *world) {
		r := w.rollOut()
		ask := w.ask()
		ask.Prepare = func(context.Context, slipway.ModelVersion) (slipway.Release, error) { return r, nil }
		o, err := w.driver().Rollout(w.Context(), ask)
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Nothing)
		if o.Release.ID != r.ID || o.Recovered == nil {
			w.Errorf("release %s, recovered %v; want the one that waited, %s", o.Release.ID, o.Recovered, r.ID)
		}
		w.wantKind(w.verify(o.Release), rollout.Live)
	})
}

func TestRollbackByHand(t *testing.T) {
	inBubble(t, func(w *world) {
		for v := 1; v <= 3; v++ {
			w.wantKind(w.deploy(v), rollout.Live)
		}
		back := func(to slipway.Version, want rollout.Kind) rollout.Outcome {
			w.Helper()
			o, err := w.driver().Rollback(w.Context(), rollout.Return{Version: to, Actor: "ada", Reason: "it is too slow"})
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, want)
			return o
		}
		o := back("", rollout.Live)
		w.wantServing(2)
		if o.Release.Actor != "ada" || o.Release.Reason != "it is too slow" || o.Release.Undoes == "" || o.Release.Previous.Model != version(3) {
			w.Errorf("release %+v", o.Release)
		}
		w.wantKind(w.deploy(3), rollout.Quarantined) // a poll does not bring it back
		back("", rollout.Live)
		w.wantServing(1)
		want := []string{"1 verified", "2 verified", "3 undone", "2 undone", "1 verified"}
		if diff := cmp.Diff(want, w.phases()); diff != "" {
			w.Errorf("history (-want +got):\n%s", diff)
		}
		if got := w.quarantined(); !slices.Equal(got, []string{"3", "2"}) {
			w.Errorf("quarantined %v", got)
		}
		back("3", rollout.Live) // named, so it was meant
		w.wantServing(3)
		if got := w.quarantined(); !slices.Equal(got, []string{"2", "1"}) {
			w.Errorf("quarantined %v, want what was taken back, and not what serves", got)
		}
	})
}

func TestRollbackByHandThatFailsReturns(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.deploy(2)
		w.asker.tell(image(1), wrongAnswer)
		o, err := w.driver().Rollback(w.Context(), rollout.Return{})
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(2)
		if diff := cmp.Diff([]string{"1 verified", "2 verified", "1 rolled-back"}, w.phases()); diff != "" {
			w.Error(diff)
		}
	})
}

func TestRollbackToNowhere(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(w *world)
		to   rollout.Return
		code slipway.Code
	}{
		{"a target that serves nothing", func(*world) {}, rollout.Return{}, slipway.NotFound},
		{"a first release", func(w *world) { w.deploy(1) }, rollout.Return{}, slipway.NotFound},
		{"what serves", func(w *world) { w.deploy(1); w.deploy(2) }, rollout.Return{Version: "2"}, slipway.Conflict},
		{"what never was", func(w *world) { w.deploy(1); w.deploy(2) }, rollout.Return{Version: "7"}, slipway.NotFound},
		{"what was never verified", func(w *world) {
			w.deploy(1)
			w.asker.tell(image(2), wrongAnswer)
			w.deploy(2)
		}, rollout.Return{Version: "2"}, slipway.NotFound},
		{"what cannot be pulled", func(w *world) { w.deploy(1); w.deploy(2) }, rollout.Return{WayBack: func(context.Context, slipway.Release) error {
			return slipway.Errorf(slipway.NotFound, "", "gone")
		}}, slipway.NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				tt.set(w)
				before := w.record()
				o, err := w.driver().Rollback(w.Context(), tt.to)
				if slipway.CodeOf(err) != tt.code {
					w.Errorf("gave %v, want %s", err, tt.code)
				}
				w.wantKind(o, rollout.Failed)
				if diff := cmp.Diff(before, w.record()); diff != "" {
					w.Error(diff)
				}
			})
		})
	}
}

// What a dead run left, or what waits for its verification, is what a rollback
// takes back: it does not go one further.
func TestRollbackOfWhatIsOnItsWay(t *testing.T) {
	t.Parallel()
	for _, phase := range []slipway.Phase{slipway.Pending, slipway.RollingOut, slipway.Verifying, slipway.RollingBack, slipway.Restoring} {
		t.Run(string(phase), func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				w.deploy(2)
				if phase == slipway.Restoring {
					w.asker.tell(image(3), wrongAnswer)
				}
				w.leave(3, phase)
				o, err := w.driver().Rollback(w.Context(), rollout.Return{})
				if err != nil {
					w.Fatal(err)
				}
				if phase == slipway.Pending { // nothing had moved: what serves is taken back
					w.wantKind(o, rollout.Live)
					w.wantServing(1)
					return
				}
				w.wantKind(o, rollout.RolledBack)
				w.wantServing(2)
			})
		})
	}
}

func TestAHeldTargetMayBeRolledBack(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.deploy(2)
		if _, err := w.driver().Hold(w.Context(), "ada", "incident"); err != nil {
			w.Fatal(err)
		}
		o, err := w.driver().Rollback(w.Context(), rollout.Return{})
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
		w.wantServing(1)
		w.wantKind(w.deploy(3), rollout.Held)
	})
}
