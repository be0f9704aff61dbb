package slipwaytest

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// TargetFixture is a target that serves nothing yet and what the suite needs
// around it.
type TargetFixture struct {
	Target slipway.Target
	Other  slipway.Target // the same target as another process sees it

	// Good returns releases whose replicas become ready: another image for
	// each n, the same release for the same n.
	Good func(n int) slipway.Release

	// Bad returns a release whose replicas do not give their golden predictions.
	Bad func() slipway.Release

	// Patience bounds every wait; default 30 s.
	Patience time.Duration

	// Poll is how long a wait goes without looking; default 5 ms.
	Poll time.Duration

	// Restart kills what runs the target, as a crash of the machine would. What
	// it was told must survive.
	Restart func(t *testing.T)
}

// Target checks that the targets of the fixture keep the promises of
// slipway.Target. Each test gets a fixture of its own.
func Target(t *testing.T, fixture func(t *testing.T) TargetFixture) {
	tests := []struct {
		name string
		run  func(*testing.T, TargetFixture)
	}{
		{"ServesNothingAtFirst", servesNothing},
		{"ObserveChangesNothing", observeChangesNothing},
		{"ApplySettles", applySettles},
		{"ActIsSeenAtOnce", actIsSeen},
		{"ApplyAgainIsHarmless", applyAgain},
		{"TheSameImageUnderANewRelease", sameImage},
		{"TheNextReleaseReplacesTheOld", nextReplaces},
		{"ABadReleaseNeverServes", badNeverServes},
		{"AwayFromABadRelease", awayFromBad},
		{"ABadFirstReleaseIsRemoved", badFirst},
		{"RemoveServesNothing", removeServesNothing},
		{"OlderFencesConflict", olderFences},
		{"FencesSurviveARestart", fencesSurvive},
		{"TheReleaseSurvivesARestart", releaseSurvives},
		{"ActRefusesNonsense", refusesNonsense},
		{"AnEndedContextEndsTheCall", endedContext},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := fixture(t)
			if f.Patience == 0 {
				f.Patience = patience
			}
			if f.Poll == 0 {
				f.Poll = 5 * time.Millisecond
			}
			tt.run(t, f)
		})
	}
}

func servesNothing(t *testing.T, f TargetFixture) {
	got := observe(t, f.Target)
	want := slipway.Observation{At: got.At}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("observation of a new target (-want +got):\n%s", diff)
	}
}

func observeChangesNothing(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	want := f.settle(t, f.Target, f.Good(1))
	for _, target := range []slipway.Target{f.Target, f.Other, f.Target} {
		got := observe(t, target)
		got.At = want.At
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("observing again (-first +then):\n%s", diff)
		}
	}
}

func applySettles(t *testing.T, f TargetFixture) {
	release := f.Good(1)
	apply(t, f.Target, 1, release)
	o := f.settle(t, f.Other, release)
	if o.Want < 1 || len(o.Replicas) != o.Want || o.Release != release.ID || o.Problem != nil {
		t.Errorf("observation %+v", o)
	}
	names := map[string]bool{}
	for _, r := range o.Replicas {
		names[r.Name] = true
		if r.Name == "" || r.Release != release.ID || r.Since.IsZero() || r.Restarts != 0 || r.Problem != nil {
			t.Errorf("replica %+v", r)
		}
		if diff := cmp.Diff(release.Model, r.Model); diff != "" {
			t.Errorf("model of %s (-want +got):\n%s", r.Name, diff)
		}
	}
	if len(names) != len(o.Replicas) {
		t.Errorf("%d replicas have %d names", len(o.Replicas), len(names))
	}
}

func actIsSeen(t *testing.T, f TargetFixture) {
	for n, release := range []slipway.Release{f.Good(1), f.Good(2), f.Bad()} {
		apply(t, f.Target, uint64(n+1), release)
		if o := observe(t, f.Other); o.Desired != release.Image.Digest || o.Release != release.ID || o.Want < 1 {
			t.Errorf("after Apply of %s the target is set to %s of %s, %d replicas", release.ID, o.Desired.Short(), o.Release, o.Want)
		}
	}
}

func applyAgain(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	want := f.settle(t, f.Target, f.Good(1))
	for fence := range uint64(3) {
		apply(t, f.Other, fence+1, f.Good(1))
		got := observe(t, f.Target)
		got.At = want.At
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("after the same Apply under fence %d (-before +after):\n%s", fence+1, diff)
		}
	}
}

func sameImage(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	before := f.settle(t, f.Target, f.Good(1))
	again := f.Good(1)
	again.ID += "Z"
	apply(t, f.Target, 2, again)
	after := f.settle(t, f.Target, again)
	if after.Release != again.ID {
		t.Errorf("the target is set by %s, want %s", after.Release, again.ID)
	}
	for i, r := range after.Replicas {
		if i < len(before.Replicas) && !r.Since.Equal(before.Replicas[i].Since) {
			t.Errorf("%s was started again for the image it runs already", r.Name)
		}
	}
}

func nextReplaces(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	f.settle(t, f.Target, f.Good(1))
	apply(t, f.Target, 2, f.Good(2))
	f.watch(t, f.Target, func(o slipway.Observation) bool { return o.Settled(f.Good(2).Image.Digest) })
	apply(t, f.Target, 3, f.Good(1))
	f.watch(t, f.Target, func(o slipway.Observation) bool { return o.Settled(f.Good(1).Image.Digest) })
	o := f.watch(t, f.Target, func(o slipway.Observation) bool { return len(o.Replicas) == o.Want })
	if o.Desired != f.Good(1).Image.Digest {
		t.Errorf("set to %s", o.Desired.Short())
	}
}

func badNeverServes(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	f.settle(t, f.Target, f.Good(1))
	bad := f.Bad()
	apply(t, f.Target, 2, bad)
	o := f.watch(t, f.Target, func(o slipway.Observation) bool { return failed(o, bad) != nil })
	problem := failed(o, bad).Problem
	if problem == nil || problem.Heals || problem.Message == "" || problem.Kind != "golden-differs" {
		t.Errorf("problem of a replica whose golden predictions differ: %+v", problem)
	}
	for range 20 {
		for _, r := range observe(t, f.Target).Replicas {
			if r.Image == bad.Image.Digest && (r.Serving || r.State == slipway.Ready) {
				t.Fatalf("a replica of the bad release: %+v", r)
			}
		}
	}
}

func awayFromBad(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	before := f.settle(t, f.Target, f.Good(1))
	apply(t, f.Target, 2, f.Bad())
	f.watch(t, f.Target, func(o slipway.Observation) bool { return failed(o, f.Bad()) != nil })
	apply(t, f.Target, 2, f.Good(1))
	f.watch(t, f.Target, func(o slipway.Observation) bool { return o.Settled(f.Good(1).Image.Digest) })
	after := f.watch(t, f.Target, func(o slipway.Observation) bool { return len(o.Replicas) == o.Want })
	before.At = after.At
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("the old replicas never had to stop (-before +after):\n%s", diff)
	}
	// The same image asked for by another release is tried again.
	retry := f.Bad()
	retry.ID += "Z"
	apply(t, f.Target, 3, retry)
	f.watch(t, f.Target, func(o slipway.Observation) bool { return failed(o, retry) != nil })
}

func badFirst(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Bad())
	f.watch(t, f.Target, func(o slipway.Observation) bool { return failed(o, f.Bad()) != nil })
	remove(t, f.Target, 1)
	f.watch(t, f.Target, empty)
}

func removeServesNothing(t *testing.T, f TargetFixture) {
	remove(t, f.Target, 1)
	apply(t, f.Target, 2, f.Good(1))
	f.settle(t, f.Target, f.Good(1))
	remove(t, f.Target, 3)
	if o := observe(t, f.Target); o.Desired != "" || o.Release != "" || o.Want != 0 {
		t.Errorf("after Remove the target is set to %s of %s, %d replicas", o.Desired, o.Release, o.Want)
	}
	remove(t, f.Other, 3)
	f.watch(t, f.Target, empty)
	apply(t, f.Other, 4, f.Good(2))
	f.settle(t, f.Target, f.Good(2))
}

func olderFences(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 5, f.Good(1))
	f.settle(t, f.Target, f.Good(1))
	for _, a := range []slipway.Action{
		{Kind: slipway.Apply, Fence: 4, Release: f.Good(2)},
		{Kind: slipway.Apply, Fence: 4, Release: f.Good(1)},
		{Kind: slipway.Apply, Release: f.Good(1)},
		{Kind: slipway.Remove, Fence: 4},
	} {
		wantCode(t, "an action under an older fence", f.Other.Act(t.Context(), a), slipway.Conflict)
	}
	if o := observe(t, f.Target); !o.Settled(f.Good(1).Image.Digest) {
		t.Errorf("an action under an older fence changed something: %+v", o)
	}
}

func fencesSurvive(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 5, f.Good(1))
	f.Restart(t)
	stale := slipway.Action{Kind: slipway.Apply, Fence: 4, Release: f.Good(2)}
	wantCode(t, "an older fence after a restart", f.Target.Act(t.Context(), stale), slipway.Conflict)
	remove(t, f.Target, 6)
	f.watch(t, f.Target, empty)
	f.Restart(t)
	stale.Fence = 5
	wantCode(t, "an older fence after a removal and a restart", f.Target.Act(t.Context(), stale), slipway.Conflict)
}

func releaseSurvives(t *testing.T, f TargetFixture) {
	apply(t, f.Target, 1, f.Good(1))
	f.settle(t, f.Target, f.Good(1))
	f.Restart(t)
	f.settle(t, f.Target, f.Good(1))
	apply(t, f.Target, 2, f.Good(2))
	f.Restart(t)
	f.settle(t, f.Other, f.Good(2))
}

func refusesNonsense(t *testing.T, f TargetFixture) {
	nameless := f.Good(1)
	nameless.Image.Digest = ""
	crooked := f.Good(1)
	crooked.Image.Digest = "sha256:../../etc"
	for what, a := range map[string]slipway.Action{
		"Wait":                  {Kind: slipway.Wait, Fence: 1, Release: f.Good(1)},
		"Verify":                {Kind: slipway.Verify, Fence: 1, Release: f.Good(1)},
		"Finish":                {Kind: slipway.Finish, Fence: 1, Release: f.Good(1)},
		"no kind":               {Fence: 1, Release: f.Good(1)},
		"no digest":             {Kind: slipway.Apply, Fence: 1, Release: nameless},
		"a digest that is none": {Kind: slipway.Apply, Fence: 1, Release: crooked},
	} {
		wantCode(t, what, f.Target.Act(t.Context(), a), slipway.Invalid)
	}
	if o := observe(t, f.Target); o.Desired != "" || len(o.Replicas) > 0 {
		t.Errorf("a refused action changed something: %+v", o)
	}
}

func endedContext(t *testing.T, f TargetFixture) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := f.Target.Observe(ctx); err == nil {
		t.Error("Observe with an ended context gave no error")
	}
	if err := f.Target.Act(ctx, slipway.Action{Kind: slipway.Apply, Fence: 1, Release: f.Good(1)}); err == nil {
		t.Error("Act with an ended context gave no error")
	}
	if o := observe(t, f.Target); o.Desired != "" {
		t.Errorf("Act with an ended context set the target to %s", o.Desired.Short())
	}
}

func observe(t *testing.T, target slipway.Target) slipway.Observation {
	t.Helper()
	o, err := target.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func apply(t *testing.T, target slipway.Target, fence uint64, r slipway.Release) {
	t.Helper()
	if err := target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: fence, Release: r}); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, target slipway.Target, fence uint64) {
	t.Helper()
	if err := target.Act(t.Context(), slipway.Action{Kind: slipway.Remove, Fence: fence}); err != nil {
		t.Fatal(err)
	}
}

// settle waits until the release alone serves and the replicas before it are gone.
func (f TargetFixture) settle(t *testing.T, target slipway.Target, r slipway.Release) slipway.Observation {
	t.Helper()
	return f.await(t, target, func(o slipway.Observation) bool {
		return o.Settled(r.Image.Digest) && len(o.Replicas) == o.Want
	}, func(slipway.Observation) {})
}

// watch is await for a target that serves already or never did: what serves
// is ready, and once something serves, something always does.
//
// A replica that drains may serve: a cluster tells it to end and those who
// send requests at the same time. One that starts may be seen to serve once:
// what a cluster shows is put together from several answers.
func (f TargetFixture) watch(t *testing.T, target slipway.Target, done func(slipway.Observation) bool) slipway.Observation {
	t.Helper()
	served := false
	early := map[string]bool{}
	return f.await(t, target, done, func(o slipway.Observation) {
		serving := 0
		for _, r := range o.Replicas {
			if r.Serving {
				serving++
			}
			unfit := r.Serving && r.State != slipway.Ready && r.State != slipway.Draining
			if unfit && (early[r.Name] || r.State == slipway.Failed) {
				t.Errorf("%s receives requests and is %s", r.Name, r.State)
			}
			early[r.Name] = unfit
		}
		if served && serving == 0 && o.Desired != "" {
			t.Errorf("nothing serves while the target changes: %+v", o)
		}
		served = served || serving > 0
	})
}

func (f TargetFixture) await(t *testing.T, target slipway.Target, done func(slipway.Observation) bool, each func(slipway.Observation)) slipway.Observation {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), f.Patience)
	defer cancel()
	tick := time.NewTicker(f.Poll)
	defer tick.Stop()
	for {
		o := observe(t, target)
		each(o)
		if done(o) {
			return o
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not there after %s: %+v", f.Patience, o)
		}
	}
}

func failed(o slipway.Observation, release slipway.Release) *slipway.Replica {
	for i, r := range o.Replicas {
		if r.Image == release.Image.Digest && r.State == slipway.Failed {
			return &o.Replicas[i]
		}
	}
	return nil
}

func empty(o slipway.Observation) bool { return o.Desired == "" && len(o.Replicas) == 0 }
