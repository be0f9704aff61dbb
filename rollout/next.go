package rollout

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// Decision is what is to be done next with a release.
type Decision struct {
	Saw      Sight
	Phase    slipway.Phase      // the phase to store before the action is taken
	Action   slipway.ActionKind // to be taken in that phase
	Deadline time.Time          // of the phase; zero where it has ended
	Why      *slipway.Problem   // what led away from the straight way, or is waited for; nil: nothing
}

// Next decides how a release goes on. It is pure: the same release, sight and
// limits give the same decision.
//
// A decision to stay in a phase holds until the phase's deadline; then the
// phase's way out is taken. So nothing waits for ever, whatever is seen.
func Next(r slipway.Release, s Seen, l Limits) Decision {
	saw, why := look(r, s)
	e := next(r.Phase, saw)
	if e.stays(r.Phase) && e.do != slipway.Leave && late(r, s.Now) {
		saw, why = SawDeadline, tooLate(r, why)
		e = next(r.Phase, saw)
	}
	if e == back && wayBack(r) == nil {
		e = takeOff
	}
	d := Decision{Saw: saw, Phase: r.Phase, Action: e.do, Deadline: r.Deadline, Why: why}
	if !e.stays(r.Phase) {
		d.Phase, d.Deadline = e.to, s.Now.Add(l.of(e.to, r, s.Observation))
	}
	if d.Phase.Ended() {
		d.Deadline = time.Time{}
	}
	if d.Phase == slipway.Refused && d.Why == nil {
		d.Why = abandoned()
	}
	return d
}

func late(r slipway.Release, now time.Time) bool {
	return !r.Phase.Ended() && !now.Before(r.Deadline)
}

// wayBack returns the release to go back to: the previous one, if it was
// verified; nil where there is nothing to go back to.
func wayBack(r slipway.Release) *slipway.Release {
	if r.Previous == nil || r.Previous.Phase != slipway.Verified {
		return nil
	}
	return r.Previous
}

// edge leads to a phase, "" to the present one, and says what is done there.
type edge struct {
	to slipway.Phase
	do slipway.ActionKind
}

func (e edge) stays(p slipway.Phase) bool { return e.to == "" || e.to == p }

// The edges. Each is named for what it means to the release.
var (
	leave   = edge{"", slipway.Leave}
	wait    = edge{"", slipway.Wait}
	apply   = edge{"", slipway.Apply}
	remove  = edge{"", slipway.Remove}
	ask     = edge{"", slipway.Verify}
	done    = edge{"", slipway.Finish}
	begin   = edge{slipway.RollingOut, slipway.Apply}
	handOn  = edge{slipway.Unverified, slipway.Leave}
	takeUp  = edge{slipway.Verifying, slipway.Wait}
	check   = edge{slipway.Verifying, slipway.Verify}
	live    = edge{slipway.Verified, slipway.Finish}
	back    = edge{slipway.RollingBack, slipway.Apply} // takeOff, where there is nothing to go back to
	takeOff = edge{slipway.Removing, slipway.Remove}
	recheck = edge{slipway.Restoring, slipway.Verify}
	backed  = edge{slipway.RolledBack, slipway.Finish}
	removed = edge{slipway.Removed, slipway.Finish}
	refuse  = edge{slipway.Refused, slipway.Finish}
	yield   = edge{slipway.Overtaken, slipway.Finish}
	person  = edge{slipway.Broken, slipway.Finish}
)

// next is the machine's table: a row for each phase.
func next(p slipway.Phase, saw Sight) edge {
	if saw == SawLockLost {
		return leave
	}
	switch p {
	case slipway.Resolving, slipway.Validating, slipway.Building, slipway.Pushing:
		return unmoved(saw)
	case slipway.Pending:
		return pending(saw)
	case slipway.RollingOut:
		return rollingOut(saw)
	case slipway.Unverified:
		return unverified(saw)
	case slipway.Verifying:
		return verifying(saw)
	case slipway.RollingBack:
		return rollingBack(saw)
	case slipway.Restoring:
		return restoring(saw)
	case slipway.Removing:
		return removing(saw)
	}
	return done
}

// unmoved: the run that was preparing it is gone, and nothing has moved.
func unmoved(saw Sight) edge {
	if saw == SawNewer {
		return yield
	}
	return refuse
}

// pending: whatever the target is set to, the release replaces it.
func pending(saw Sight) edge {
	switch saw {
	case SawNewer:
		return yield
	case SawStop, SawBarred, SawRefusal, SawDeadline:
		return refuse
	case SawNothing:
		return wait
	}
	return begin
}

func rollingOut(saw Sight) edge {
	switch saw {
	case SawNothing, SawBarred, SawStarting, SawHealing:
		return wait
	case SawUnmoved:
		return apply
	case SawRefusal:
		return refuse
	case SawHandover:
		return handOn
	case SawSettled, SawPassed, SawPartial, SawDoubtful:
		return check
	case SawForeign:
		return person
	}
	return back // SawStop, SawReverted, SawFailing, SawWrong, SawDeadline
}

// unverified: a run has taken it up again. Whether its time was over or not,
// it is asked now.
func unverified(saw Sight) edge {
	switch saw {
	case SawNothing, SawBarred, SawStarting, SawHealing:
		return takeUp
	case SawSettled, SawHandover, SawPassed, SawPartial, SawDoubtful:
		return check
	case SawForeign:
		return person
	}
	return back // SawStop, SawUnmoved, SawReverted, SawRefusal, SawFailing, SawWrong, SawDeadline
}

func verifying(saw Sight) edge {
	switch saw {
	case SawNothing, SawBarred, SawStarting, SawHealing:
		return wait
	case SawSettled, SawHandover, SawPartial, SawDoubtful:
		return ask
	case SawPassed:
		return live
	case SawForeign:
		return person
	}
	return back // SawStop, SawUnmoved, SawReverted, SawRefusal, SawFailing, SawWrong, SawDeadline
}

// rollingBack is patient: whatever the previous release's replicas do, they
// have until the deadline before a person is called.
func rollingBack(saw Sight) edge {
	switch saw {
	case SawUnmoved, SawRefusal:
		return apply
	case SawSettled, SawHandover, SawPassed, SawPartial, SawDoubtful, SawWrong:
		return recheck
	case SawNoBack, SawForeign, SawReverted, SawDeadline:
		return person
	}
	return wait // SawNothing, SawBarred, SawStarting, SawHealing, SawFailing
}

func restoring(saw Sight) edge {
	switch saw {
	case SawSettled, SawHandover, SawPartial, SawDoubtful:
		return ask
	case SawPassed:
		return backed
	case SawNoBack, SawForeign, SawUnmoved, SawReverted, SawRefusal, SawWrong, SawDeadline:
		return person
	}
	return wait // SawNothing, SawBarred, SawStarting, SawHealing, SawFailing
}

func removing(saw Sight) edge {
	switch saw {
	case SawUnmoved, SawRefusal:
		return remove
	case SawSettled, SawHandover, SawPassed, SawPartial, SawDoubtful, SawWrong:
		return removed
	case SawNoBack, SawForeign, SawReverted, SawDeadline:
		return person
	}
	return wait // SawNothing, SawBarred, SawStarting, SawHealing, SawFailing
}
