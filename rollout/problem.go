package rollout

import (
	"cmp"
	"fmt"

	"github.com/slipway-dev/slipway"
)

// The kinds of problems that this package finds itself. Those of replicas and
// verdicts keep the kind their finder gave them.
const (
	KindUnreachable = "unreachable"       // the target cannot be asked
	KindForeign     = "changed-by-others" // somebody else set the target
	KindNoBack      = "no-way-back"       // there is no verified release to go back to
	KindNotTaken    = "not-taken"         // the target did not take the action in
	KindNeverReady  = "never-ready"       // the replicas did not become ready in time
	KindNeverAsked  = "never-verified"    // the replicas could not all be asked in time
	KindNotGone     = "not-gone"          // replicas of a removed release still receive requests
	KindCrashed     = "crashed"           // a replica had to be started again
	KindWrong       = "wrong-answer"      // a verification failed and did not say why
	KindRefused     = "refused"           // the target refuses the release
	KindInterrupted = "interrupted"       // the user, or the machine that ran it, stopped it
	KindByHand      = "by-hand"           // rolled back by hand
	KindAbandoned   = "abandoned"         // the run that prepared it is gone
	KindNewer       = "newer-promotion"   // another version was promoted meanwhile
)

func newerPromotion() *slipway.Problem {
	return &slipway.Problem{Kind: KindNewer, Message: "another version was promoted meanwhile"}
}

func outOfReach(err error) *slipway.Problem {
	p := &slipway.Problem{Kind: KindUnreachable, Message: "the target is out of reach", Heals: true}
	if err != nil {
		p.Evidence, p.Hint = err.Error(), slipway.HintOf(err)
	}
	return p
}

func changedByOthers(r slipway.Release, o slipway.Observation) *slipway.Problem {
	p := &slipway.Problem{
		Kind:    KindForeign,
		Message: fmt.Sprintf("somebody else set the target to %s meanwhile", o.Desired.Short()),
		Hint:    fmt.Sprintf("find out who set it and whether it is to stay; `slipway deploy --retry` puts %s there", r.Model),
	}
	if o.Release != "" {
		p.Evidence = "the target says release " + string(o.Release) + " did"
	}
	return p
}

func setBack(r slipway.Release, o slipway.Observation) *slipway.Problem {
	now := "nothing"
	switch {
	case r.Previous != nil && serves(o, *r.Previous):
		now = r.Previous.Model.String()
	case o.Desired != "":
		now = o.Desired.Short()
	}
	return &slipway.Problem{
		Kind:    KindForeign,
		Message: fmt.Sprintf("the target had taken the change in, and somebody else set it back to %s", now),
		Hint:    fmt.Sprintf("find out who set it back; `slipway deploy --retry` puts %s there", r.Model),
	}
}

func notTaken() *slipway.Problem {
	return &slipway.Problem{Kind: KindNotTaken, Message: "the target has not taken the change in", Heals: true}
}

func abandoned() *slipway.Problem {
	return &slipway.Problem{Kind: KindAbandoned, Message: "the run that made it ended before anything had moved", Hint: "deploy it again"}
}

func noWayBack() *slipway.Problem {
	return &slipway.Problem{Kind: KindNoBack, Message: "there is no verified release to go back to", Hint: "deploy a version that works"}
}

func stillServes(replica slipway.Replica) *slipway.Problem {
	return &slipway.Problem{Kind: KindNotGone, Message: replica.Name + " still receives requests", Heals: true}
}

func crashed(replica slipway.Replica) *slipway.Problem {
	p := &slipway.Problem{Kind: KindCrashed, Message: fmt.Sprintf("%s ended and was started again %d times", replica.Name, replica.Restarts)}
	switch {
	case replica.Restarts == 0:
		p.Message = replica.Name + " ended"
	case replica.Restarts == 1:
		p.Message = replica.Name + " ended and was started again"
	}
	if why := replica.Problem; why != nil {
		p.Kind, p.Evidence, p.Hint = cmp.Or(why.Kind, p.Kind), cmp.Or(why.Evidence, why.Message), why.Hint
		p.Message = cmp.Or(why.Message, p.Message)
	}
	return p
}

func notReady(o slipway.Observation, r slipway.Release) *slipway.Problem {
	ready, first := 0, ""
	for _, replica := range o.Replicas {
		switch {
		case belongs(replica, r) && replica.State == slipway.Ready && replica.Serving:
			ready++
		case first == "" && (replica.Serving || replica.State != slipway.Draining):
			first = fmt.Sprintf("; %s (%s) is %s", replica.Name, replica.Model, replica.State)
		}
	}
	return &slipway.Problem{
		Kind:    KindNeverReady,
		Message: fmt.Sprintf("%d of %d replicas of %s are ready and receive requests%s", ready, o.Want, r.Model, first),
		Heals:   true,
	}
}

func notAsked() *slipway.Problem {
	return &slipway.Problem{Kind: KindNeverAsked, Message: "a replica was started after the others had been asked", Heals: true}
}

func wrong(v slipway.Verdict) *slipway.Problem {
	if v.Problem != nil {
		return v.Problem
	}
	return &slipway.Problem{Kind: KindWrong, Message: "the verification failed"}
}

// tooLate says what was still missing when the phase's time was over.
func tooLate(r slipway.Release, missing *slipway.Problem) *slipway.Problem {
	if missing == nil {
		missing = &slipway.Problem{Kind: KindNeverAsked, Message: "the replicas could not be asked in time"}
	}
	p := *missing
	p.Heals = false
	p.Message = fmt.Sprintf("the time for %s is over: %s", doing(r.Phase), p.Message)
	return &p
}

// refusal is a target's error as a problem.
func refusal(err error) *slipway.Problem {
	return &slipway.Problem{Kind: KindRefused, Message: err.Error(), Hint: slipway.HintOf(err)}
}

func interrupted(cause error) *slipway.Problem {
	return &slipway.Problem{Kind: KindInterrupted, Message: "interrupted", Evidence: cause.Error()}
}

func doing(p slipway.Phase) string {
	switch p {
	case slipway.Pending:
		return "reaching the target"
	case slipway.RollingOut:
		return "rolling out"
	case slipway.Unverified, slipway.Verifying:
		return "verifying"
	case slipway.RollingBack:
		return "rolling back"
	case slipway.Restoring:
		return "verifying the release before"
	case slipway.Removing:
		return "removing"
	}
	return string(p)
}
