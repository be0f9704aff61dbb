package rollout

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// Limits is how long each phase may take. A zero field takes its default.
type Limits struct {
	Pending  time.Duration // to reach the target before anything moves; 20 s
	Rollout  time.Duration // until every new replica is ready; 165 s: a start-up probe's 150 s and a margin
	Handover time.Duration // in steps: from the end of `rollout` to `verify`; 15 min
	Verify   time.Duration // asking every replica, repeats included; 60 s
	Rollback time.Duration // until the previous release serves again; 30 s, and on top twice what its own rollout took
	Remove   time.Duration // until a failed first release is gone; 40 s: the grace period's 30 s and a margin
	Stop     time.Duration // what an interrupted run has left to go back; 5 s
	Call     time.Duration // one look at the target, one write of the journal; 10 s
	Outage   time.Duration // how long the target or its journal may be out of reach, on top of what the phase has; 45 s
}

// A replica that is given time to start gets it whole, and its last probe too.
const (
	startupMargin = 15 * time.Second
	maxStartup    = time.Hour
)

func (l Limits) withDefaults() Limits {
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&l.Pending, 20 * time.Second},
		{&l.Rollout, 165 * time.Second},
		{&l.Handover, 15 * time.Minute},
		{&l.Verify, time.Minute},
		{&l.Rollback, 30 * time.Second},
		{&l.Remove, 40 * time.Second},
		{&l.Stop, 5 * time.Second},
		{&l.Call, 10 * time.Second},
		{&l.Outage, 45 * time.Second},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return l
}

// of returns how long the release may stay in the phase it enters while the
// target looks like that; nil: nobody knows.
func (l Limits) of(p slipway.Phase, r slipway.Release, o *slipway.Observation) time.Duration {
	l = l.withDefaults()
	switch p {
	case slipway.RollingOut:
		return max(l.Rollout, toStart(r, o))
	case slipway.Unverified:
		return l.Handover
	case slipway.Verifying, slipway.Restoring:
		return l.Verify
	case slipway.RollingBack:
		return l.rollback(r, o)
	case slipway.Removing:
		return l.Remove
	}
	return l.Pending
}

// rollback is longer where the old replicas are gone: they have to start again.
func (l Limits) rollback(r slipway.Release, o *slipway.Observation) time.Duration {
	if r.Previous == nil || o != nil && stillRuns(*o, *r.Previous) {
		return l.Rollback
	}
	return max(l.Rollback+2*tookToStart(r.Previous), toStart(*r.Previous, o))
}

// toStart is how long the target waits for a replica of the release before it
// gives up; 0: nobody has said.
func toStart(r slipway.Release, o *slipway.Observation) time.Duration {
	limit := r.Startup
	if limit <= 0 && o != nil {
		limit = o.Startup
	}
	if limit <= 0 {
		return 0
	}
	return min(limit, maxStartup) + startupMargin
}

func tookToStart(r *slipway.Release) time.Duration {
	if r == nil {
		return 0
	}
	var took time.Duration
	for _, s := range r.Spans {
		if s.Step == stepRollout {
			took = max(took, s.Duration)
		}
	}
	return took
}
