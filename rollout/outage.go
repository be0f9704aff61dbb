package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-dev/slipway"
)

// silence is how long something may be out of reach before it is worth a line.
const silence = time.Second

// What may be out of reach, in the words of events.
const (
	theTarget  = "the target"
	theJournal = "the target's journal"
	theLock    = "the target's lock"
)

// outage counts the time in which the target cannot be asked.
type outage struct {
	since  time.Time     // when the present one began; zero: there is none
	before time.Duration // of those before, in the present phase
	stored time.Duration // how long the last write of the journal took
	told   bool          // the present one
}

// allowance is by how much a phase lasts longer for it.
func (o outage) allowance(now time.Time, most time.Duration) time.Duration {
	away := o.before
	if !o.since.IsZero() {
		away += now.Sub(o.since)
	}
	return min(away, most)
}

// enterPhase begins the count of a phase. Its time was given to it before it
// was stored.
func (o *outage) enterPhase(now time.Time) {
	o.before, o.stored = o.stored, 0
	if !o.since.IsZero() {
		o.since = now
	}
}

// missed notes a look at the target that did not succeed.
func (r *run) missed(release slipway.Release, began time.Time, err error) {
	if !passes(err) {
		return // it answers
	}
	if r.outage.since.IsZero() {
		r.outage.since = began
	}
	if !r.outage.told && time.Since(r.outage.since) > silence {
		r.outage.told = true
		r.tell(release, slipway.Event{Kind: slipway.Warning, Step: phaseStep(release.Phase), Message: r.waitingFor(theTarget, err)})
	}
}

// reached notes that the target answered.
func (r *run) reached(release slipway.Release) {
	o := &r.outage
	if o.since.IsZero() {
		o.told = false
		return
	}
	away := time.Since(o.since)
	if o.told {
		r.tell(release, slipway.Event{Kind: slipway.Note, Step: phaseStep(release.Phase),
			Message: fmt.Sprintf("%s answers again, after %s", theTarget, away.Round(time.Second))})
	}
	*o = outage{before: o.before + away, stored: o.stored}
}

// tellWaiting tells that the journal is waited for, once per outage.
func (r *run) tellWaiting(rec slipway.Record, began time.Time, err error) {
	if r.outage.told || time.Since(began) <= silence {
		return
	}
	r.outage.told = true
	release := slipway.Release{}
	if rec.Current != nil {
		release = *rec.Current
	}
	r.tell(release, slipway.Event{Kind: slipway.Warning, Step: phaseStep(release.Phase), Message: r.waitingFor(theJournal, err)})
}

func (d *Driver) waitingFor(what string, err error) string {
	return fmt.Sprintf("waiting for %s, which is out of reach; for at most %s: %v", what, d.config.Limits.Outage, err)
}

// take takes the target's lock, as soon as whoever holds it lets it go.
func (d *Driver) take(ctx context.Context, fence uint64) (lock slipway.Lock, err error) {
	told := ""
	claim := slipway.Claim{Holder: d.config.Holder, Fence: fence, Waiting: func(holder string) {
		if holder == told {
			return
		}
		told = holder
		d.tell(slipway.Release{}, slipway.Event{Kind: slipway.Note, Step: stepRollout, Message: "waiting for " + holder + ", who holds the target"})
	}}
	err = d.patiently(ctx, theLock, func(ctx context.Context) error {
		lock, err = d.journal.Lock(ctx, claim)
		return err
	})
	return lock, err
}
