package rollout

import (
	"context"
	"fmt"

	"github.com/slipway-dev/slipway"
)

// Verify is the step after Rollout: it takes the lock again under the fence
// the release carries, and drives the release to its end. If another run has
// ended the release meanwhile, that is the outcome; if another run has taken
// the target, it is Superseded.
func (d *Driver) Verify(ctx context.Context, release slipway.Release) (Outcome, error) {
	o, err := d.verify(ctx, release)
	return concluded(ctx, o, err)
}

func (d *Driver) verify(ctx context.Context, release slipway.Release) (Outcome, error) {
	if release.ID == "" || release.Fence == 0 {
		return Outcome{Release: release}, slipway.Errorf(slipway.Invalid, "verifying", "the release was not rolled out").
			WithHint("run `slipway rollout` first and hand its release.json on")
	}
	r, err := d.hold(ctx, release.Fence)
	if slipway.CodeOf(err) == slipway.Superseded {
		return d.fate(ctx, release)
	}
	if err != nil {
		return Outcome{Kind: Unfinished, Release: release, Hint: "slipway verify"}, err
	}
	defer r.letGo(ctx)
	if r.rec.Current == nil || r.rec.Current.ID != release.ID {
		return d.fate(ctx, release)
	}
	ended, err := r.finish(ctx, nil)
	if err != nil {
		return r.unfinished(ctx, *ended, err)
	}
	return OutcomeOf(*ended, r.rec.Live), nil
}

// fate returns what became of a release that another run took up.
func (d *Driver) fate(ctx context.Context, release slipway.Release) (Outcome, error) {
	rec, err := d.load(ctx)
	if err != nil {
		return Outcome{Kind: Unfinished, Release: release}, err
	}
	if ended := find(rec, release.ID); ended != nil {
		return endedElsewhere(*ended, rec), nil
	}
	return Outcome{
		Kind: Superseded, Release: release, Serving: rec.Live,
		Message: fmt.Sprintf("%s was superseded: another run has taken the target since it was rolled out", release.Model),
		Hint:    "slipway status " + d.config.Target,
	}, nil
}

// endedElsewhere is the outcome of a release that another run brought to its
// end.
func endedElsewhere(ended slipway.Release, rec slipway.Record) Outcome {
	o := OutcomeOf(ended, rec.Live)
	if o.Kind == Live && (rec.Live == nil || rec.Live.ID != ended.ID) {
		o.Kind, o.Message = Superseded, fmt.Sprintf("%s was verified by another run, and another release serves since", ended.Model)
	}
	return o
}
