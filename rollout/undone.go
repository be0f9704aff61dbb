package rollout

import (
	"context"
	"fmt"

	"github.com/slipway-dev/slipway"
)

// undoneReason is why a version that somebody took back by hand is quarantined.
const undoneReason = "undone by hand outside of slipway (kubectl rollout undo)"

// undoneTo returns the verified release that somebody set the target back to
// while nothing was on its way; nil: nobody did.
func undoneTo(rec slipway.Record, o slipway.Observation) *slipway.Release {
	if rec.Current != nil || rec.Live == nil || o.Desired == "" || serves(o, *rec.Live) {
		return nil
	}
	for i := len(rec.History) - 1; i >= 0; i-- {
		r := &rec.History[i]
		wasVerified := r.Phase == slipway.Verified || r.Phase == slipway.Undone
		if wasVerified && r.ID != rec.Live.ID && serves(o, *r) {
			return r
		}
	}
	return nil
}

// isUndone looks whether somebody set the target back by hand. What cannot be
// seen now is looked at again under the lock.
func (d *Driver) isUndone(ctx context.Context, rec slipway.Record) bool {
	if rec.Current != nil || rec.Live == nil {
		return false
	}
	o, err := d.observe(ctx)
	return err == nil && undoneTo(rec, o) != nil
}

// answerUndone answers once what was done by hand is in the record.
func (d *Driver) answerUndone(ctx context.Context, ask Ask, version slipway.ModelVersion) (Outcome, bool, error) {
	r, err := d.hold(ctx, 0)
	if err != nil {
		return Outcome{}, false, err
	}
	defer r.letGo(ctx)
	if undone, err := r.adopt(ctx); err != nil {
		o, err := r.leftBehind(ctx, *undone, err)
		return o, false, err
	}
	if r.rec.Current != nil {
		return Outcome{}, false, nil
	}
	o, answered, err := r.answer(ctx, ask, r.rec, version)
	if answered {
		r.liftQuarantine(ctx, ask, version)
	}
	return o, answered, err
}

// adopt makes what somebody set the target back to by hand a release like
// every other: it is verified, and what was taken back is undone and
// quarantined. It does not go back to that if the verification fails. nil:
// there is nothing to adopt.
func (r *run) adopt(ctx context.Context) (*slipway.Release, error) {
	if r.rec.Current != nil || r.rec.Live == nil {
		return nil, nil
	}
	o, err := r.observe(ctx)
	if err != nil {
		return &slipway.Release{}, err
	}
	goal := undoneTo(r.rec, o)
	if goal == nil {
		return nil, nil
	}
	live := *r.rec.Live
	r.tell(live, slipway.Event{Kind: slipway.Warning, Step: stepRollout, Message: fmt.Sprintf(
		"%s was %s: the target is set to %s, and stays so once that is verified", live.Model, undoneReason, goal.Model)})
	replaces := *goal
	replaces.Phase = slipway.Verified
	outcome, err := r.rollOut(ctx, Ask{}, again(*goal, live, Return{Actor: "somebody, by hand", Reason: undoneReason}), &replaces)
	return &outcome.Release, err
}
