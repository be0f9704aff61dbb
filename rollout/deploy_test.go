package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
	"github.com/slipway-dev/slipway/slipwaytest"
)

// inBubble runs the test with a clock of its own.
func inBubble(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { test(newWorld(t)) })
}

func TestDeployEnds(t *testing.T) {
	t.Parallel()
	slow := slipwaytest.Behaviour{ReadyAfter: 3 * time.Second}
	broken := slipwaytest.GoldenDiffers()
	tests := []struct {
		name   string
		first  int // the version that is live before; 0: none
		set    func(w *world)
		want   rollout.Kind
		serves int
		why    string        // the kind of the failure's problem
		within time.Duration // of the bubble's time
	}{
		{"a first release", 0, nil, rollout.Live, 2, "", time.Second},
		{"a next release", 1, nil, rollout.Live, 2, "", time.Second},
		{"a slow one", 1, behave(slow), rollout.Live, 2, "", 4 * time.Second},
		{"golden predictions differ", 1, behave(broken), rollout.RolledBack, 1, "golden-differs", time.Second},
		{"golden predictions of a first release differ", 0, behave(broken), rollout.Removed, 0, "golden-differs", time.Second},
		{"one replica of two is bad", 1, behave(slipwaytest.Behaviour{Fails: broken.Fails, From: 1}), rollout.RolledBack, 1, "golden-differs", time.Second},
		{"never ready", 1, behave(slipwaytest.Behaviour{Never: true}), rollout.RolledBack, 1, rollout.KindNeverReady, 166 * time.Second},
		{"a first release never ready", 0, behave(slipwaytest.Behaviour{Never: true}), rollout.Removed, 0, rollout.KindNeverReady, 166 * time.Second},
		{"crashes before it is verified", 1, func(w *world) {
			behave(slipwaytest.Behaviour{CrashAfter: 2 * time.Second})(w)
			w.asker.tell(image(2), answer{takes: 3 * time.Second})
		}, rollout.RolledBack, 1, "crashed", 4 * time.Second},
		{"crashes at the start", 1, behave(slipwaytest.Behaviour{ReadyAfter: time.Second, CrashAfter: time.Nanosecond, From: 1}), rollout.RolledBack, 1, "crashed", 2 * time.Second},
		{"answers wrongly", 1, tells(wrongAnswer), rollout.RolledBack, 1, "golden-differs", time.Second},
		{"a first release answers wrongly", 0, tells(wrongAnswer), rollout.Removed, 0, "golden-differs", time.Second},
		{"could not be asked at first", 1, tells(doubtful, doubtful, doubtful), rollout.Live, 2, "", time.Second},
		{"can never be asked", 1, tells(slices.Repeat([]answer{doubtful}, 10_000)...), rollout.RolledBack, 1, "timeout", 62 * time.Second},
		{"never answers", 1, tells(answer{hangs: true}), rollout.RolledBack, 1, "cut-short", 62 * time.Second},
		{"the target is away for a while", 1, func(w *world) {
			behave(slow)(w)
			w.asker.during = func(context.Context) { w.target.UnreachableFor(30 * time.Second) }
		}, rollout.Live, 2, "", 70 * time.Second},
		{"the target refuses it", 1, behave(slipwaytest.Behaviour{Refused: "the disk is full"}), rollout.Failed, 1, rollout.KindRefused, time.Second},
		{"the target refuses a first one", 0, behave(slipwaytest.Behaviour{Refused: "the port is taken"}), rollout.Failed, 0, rollout.KindRefused, time.Second},
		{"the old replicas take long to leave", 1, func(w *world) {
			w.target.Behave(image(1), slipwaytest.Behaviour{DrainFor: 20 * time.Second})
		}, rollout.Live, 2, "", time.Second},
		{"the release before starts slowly again", 1, func(w *world) {
			tells(wrongAnswer)(w)
			w.target.Behave(image(1), slipwaytest.Behaviour{ReadyAfter: 25 * time.Second})
		}, rollout.RolledBack, 1, "golden-differs", 26 * time.Second},
		{"fails now and then", 1, func(w *world) { w.target.FailNext(7) }, rollout.Live, 2, "", 3 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				if tt.first > 0 {
					w.deploy(tt.first)
				}
				if tt.set != nil {
					tt.set(w)
				}
				start := time.Now()
				<-time.After(time.Millisecond)
				o := w.deploy(2)
				if took := time.Since(start); took > tt.within {
					w.Errorf("took %s, want at most %s", took, tt.within)
				}
				w.wantKind(o, tt.want)
				w.wantServing(tt.serves)
				if live := w.record().Live; tt.want == rollout.RolledBack && !live.Verdict.At.After(start) {
					w.Error("the verdict of what serves is from before the rollback")
				}
				why := ""
				if o.Release.Failure != nil {
					why = o.Release.Failure.Problem.Kind
				}
				if why != tt.why {
					w.Errorf("failed for %q, want %q: %+v", why, tt.why, o.Release.Failure)
				}
			})
		})
	}
}

var doubtful = answer{problem: &slipway.Problem{Kind: "timeout", Message: "no answer", Heals: true}}

func behave(b slipwaytest.Behaviour) func(*world) {
	return func(w *world) { w.target.Behave(image(2), b) }
}

func tells(answers ...answer) func(*world) {
	return func(w *world) { w.asker.tell(image(2), answers...) }
}

func TestPersonIsCalled(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		set  func(w *world)
		why  string // of the way back
	}{
		{"the version before is broken now", func(w *world) {
			tells(wrongAnswer)(w)
			w.asker.tell(image(1), wrongAnswer, wrongAnswer)
		}, "golden-differs"},
		{"the version before does not start any more", func(w *world) {
			tells(wrongAnswer)(w)
			w.target.Behave(image(1), slipwaytest.Behaviour{Never: true})
		}, rollout.KindNeverReady},
		{"the target is gone", func(w *world) {
			tells(wrongAnswer)(w)
			w.asker.during = func(context.Context) { w.target.UnreachableFor(time.Hour) }
		}, rollout.KindUnreachable},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				tt.set(w)
				o := w.deploy(2)
				w.wantKind(o, rollout.NeedsPerson)
				if o.Release.Failure == nil || o.Release.BackFailure == nil || o.Release.BackFailure.Problem.Kind != tt.why {
					w.Errorf("failure %+v, way back %+v, want %s", o.Release.Failure, o.Release.BackFailure, tt.why)
				}
				if rec := w.record(); rec.Current != nil || rec.Live.Model != version(1) {
					w.Errorf("current %v, live %v", rec.Current, rec.Live)
				}
				if got := w.quarantined(); !slices.Equal(got, []string{"2"}) {
					w.Errorf("quarantined %v, want version 2: polls must not try it again", got)
				}
				w.wantKind(w.deploy(2), rollout.NeedsPerson) // a poll must not hide it
				<-time.After(2 * time.Hour)
				w.target.Behave(image(1), slipwaytest.Behaviour{})
				mended := *w.record().Live
				for _, kind := range []slipway.ActionKind{slipway.Remove, slipway.Apply} {
					if err := w.target.Act(w.Context(), slipway.Action{Kind: kind, Fence: 9, Release: mended}); err != nil {
						w.Fatal(err)
					}
				}
				w.wantKind(w.deploy(2), rollout.Quarantined)
			})
		})
	}
}

func TestNothingToDoIsFast(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		before := w.record()
		for range 3 {
			w.wantKind(w.deploy(1), rollout.Nothing)
		}
		if diff := cmp.Diff(before, w.record()); diff != "" {
			w.Errorf("the record changed:\n%s", diff)
		}
		if len(w.prepared) != 1 || w.applied(1) != 1 {
			w.Errorf("prepared %v, applied %d times, want once", w.prepared, w.applied(1))
		}
	})
}

func TestWhatTheTargetLostIsDeployedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		if err := w.target.Act(w.Context(), slipway.Action{Kind: slipway.Remove, Fence: 1}); err != nil {
			w.Fatal(err)
		}
		w.wantKind(w.deploy(1), rollout.Live)
		w.wantServing(1)
	})
}

// withThreads asks for the same version with other settings.
func (w *world) withThreads(n string) rollout.Ask {
	ask := w.ask()
	ask.Same = func(live slipway.Release) bool { return live.Env["THREADS"] == n }
	ask.Prepare = func(ctx context.Context, v slipway.ModelVersion) (slipway.Release, error) {
		r, err := w.prepare(ctx, v)
		r.Env = map[string]string{"THREADS": n}
		return r, err
	}
	return ask
}

// The image is the same; only the release tells where the target is.
func TestOtherSettingsThatFailAreRolledBack(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.tell(image(1), wrongAnswer)
		o, err := w.driver().Deploy(w.Context(), w.withThreads("2"))
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
		if live, desired := w.record().Live, w.observe().Release; desired != live.ID || live.Env["THREADS"] != "" {
			w.Errorf("the target is set by %s, live is %s with %v", desired, live.ID, live.Env)
		}
	})
}

func TestOtherSettingsAreDeployed(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		ask := w.withThreads("2")
		for _, want := range []rollout.Kind{rollout.Live, rollout.Nothing} {
			o, err := w.driver().Deploy(w.Context(), ask)
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, want)
		}
		w.wantServing(1)
	})
}

// Twenty polls of a bad promotion are one rollout.
func TestTwentyPollsOfABadPromotion(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.target.Behave(image(2), slipwaytest.GoldenDiffers())
		w.wantKind(w.deploy(2), rollout.RolledBack)
		for range 19 {
			o := w.deploy(2)
			w.wantKind(o, rollout.Quarantined)
			if o.Release.Phase != slipway.RolledBack || o.Serving == nil || o.Serving.Model != version(1) {
				w.Fatalf("it does not say which release was rolled back, and what serves: %+v", o)
			}
		}
		if w.applied(2) != 1 || len(w.prepared) != 2 {
			w.Errorf("rolled out %d times, prepared %v", w.applied(2), w.prepared)
		}
		w.wantServing(1)
	})
}

// Quarantined: not deployed again until another version is promoted, or --retry.

// quarantineTwo has version 1 live and version 2 quarantined, though it would
// work by now.
func (w *world) quarantineTwo() {
	w.Helper()
	w.deploy(1)
	w.target.Behave(image(2), slipwaytest.GoldenDiffers())
	w.wantKind(w.deploy(2), rollout.RolledBack)
	w.target.Behave(image(2), slipwaytest.Behaviour{})
}

func TestQuarantineEndsWithRetry(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		ask := w.ask()
		ask.Retry = true
		o, err := w.driver().Deploy(w.Context(), ask)
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Live)
		if got := w.quarantined(); len(got) > 0 {
			w.Errorf("quarantined %v", got)
		}
	})
}

func TestQuarantineOutlastsARetryThatFails(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		w.target.Behave(image(2), slipwaytest.GoldenDiffers())
		ask := w.ask()
		ask.Retry = true
		if _, err := w.driver().Deploy(w.Context(), ask); err != nil {
			w.Fatal(err)
		}
		w.wantKind(w.deploy(2), rollout.Quarantined)
		if got := w.quarantined(); !slices.Equal(got, []string{"2"}) {
			w.Errorf("quarantined %v", got)
		}
	})
}

func TestQuarantineEndsWithRetryOfTheSameRelease(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		ask := w.ask()
		ask.Retry = true
		ask.Prepare = func(context.Context, slipway.ModelVersion) (slipway.Release, error) {
			h := w.record().History
			return h[len(h)-1], nil
		}
		if o, err := w.driver().Deploy(w.Context(), ask); err != nil || o.Kind != rollout.Live {
			w.Fatal(o, err)
		}
		w.wantServing(2)
	})
}

func TestQuarantineEndsWhenAThirdVersionIsPromoted(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		w.wantKind(w.deploy(3), rollout.Live)
		w.wantKind(w.deploy(2), rollout.Live)
	})
}

func TestQuarantineEndsWhenTheLiveVersionIsPromotedAgain(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		w.wantKind(w.deploy(1), rollout.Nothing)
		w.wantKind(w.deploy(2), rollout.Live)
	})
}

func TestQuarantineOutlastsAVersionThatIsOnlyNamed(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		w.promote(3)
		named := w.ask()
		named.Promoted = false
		if o, err := w.driver().Deploy(w.Context(), named); err != nil || o.Kind != rollout.Live {
			w.Fatal(o.Kind, err)
		}
		w.wantKind(w.deploy(2), rollout.Quarantined)
	})
}

func TestQuarantineOutlastsNamingWhatServes(t *testing.T) {
	inBubble(t, func(w *world) {
		w.quarantineTwo()
		w.promote(1)
		named := w.ask()
		named.Promoted = false
		if o, err := w.driver().Deploy(w.Context(), named); err != nil || o.Kind != rollout.Nothing {
			w.Fatal(o.Kind, err)
		}
		w.wantKind(w.deploy(2), rollout.Quarantined)
	})
}

func TestAnInterruptedVersionIsNotQuarantined(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		ctx, cancel := context.WithCancelCause(w.Context())
		w.asker.during = func(context.Context) { cancel(errors.New("SIGINT")); w.asker.during = nil }
		w.promote(2)
		o, err := w.driver().Deploy(ctx, w.ask())
		if err != nil || !o.Interrupted {
			w.Fatal(o, err)
		}
		w.wantKind(o, rollout.RolledBack)
		w.wantServing(1)
		w.wantKind(w.deploy(2), rollout.Live)
	})
}

func TestHold(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		o, err := w.driver().Hold(w.Context(), "ada", "audit")
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Held)
		w.wantKind(w.deploy(2), rollout.Held)
		w.wantKind(w.deploy(1), rollout.Held)
		w.wantServing(1)
		for _, want := range []rollout.Kind{rollout.Resumed, rollout.Nothing} {
			o, err = w.driver().Resume(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			w.wantKind(o, want)
		}
		w.wantKind(w.deploy(2), rollout.Live)
	})
}

// A dead run's release does not stay half way because the target is held.
func TestAHeldTargetIsPutInOrder(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.leave(2, slipway.RollingOut)
		if _, err := w.driver().Hold(w.Context(), "ada", "audit"); err != nil {
			w.Fatal(err)
		}
		o := w.deploy(3)
		w.wantKind(o, rollout.Held)
		if o.Recovered == nil || o.Recovered.Model != version(2) {
			w.Errorf("recovered %+v", o.Recovered)
		}
		w.wantServing(2)
		if w.applied(3) > 0 {
			w.Error("it rolled out on a held target")
		}
	})
}

// Whoever gets the lock looks again at what is promoted.
func TestTheNewestPromotionWins(t *testing.T) {
	t.Parallel()
	while := func(t *testing.T, moves ...int) *world {
		var w *world
		inBubble(t, func(in *world) {
			w = in
			w.deploy(1)
			ask := w.ask()
			ask.Prepare = func(ctx context.Context, v slipway.ModelVersion) (slipway.Release, error) {
				if len(moves) > 0 { // promoted while this version is being built
					w.promote(moves[0])
					moves = moves[1:]
				}
				return w.prepare(ctx, v)
			}
			w.promote(2)
			o, err := w.driver().Deploy(w.Context(), ask)
			w.events = append(w.events, slipway.Event{Kind: "outcome", Message: fmt.Sprintf("%s %d", o.Kind, len(o.Overtaken)), Step: string(slipway.CodeOf(err))})
			if err == nil {
				w.wantServing(w.promoted)
			}
		})
		return w
	}
	t.Run("once", func(t *testing.T) {
		w := while(t, 3)
		if diff := cmp.Diff([]string{"1 verified", "2 superseded", "3 verified"}, w.phases()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("three times", func(t *testing.T) {
		w := while(t, 3, 4, 5)
		if diff := cmp.Diff([]string{"1 verified", "2 superseded", "3 superseded", "4 superseded", "5 verified"}, w.phases()); diff != "" {
			t.Error(diff)
		}
	})
	t.Run("back to what serves", func(t *testing.T) {
		w := while(t, 1)
		if diff := cmp.Diff([]string{"1 verified", "2 superseded"}, w.phases()); diff != "" {
			t.Error(diff)
		}
		if got := w.events[len(w.events)-1].Message; got != "nothing-to-do 1" {
			t.Errorf("outcome %s", got)
		}
	})
	t.Run("for ever", func(t *testing.T) {
		w := while(t, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12)
		if got := w.events[len(w.events)-1]; got.Message != "failed 8" || got.Step != string(slipway.Unavailable) {
			t.Errorf("outcome %s, code %s", got.Message, got.Step)
		}
	})
}

func TestTheWayBackIsCheckedFirst(t *testing.T) {
	inBubble(t, func(w *world) {
		ask := w.ask()
		var asked []slipway.ModelVersion
		gone := slipway.Errorf(slipway.NotFound, "checking the way back", "the image of iris 1 is gone").WithHint("--no-way-back")
		ask.WayBack = func(_ context.Context, r slipway.Release) error {
			asked = append(asked, r.Model)
			return gone
		}
		w.promote(1)
		if o, err := w.driver().Deploy(w.Context(), ask); err != nil || o.Kind != rollout.Live {
			w.Fatal("a first release has no way back to check:", o, err)
		}
		w.promote(2)
		o, err := w.driver().Deploy(w.Context(), ask)
		if !errors.Is(err, gone) || o.Hint != "--no-way-back" {
			w.Errorf("gave %v, hint %q", err, o.Hint)
		}
		w.wantKind(o, rollout.Failed)
		w.wantServing(1)
		if diff := cmp.Diff([]slipway.ModelVersion{version(1)}, asked); diff != "" {
			w.Error(diff)
		}
		if w.applied(2) > 0 {
			w.Error("it was rolled out all the same")
		}
	})
}

func TestWhatCannotBePreparedChangesNothing(t *testing.T) {
	t.Parallel()
	no := slipway.Errorf(slipway.Invalid, "building", "the model does not load")
	for name, change := range map[string]func(*rollout.Ask, *slipway.Release){
		"resolve": func(a *rollout.Ask, _ *slipway.Release) {
			a.Resolve = func(context.Context) (slipway.ModelVersion, error) { return slipway.ModelVersion{}, no }
		},
		"prepare": func(a *rollout.Ask, _ *slipway.Release) {
			a.Prepare = func(context.Context, slipway.ModelVersion) (slipway.Release, error) { return slipway.Release{}, no }
		},
		"image":    func(_ *rollout.Ask, r *slipway.Release) { r.Image.Digest = "latest" },
		"model":    func(_ *rollout.Ask, r *slipway.Release) { r.Model = slipway.ModelVersion{} },
		"strategy": func(_ *rollout.Ask, r *slipway.Release) { r.Strategy = []slipway.Step{{Weight: 10}, {Weight: 100}} },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				before := w.record()
				ask := w.ask()
				ask.Prepare = func(ctx context.Context, v slipway.ModelVersion) (slipway.Release, error) {
					r, err := w.prepare(ctx, v)
					change(&rollout.Ask{}, &r)
					return r, err
				}
				change(&ask, &slipway.Release{})
				w.promote(2)
				o, err := w.driver().Deploy(w.Context(), ask)
				if slipway.CodeOf(err) != slipway.Invalid {
					w.Errorf("gave %v", err)
				}
				w.wantKind(o, rollout.Failed)
				if diff := cmp.Diff(before, w.record()); diff != "" {
					w.Error(diff)
				}
			})
		})
	}
}

// In steps the release is made already, and a newer promotion is another
// pipeline's.
func TestInStepsANewerPromotionSupersedes(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.promote(3)
		ask := w.ask()
		ask.Prepare = func(_ context.Context, v slipway.ModelVersion) (slipway.Release, error) {
			return slipway.Release{}, slipway.Errorf(slipway.Superseded, "rolling out", "%s is promoted now", v)
		}
		o, err := w.driver().Rollout(w.Context(), ask)
		if err != nil {
			w.Fatal(err)
		}
		w.wantKind(o, rollout.Superseded)
		w.wantServing(1)
	})
}

func TestEventsTellTheStory(t *testing.T) {
	inBubble(t, func(w *world) {
		w.deploy(1)
		w.asker.tell(image(2), answer{takes: 700 * time.Millisecond, problem: wrongAnswer.problem})
		w.events = nil
		o := w.deploy(2)
		var got []string
		for _, e := range w.events {
			if e.Kind != slipway.Observed {
				got = append(got, fmt.Sprintf("%s %s: %s%s", e.Kind, e.Step, e.Message, e.Indicator))
			}
			if e.Release != o.Release.ID || e.Environment != "production" || e.At.IsZero() {
				w.Errorf("event %+v", e)
			}
		}
		want := []string{
			"started rollout: iris 2",
			"succeeded rollout: every replica of iris 2 is ready",
			"started verify: iris 2",
			"stopped verify: golden prediction 2 differs",
			"started rollback: going back to iris 1",
			"succeeded rollback: iris 1 serves and is verified",
			"concluded record: iris 2 was rolled back, iris 1 serves and is verified: golden prediction 2 differs",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			w.Error(diff)
		}
		spans := map[string]time.Duration{}
		for _, s := range o.Release.Spans {
			spans[s.Step] = s.Duration
		}
		if len(spans) != 3 || spans["verify"] != 700*time.Millisecond || spans["rollout"] <= 0 || spans["rollback"] <= 0 {
			w.Errorf("spans %v", o.Release.Spans)
		}
	})
}
