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
	if o, ok := d.atRest(rec); ok {
		return o, nil
	}
	r, err := d.hold(ctx, 0)
	if err != nil {
		return Outcome{Kind: Unfinished, Release: *rec.Current, Hint: "slipway recover " + d.config.Target}, err
	}
	defer r.letGo(ctx)
	if r.rec.Current == nil {
		return Outcome{Kind: Nothing, Serving: r.rec.Live, Message: "nothing to recover: another run ended what was on its way"}, nil
	}
	ended, err := r.finish(ctx, nil)
	if err != nil {
		return r.unfinished(ctx, *ended, err)
	}
	o := outcomeOf(*ended, r.rec.Live)
	o.Recovered = ended
	return o, nil
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
