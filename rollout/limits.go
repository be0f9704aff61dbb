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
}

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
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return l
}

// of returns how long the release may stay in the phase.
func (l Limits) of(p slipway.Phase, r slipway.Release) time.Duration {
	l = l.withDefaults()
	switch p {
	case slipway.RollingOut:
		return l.Rollout
	case slipway.Unverified:
		return l.Handover
	case slipway.Verifying, slipway.Restoring:
		return l.Verify
	case slipway.RollingBack:
		// The old replicas may be gone already; then they have to start again.
		return l.Rollback + 2*tookToStart(r.Previous)
	case slipway.Removing:
		return l.Remove
	}
	return l.Pending
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
