package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
)

// Recover finishes or undoes what a dead run left. With nothing left it does
// nothing. A release that waits for its verification is left to it until its
// deadline. A run that is alive is waited for.
func (d *Driver) Recover(ctx context.Context) (Outcome, error) {
	o, err := d.recover(ctx)
	return concluded(ctx, o, err)
}

func (d *Driver) recover(ctx context.Context) (Outcome, error) {
	rec, err := d.load(ctx)
	if err != nil {
		return Outcome{}, err
	}
	if o, ok := d.atRest(rec); ok && !d.isUndone(ctx, rec) {
		return o, nil
	}
	r, err := d.hold(ctx, 0)
	if err != nil {
		return d.notTaken(rec), err
	}
	defer r.letGo(ctx)
	if undone, err := r.adopt(ctx); err != nil {
		return r.unfinished(ctx, *undone, err)
	} else if undone != nil {
		return OutcomeOf(*undone, r.rec.Live), nil
	}
	if r.rec.Current == nil {
		return Outcome{Kind: Nothing, Serving: r.rec.Live, Message: "nothing to recover: another run ended what was on its way"}, nil
	}
	ended, err := r.finish(ctx, nil)
	if err != nil {
		return r.unfinished(ctx, *ended, err)
	}
	o := OutcomeOf(*ended, r.rec.Live)
	o.Recovered = ended
	return o, nil
}

// notTaken is the outcome where the lock could not be had.
func (d *Driver) notTaken(rec slipway.Record) Outcome {
	if rec.Current == nil {
		return Outcome{Serving: rec.Live}
	}
	return Outcome{Kind: Unfinished, Release: *rec.Current, Hint: "slipway recover " + d.config.Target}
}

// atRest tells whether there is nothing to recover, or not yet.
func (d *Driver) atRest(rec slipway.Record) (Outcome, bool) {
	c := rec.Current
	switch {
	case c == nil:
		return Outcome{Kind: Nothing, Serving: rec.Live, Message: "nothing to recover"}, true
	case c.Phase == slipway.Unverified && time.Now().Before(c.Deadline):
		return Outcome{
			Kind: Unverified, Release: *c, Serving: rec.Live, Hint: "slipway verify",
			Message: fmt.Sprintf("%s waits to be verified until %s", c.Model, c.Deadline.UTC().Format(time.RFC3339)),
		}, true
	}
	return Outcome{}, false
}

// finish drives to its end what is on its way to the target, under this run's
// fence and with the time its phase has from now on; nil: nothing was. A
// problem stops it.
func (r *run) finish(ctx context.Context, stop *slipway.Problem) (*slipway.Release, error) {
	if r.rec.Current == nil {
		return nil, nil
	}
	release := *r.rec.Current
	release.Fence = r.lock.Fence()
	if !release.Phase.Ended() {
		release.Deadline = time.Now().UTC().Add(r.config.Limits.of(release.Phase, release, r.glance(ctx, release.Phase)))
	}
	rec := r.rec
	rec.Current = &release
	if err := r.store(ctx, rec, release.Deadline); err != nil {
		return &release, err
	}
	r.tellTakenUp(release)
	r.stop = stop
	ended, err := r.drive(ctx)
	r.stop = nil
	return &ended, err
}

// glance looks once at a target on which replicas start: how long they may
// take is what it says. nil: it does not matter, or nobody knows.
func (r *run) glance(ctx context.Context, p slipway.Phase) *slipway.Observation {
	if p != slipway.RollingOut && p != slipway.RollingBack {
		return nil
	}
	call, cancel := r.bounded(ctx, true, r.config.Limits.Call)
	defer cancel()
	o, err := r.target.Observe(call)
	if err != nil {
		return nil
	}
	return &o
}

// unfinished returns the outcome of a release this run could not bring to its
// end, by what became of it since.
func (r *run) unfinished(ctx context.Context, release slipway.Release, cause error) (Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.config.Limits.Stop)
	defer cancel()
	rec, err := r.journal.Load(ctx)
	if err == nil {
		if ended := find(rec, release.ID); ended != nil {
			return endedElsewhere(*ended, rec), nil
		}
		if rec.Current == nil || rec.Current.ID != release.ID {
			return Outcome{Kind: Failed, Release: release, Serving: rec.Live}, cause
		}
		release = *rec.Current
	}
	resume := "slipway recover " + r.config.Target
	o := Outcome{Kind: Unfinished, Release: release, Serving: release.Previous, Hint: resume}
	if release.Fence > r.lock.Fence() {
		o.Message = fmt.Sprintf("another run holds the target now and goes on with %s", release.Model)
	} else {
		o.Message = fmt.Sprintf("%s is %s and stays so in the journal; `%s` goes on from there", release.Model, release.Phase, resume)
	}
	return o, &slipway.Error{Op: "rolling out " + release.Model.String(), Code: slipway.CodeOf(cause), Message: o.Message, Hint: resume, Err: cause}
}

// leftBehind is unfinished for what an earlier run had left: its end is not
// that of this operation, which has not begun.
func (r *run) leftBehind(ctx context.Context, release slipway.Release, cause error) (Outcome, error) {
	o, err := r.unfinished(ctx, release, cause)
	if err != nil {
		return o, err
	}
	return Outcome{Kind: Failed, Serving: o.Serving, Recovered: &o.Release, Message: "not begun: " + cause.Error(), Hint: "run it again"}, cause
}
