package rollout

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// Seen is all that Next goes by, at one instant.
type Seen struct {
	Now         time.Time
	Observation *slipway.Observation // nil: the target is out of reach
	Unreachable error                // why it is, or why it may not be asked; may be nil
	Acted       bool                 // this run's action of the phase was taken in by the target
	Refused     *slipway.Problem     // the target refused this run's action of the phase
	Verdict     *slipway.Verdict     // of a verification of this phase that just ran
	Stop        *slipway.Problem     // somebody wants the release stopped: interrupted, or rolled back by hand
	Newer       bool                 // another version has been promoted
	LockLost    bool                 // the lock is no longer ours
	InSteps     bool                 // verifying is a later step's
}

// Sight is what was seen, as the state machine tells it apart. "Set" means: to
// what the phase wants: the release itself; on the way back the previous one;
// while removing, nothing of the release.
type Sight string

// The sights.
const (
	SawLockLost Sight = "lock lost"       // the target is another run's
	SawStop     Sight = "stop asked for"  // only until the way back has begun
	SawNewer    Sight = "newer promotion" // only while nothing has moved
	SawNothing  Sight = "out of reach"
	SawBarred   Sight = "barred"         // the target refuses to be looked at: a right is missing
	SawNoBack   Sight = "no way back"    // going back, and there is no verified release to go back to
	SawForeign  Sight = "foreign change" // set to what neither this release nor the one before was
	SawUnmoved  Sight = "unmoved"        // set to what it was before the action, which this run has not got through yet
	SawReverted Sight = "set back"       // set to what it was before, though the action had been taken in
	SawRefusal  Sight = "refused"        // set to what it was before, because the target refuses the action
	SawStarting Sight = "starting"       // set; not every replica is ready and alone
	SawHealing  Sight = "healing"        // as SawStarting, with a problem that may go away
	SawFailing  Sight = "failing"        // set; a replica crashed or has a problem that stays
	SawSettled  Sight = "settled"        // set; every replica is ready and nothing else receives requests
	SawHandover Sight = "handover"       // settled; verifying is a later step's
	SawPassed   Sight = "passed"         // settled; every replica was asked and right
	SawPartial  Sight = "partly asked"   // settled; right, but a replica came after it was asked
	SawDoubtful Sight = "doubtful"       // the verification failed for a reason that may go away
	SawWrong    Sight = "wrong"          // the verification failed
	SawDeadline Sight = "deadline"       // the phase's time is over and what was seen does not lead out of it
)

// Sights returns every sight there is.
func Sights() []Sight {
	return []Sight{
		SawLockLost, SawStop, SawNewer, SawNothing, SawBarred, SawNoBack, SawForeign, SawUnmoved, SawReverted, SawRefusal,
		SawStarting, SawHealing, SawFailing, SawSettled, SawHandover, SawPassed, SawPartial, SawDoubtful, SawWrong, SawDeadline,
	}
}

// look tells what was seen, the most important first, and why it is so where
// that is worth telling.
func look(r slipway.Release, s Seen) (Sight, *slipway.Problem) {
	switch {
	case s.LockLost:
		return SawLockLost, nil
	case s.Stop != nil && forward(r.Phase):
		return SawStop, s.Stop
	case s.Newer && !r.Phase.Moved():
		return SawNewer, newerPromotion()
	case goesBack(r.Phase) && wayBack(r) == nil:
		return SawNoBack, noWayBack()
	case s.Observation == nil && s.Unreachable != nil && !passes(s.Unreachable):
		return SawBarred, refusal(s.Unreachable)
	case s.Observation == nil:
		return SawNothing, outOfReach(s.Unreachable)
	case isForeign(r, *s.Observation):
		return SawForeign, changedByOthers(r, *s.Observation)
	case !isSet(r, *s.Observation):
		return lookBeforehand(r, s)
	case goal(r) == nil:
		return lookAtLeaving(r, *s.Observation)
	}
	return lookAtReplicas(r, *goal(r), s)
}

func lookBeforehand(r slipway.Release, s Seen) (Sight, *slipway.Problem) {
	switch {
	case s.Refused != nil:
		return SawRefusal, s.Refused
	case s.Acted, wasSet(r.Phase):
		return SawReverted, setBack(r, *s.Observation)
	}
	return SawUnmoved, notTaken()
}

// wasSet reports whether the target had been set before the phase began.
func wasSet(p slipway.Phase) bool {
	return p == slipway.Unverified || p == slipway.Verifying || p == slipway.Restoring
}

func lookAtLeaving(r slipway.Release, o slipway.Observation) (Sight, *slipway.Problem) {
	for _, replica := range o.Replicas {
		if belongs(replica, r) && replica.Serving {
			return SawStarting, stillServes(replica)
		}
	}
	return SawSettled, nil
}

func lookAtReplicas(r, goal slipway.Release, s Seen) (Sight, *slipway.Problem) {
	o := *s.Observation
	if p := failing(o, goal, s.Now, forward(r.Phase)); p != nil {
		return SawFailing, p
	}
	if v := s.Verdict; v != nil && !v.Passed {
		p := wrong(*v)
		if p.Heals { // until when does not matter: asking again tells
			return SawDoubtful, p
		}
		return SawWrong, p
	}
	switch {
	case !settled(o, goal):
		if p := healing(o, goal); p != nil {
			return SawHealing, p
		}
		return SawStarting, notReady(o, goal)
	case s.Verdict != nil && covers(*s.Verdict, o):
		return SawPassed, nil
	case s.Verdict != nil:
		return SawPartial, notAsked()
	case s.InSteps:
		return SawHandover, nil
	}
	return SawSettled, nil
}

func goesBack(p slipway.Phase) bool { return p == slipway.RollingBack || p == slipway.Restoring }

// forward reports whether a release in the phase is still on its way to the
// target, so that it can be stopped.
func forward(p slipway.Phase) bool {
	return !p.Ended() && !goesBack(p) && p != slipway.Removing
}
