package rollout

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
)

// answerQuickly answers without the lock where nothing is to be done. While a
// release is on its way, or a quarantine is to be lifted, it does not.
func (d *Driver) answerQuickly(ctx context.Context, ask Ask, version slipway.ModelVersion) (Outcome, bool, error) {
	rec, err := d.load(ctx)
	if err != nil {
		return Outcome{}, false, err
	}
	switch {
	case rec.Hold != nil:
		return d.holds(ctx, rec)
	case rec.Current != nil:
		return Outcome{}, false, nil
	}
	o, answered, err := d.answer(ctx, ask, rec, version)
	if err == nil && !answered && d.isUndone(ctx, rec) {
		return d.answerUndone(ctx, ask, version)
	}
	if err != nil || !answered || len(ask.lift(rec.Quarantine, version)) == len(rec.Quarantine) {
		return o, answered, err
	}
	r, err := d.hold(ctx, 0)
	if err != nil {
		return Outcome{}, false, err
	}
	defer r.letGo(ctx)
	r.liftQuarantine(ctx, ask, version)
	return o, true, nil
}

// answer tells whether the version need not, or must not, be deployed.
func (d *Driver) answer(ctx context.Context, ask Ask, rec slipway.Record, version slipway.ModelVersion) (Outcome, bool, error) {
	if rec.Hold != nil {
		return d.held(rec), true, nil
	}
	if q := rec.Quarantined(version); q != nil && !ask.Retry {
		return d.quarantined(ctx, rec, *q), true, nil
	}
	if rec.Live == nil || !same(rec.Live.Model, version) || ask.Same != nil && !ask.Same(*rec.Live) {
		return Outcome{}, false, nil
	}
	yes, err := d.reallyServes(ctx, *rec.Live)
	if err != nil || !yes {
		return Outcome{}, false, err
	}
	return Outcome{
		Kind: Nothing, Release: *rec.Live, Serving: rec.Live,
		Message: fmt.Sprintf("nothing to do: %s serves and is verified since %s", version, rec.Live.Ended.UTC().Format(time.RFC3339)),
	}, true, nil
}

// holds answers for a held target, once what a dead run left there is in order.
func (d *Driver) holds(ctx context.Context, rec slipway.Record) (Outcome, bool, error) {
	o := d.held(rec)
	if _, ok := d.atRest(rec); ok {
		return o, true, nil
	}
	tidied, err := d.recover(ctx)
	if err != nil {
		return tidied, false, err
	}
	o.Recovered, o.Serving = tidied.Recovered, tidied.Serving
	return o, true, nil
}

func (d *Driver) held(rec slipway.Record) Outcome {
	message := "the target is held by " + rec.Hold.By
	if rec.Hold.Reason != "" {
		message += ": " + rec.Hold.Reason
	}
	return Outcome{Kind: Held, Serving: rec.Live, Message: message, Hint: "slipway resume " + d.config.Target}
}

// quarantined answers for a quarantined version. Where its way back failed, a
// person is needed for as long as the target does not serve what it should:
// the next poll must not hide that.
func (d *Driver) quarantined(ctx context.Context, rec slipway.Record, q slipway.Quarantine) Outcome {
	o := Outcome{
		Kind: Quarantined, Serving: rec.Live, Hint: "promote another version, or deploy it again with --retry",
		Message: fmt.Sprintf("%s is quarantined since %s: %s", q.Model, q.At.UTC().Format(time.RFC3339), q.Reason),
	}
	r := find(rec, q.Release)
	if r == nil {
		return o
	}
	if r.Phase == slipway.Broken && !d.isMended(ctx, rec.Live) {
		return OutcomeOf(*r, rec.Live)
	}
	o.Release = *r
	return o
}

// isMended reports whether the target serves the release again, and right.
func (d *Driver) isMended(ctx context.Context, live *slipway.Release) bool {
	if live == nil {
		return false
	}
	o, err := d.observe(ctx)
	if err != nil || !settled(o, *live) {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, d.config.Limits.Verify)
	defer cancel()
	return d.verifier.Verify(ctx, o, *live).Passed
}

// reallyServes looks whether the target still serves what the record says. A
// replica more or less does not matter; one that is being started again is
// waited for.
func (d *Driver) reallyServes(ctx context.Context, live slipway.Release) (bool, error) {
	until := time.Now().Add(d.config.Limits.Pending)
	for pause := d.config.PollFirst; ; pause = min(2*pause, d.config.PollMost) {
		o, err := d.observe(ctx)
		if err != nil || !serves(o, live) {
			return false, err
		}
		if answers(o, live) {
			return true, nil
		}
		if time.Now().Add(pause).After(until) {
			return false, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// answers reports whether a replica of the release is ready and none of
// another release receives requests.
func answers(o slipway.Observation, live slipway.Release) bool {
	ready := false
	for _, r := range o.Replicas {
		switch {
		case r.Serving && !belongs(r, live):
			return false
		case r.Serving && r.State == slipway.Ready:
			ready = true
		}
	}
	return ready
}

// lift ends the quarantine of every other version if this one is promoted:
// each lasts until another version is. A version that was only named does not
// end any: the promotion still points at the one that must not come back by
// itself.
func (a Ask) lift(list []slipway.Quarantine, version slipway.ModelVersion) []slipway.Quarantine {
	if !a.Promoted {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), func(q slipway.Quarantine) bool { return !sameVersion(q.Model, version) })
}

// liftQuarantine notes what the promotion lifts where nothing is rolled out. If
// that fails, the next poll does it.
func (r *run) liftQuarantine(ctx context.Context, ask Ask, version slipway.ModelVersion) {
	rec := r.rec
	rec.Quarantine = ask.lift(rec.Quarantine, version)
	if len(rec.Quarantine) == len(r.rec.Quarantine) {
		return
	}
	if err := r.store(ctx, rec, time.Time{}); err != nil {
		r.tell(slipway.Release{}, slipway.Event{Kind: slipway.Warning, Step: stepRecord, Message: "ending a quarantine: " + err.Error()})
	}
}
