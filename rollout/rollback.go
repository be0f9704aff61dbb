package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
)

// Return is where to go back to by hand. Its zero value goes back to the last
// verified release before the live one.
type Return struct {
	Version slipway.Version // the newest release of this version that was verified; empty: the last one before
	Actor   string          // who does it
	RunURL  string
	Reason  string // why; default "rolled back by hand"

	// WholeTemplate also takes back what others changed on the target since.
	WholeTemplate bool

	// WayBack returns an error if the release's image cannot be pulled any
	// more. nil: not checked.
	WayBack func(context.Context, slipway.Release) error
}

// Rollback goes back by hand: it rolls out what was verified before, verifies
// it again, and then marks what was live as undone and quarantines it. If that
// fails it returns to what was live. A release that is on its way, left by a
// dead run or waiting for its verification, is what is taken back.
//
// A held target may be rolled back.
func (d *Driver) Rollback(ctx context.Context, to Return) (Outcome, error) {
	if to.Reason == "" {
		to.Reason = "rolled back by hand"
	}
	o, err := d.rollback(ctx, to)
	return concluded(ctx, o, err)
}

func (d *Driver) rollback(ctx context.Context, to Return) (Outcome, error) {
	r, err := d.hold(ctx, 0)
	if err != nil {
		return Outcome{}, err
	}
	defer r.letGo(ctx)
	recovered, err := r.finish(ctx, &slipway.Problem{Kind: KindByHand, Message: to.Reason})
	if err != nil {
		return r.leftBehind(ctx, *recovered, err)
	}
	if recovered != nil && settles(*recovered, to, r.rec.Live) {
		o := OutcomeOf(*recovered, r.rec.Live)
		o.Recovered = recovered
		return o, nil
	}
	undone, err := r.adopt(ctx)
	if err != nil {
		return r.leftBehind(ctx, *undone, err)
	}
	live := r.rec.Live
	if undone != nil && (to.Version == "" || live.Model.Version == to.Version) {
		o := OutcomeOf(*undone, live)
		o.Message = undoneReason + " already: " + o.Message
		return o, nil
	}
	goal := before(r.rec, to.Version)
	if live == nil || goal == nil {
		return Outcome{Serving: live, Recovered: recovered}, d.nowhere(live, to)
	}
	if to.WayBack != nil {
		if err := to.WayBack(ctx, *goal); err != nil {
			return Outcome{Serving: live, Recovered: recovered}, err
		}
	}
	o, err := r.rollOut(ctx, Ask{}, again(*goal, *live, to), live)
	o.Recovered = recovered
	return o, err
}

// settles reports whether taking back what was on its way was the rollback.
func settles(ended slipway.Release, to Return, live *slipway.Release) bool {
	switch ended.Phase {
	case slipway.RolledBack:
		return to.Version == "" || live != nil && live.Model.Version == to.Version
	case slipway.Removed, slipway.Broken:
		return true
	}
	return false
}

func (d *Driver) nowhere(live *slipway.Release, to Return) error {
	const op = "rolling back"
	see := "slipway history " + d.config.Target
	switch {
	case live == nil:
		return slipway.Errorf(slipway.NotFound, op, "nothing verified serves on the target").WithHint("%s", see)
	case to.Version != "" && live.Model.Version == to.Version:
		return slipway.Errorf(slipway.Conflict, op, "%s is what serves", live.Model).WithHint("%s", see)
	case to.Version != "":
		return slipway.Errorf(slipway.NotFound, op, "version %s was never verified on the target, as far as its history goes back", to.Version).WithHint("%s", see)
	}
	return slipway.Errorf(slipway.NotFound, op, "no other release was verified before %s, as far as the history goes back", live.Model).
		WithHint("deploy the version to go back to: slipway deploy models:/%s/VERSION", live.Model.Name)
}

// again returns a new release that serves what an old one served.
func again(old, live slipway.Release, to Return) slipway.Release {
	r := old
	r.ID, r.Undoes = "", live.ID
	r.Asked = fmt.Sprintf("rollback to %s", old.Model)
	r.Actor, r.RunURL, r.Reason = to.Actor, to.RunURL, to.Reason
	r.Created, r.Spans = time.Time{}, nil
	r.WholeTemplate = to.WholeTemplate
	return r
}
