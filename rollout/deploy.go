package rollout

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
)

// Ask is what to deploy. Resolve and Prepare are required.
type Ask struct {
	// Resolve returns the version that is promoted now. It is called again by
	// whoever got the target's lock, so that the newest promotion wins.
	Resolve func(context.Context) (slipway.ModelVersion, error)

	// Prepare makes the release of the version: validated, built and pushed.
	// It is called without the lock, and again if another version was promoted
	// meanwhile. In steps, where the release is made already and another
	// cannot be, it returns that release with an error whose code is
	// Superseded, and so it ends.
	Prepare func(context.Context, slipway.ModelVersion) (slipway.Release, error)

	// WayBack returns an error if one could not go back to the release: its
	// image cannot be pulled any more. nil: the way back is not checked.
	WayBack func(context.Context, slipway.Release) error

	// Same reports whether the live release of the promoted version is what
	// Prepare would make, as far as settings go. nil: it is.
	Same func(live slipway.Release) bool

	Promoted bool // an alias or a stage points at the version: that ends the quarantine of all others
	Retry    bool // deploy a quarantined version all the same
}

// mostMoves is how often one Deploy follows a promotion that moves on.
const mostMoves = 8

// Deploy brings the promoted version to the target: to verified, or back.
//
// It answers quickly where nothing is to be done. The error is nil when the
// release has ended, however it ended; Outcome.Kind says how.
func (d *Driver) Deploy(ctx context.Context, ask Ask) (Outcome, error) {
	o, err := d.deploy(ctx, ask, false)
	return concluded(ctx, o, err)
}

// Rollout is Deploy without verifying: it ends Unverified, with the lock let
// go and its fence in the release. Verify goes on from there; if it does not
// come until the release's deadline, the next operation on the target does.
func (d *Driver) Rollout(ctx context.Context, ask Ask) (Outcome, error) {
	o, err := d.deploy(ctx, ask, true)
	return concluded(ctx, o, err)
}

// concluded fills in what the outcome of an operation that gave an error leaves open.
func concluded(ctx context.Context, o Outcome, err error) (Outcome, error) {
	if err == nil {
		return o, nil
	}
	if o.Kind == "" {
		o.Kind = Failed
	}
	if o.Message == "" {
		o.Message = err.Error()
	}
	if o.Hint == "" {
		o.Hint = slipway.HintOf(err)
	}
	o.Interrupted = o.Interrupted || ctx.Err() != nil
	return o, err
}

func (d *Driver) deploy(ctx context.Context, ask Ask, inSteps bool) (Outcome, error) {
	version, err := ask.Resolve(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if o, answered, err := d.answerQuickly(ctx, ask, version); answered || err != nil {
		return o, err
	}
	var overtaken []slipway.Release
	for range mostMoves {
		release, err := ask.Prepare(ctx, version)
		if slipway.CodeOf(err) == slipway.Superseded {
			return superseded(release, overtaken, err), nil
		}
		if err != nil {
			return Outcome{Overtaken: overtaken}, err
		}
		if err := usable(release); err != nil {
			return Outcome{Release: release, Overtaken: overtaken}, err
		}
		o, newer, err := d.attempt(ctx, ask, release, inSteps)
		if newer == nil {
			o.Overtaken = append(overtaken, o.Overtaken...)
			return o, err
		}
		overtaken, version = append(overtaken, o.Overtaken...), *newer
	}
	err = slipway.Errorf(slipway.Unavailable, "deploying", "another version was promoted %d times while this one was made", mostMoves).
		WithHint("deploy again once the promotion stays")
	return Outcome{Overtaken: overtaken}, err
}

func superseded(release slipway.Release, overtaken []slipway.Release, err error) Outcome {
	o := Outcome{Kind: Superseded, Release: release, Overtaken: overtaken, Message: err.Error(), Hint: slipway.HintOf(err)}
	if n := len(overtaken); n > 0 {
		o.Release = overtaken[n-1]
	}
	return o
}

// usable refuses what no target could serve.
func usable(r slipway.Release) error {
	const op = "checking the release"
	if _, err := slipway.ParseDigest(string(r.Image.Digest)); err != nil {
		return err
	}
	if r.Model.Name == "" || r.Model.Version == "" {
		return slipway.Errorf(slipway.Invalid, op, "it names no model version")
	}
	if len(r.Strategy) > 1 || len(r.Strategy) == 1 && r.Strategy[0].Weight != 100 {
		return slipway.Errorf(slipway.Invalid, op, "this slipway knows one strategy, a step of 100 %%; the release has %d steps", len(r.Strategy))
	}
	return nil
}

// attempt takes the lock, puts in order what an earlier run left, and rolls the
// release out if it still is what is promoted; if not, it returns the version
// that is.
func (d *Driver) attempt(ctx context.Context, ask Ask, release slipway.Release, inSteps bool) (Outcome, *slipway.ModelVersion, error) {
	r, err := d.hold(ctx, 0)
	if err != nil {
		return Outcome{Release: release}, nil, err
	}
	defer r.letGo(ctx)
	recovered, err := r.finish(ctx, nil)
	if err != nil {
		o, err := r.leftBehind(ctx, *recovered, err)
		return o, nil, err
	}
	if undone, err := r.adopt(ctx); err != nil {
		o, err := r.leftBehind(ctx, *undone, err)
		return o, nil, err
	}
	r.inSteps = inSteps
	o, newer, err := r.proceed(ctx, ask, release)
	o.Recovered = recovered
	return o, newer, err
}

// proceed looks again at what is promoted, now that the lock is ours.
func (r *run) proceed(ctx context.Context, ask Ask, release slipway.Release) (Outcome, *slipway.ModelVersion, error) {
	newest, err := ask.Resolve(ctx)
	if err != nil {
		return Outcome{Release: release}, nil, err
	}
	o, answered, err := r.answer(ctx, ask, r.rec, newest)
	switch {
	case err != nil || o.Kind == Held:
		return o, nil, err
	case !same(newest, release.Model):
		late, err := r.overtake(ctx, release)
		o.Overtaken = []slipway.Release{late}
		if err == nil && !answered {
			return o, &newest, nil
		}
		return o, nil, err
	case answered:
		r.liftQuarantine(ctx, ask, newest)
		return o, nil, nil
	}
	o, err = r.rollOut(ctx, ask, release, r.rec.Live)
	return o, nil, err
}

// overtake notes that the release was prepared in vain.
func (r *run) overtake(ctx context.Context, release slipway.Release) (slipway.Release, error) {
	release, err := r.stamp(release)
	if err != nil {
		return release, err
	}
	r.rec.Current = &release
	s := Seen{Now: time.Now().UTC(), Newer: true}
	d := Next(release, s, r.config.Limits)
	late := advance(release, d, s)
	return late, r.enter(ctx, d, s)
}

// rollOut journals the release and drives it to its end. What it replaces is
// what a failure goes back to; nil: nothing.
func (r *run) rollOut(ctx context.Context, ask Ask, release slipway.Release, replaces *slipway.Release) (Outcome, error) {
	release.Previous = nil
	if replaces != nil {
		release.Previous = replaces.Bare()
	}
	if release.Previous != nil && ask.WayBack != nil {
		if err := ask.WayBack(ctx, *release.Previous); err != nil {
			return Outcome{Release: release, Serving: r.rec.Live}, err
		}
	}
	o, err := r.observe(ctx)
	if err != nil {
		return Outcome{Release: release, Serving: r.rec.Live}, err
	}
	release.Found = ""
	if o.Desired != "" && (release.Previous == nil || !serves(o, *release.Previous)) {
		release.Found = o.Desired
		r.tell(release, slipway.Event{Kind: slipway.Warning, Step: stepRollout, Message: drifted(release, o)})
	}
	if release, err = r.stamp(release); err != nil {
		return Outcome{Release: release, Serving: r.rec.Live}, err
	}
	rec := r.rec
	rec.Current = &release
	rec.Quarantine = ask.lift(rec.Quarantine, release.Model)
	if err := r.store(ctx, rec, release.Deadline); err != nil {
		return r.unfinished(ctx, release, err)
	}
	r.tell(release, slipway.Event{Kind: slipway.Started, Step: stepRollout, Message: starting(release)})
	ended, err := r.drive(ctx)
	if err != nil {
		return r.unfinished(ctx, ended, err)
	}
	return OutcomeOf(ended, r.rec.Live), nil
}

func drifted(release slipway.Release, o slipway.Observation) string {
	if release.Previous == nil {
		return fmt.Sprintf("the target is set to %s, which no release put there; %s replaces it", o.Desired.Short(), release.Model)
	}
	return fmt.Sprintf("the target is set to %s, not to %s, the last verified release; %s replaces it", o.Desired.Short(), release.Previous.Model, release.Model)
}

// stamp makes the release one of this run's: pending, under its lock.
func (r *run) stamp(release slipway.Release) (slipway.Release, error) {
	now := time.Now().UTC()
	if release.ID == "" || find(r.rec, release.ID) != nil {
		id, err := slipway.NewReleaseID(now, rand.Reader)
		if err != nil {
			return release, &slipway.Error{Op: "rolling out", Code: slipway.Internal, Err: err}
		}
		release.ID = id
	}
	if release.Created.IsZero() {
		release.Created = now
	}
	if len(release.Strategy) == 0 {
		release.Strategy = slipway.Rolling()
	}
	if release.Environment == "" {
		release.Environment = r.config.Environment
	}
	release.SchemaVersion = slipway.RecordSchema
	release.Fence = r.lock.Fence()
	release.Phase, release.Ended = slipway.Pending, time.Time{}
	release.Failure, release.BackFailure, release.Verdict = nil, nil, nil
	release.Deadline = now.Add(r.config.Limits.of(slipway.Pending, release, nil))
	release.Spans = nextSpans(release.Spans, "", stepRollout, now)
	return release, nil
}
