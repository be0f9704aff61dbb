package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
)

// Hold freezes the target: from now on releases answer Held, until Resume. A
// release that is on its way ends first.
func (d *Driver) Hold(ctx context.Context, by, reason string) (Outcome, error) {
	o, err := d.setHold(ctx, &slipway.Hold{By: by, Reason: reason, At: time.Now().UTC()})
	return concluded(ctx, o, err)
}

// Resume ends a hold.
func (d *Driver) Resume(ctx context.Context) (Outcome, error) {
	o, err := d.setHold(ctx, nil)
	return concluded(ctx, o, err)
}

func (d *Driver) setHold(ctx context.Context, hold *slipway.Hold) (Outcome, error) {
	r, err := d.holdKindly(ctx)
	if err != nil {
		return Outcome{}, err
	}
	defer r.letGo(ctx)
	if hold == nil && r.rec.Hold == nil {
		return Outcome{Kind: Nothing, Serving: r.rec.Live, Message: "nothing to do: the target is not held"}, nil
	}
	was := r.rec.Hold
	rec := r.rec
	rec.Hold = hold
	if err := r.store(ctx, rec, time.Time{}); err != nil {
		return Outcome{Serving: r.rec.Live}, err
	}
	if hold == nil {
		return Outcome{Kind: Resumed, Serving: r.rec.Live, Message: fmt.Sprintf("the target is free again; %s had held it", was.By)}, nil
	}
	return d.held(r.rec), nil
}

// holdKindly takes the lock so that a release that waits for its verification
// stays its run's: under that release's fence.
func (d *Driver) holdKindly(ctx context.Context) (*run, error) {
	rec, err := d.load(ctx)
	if err != nil {
		return nil, err
	}
	if rec.Current == nil {
		return d.hold(ctx, 0)
	}
	r, err := d.hold(ctx, rec.Current.Fence)
	if slipway.CodeOf(err) == slipway.Superseded {
		return d.hold(ctx, 0)
	}
	return r, err
}
