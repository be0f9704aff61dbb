package rollout

import (
	"fmt"

	"github.com/slipway-dev/slipway"
)

// Kind says how an operation ended.
type Kind string

// The kinds of outcomes.
const (
	Live        Kind = "live"          // the release serves and is verified
	Nothing     Kind = "nothing-to-do" // what was asked for is so already
	Unverified  Kind = "unverified"    // in steps: rolled out, to be verified next
	Superseded  Kind = "superseded"    // a newer promotion took the target
	Quarantined Kind = "quarantined"   // it was rolled back before; not tried again by itself
	Held        Kind = "held"          // the target is frozen
	Resumed     Kind = "resumed"       // and is not any more
	Failed      Kind = "failed"        // and nothing was changed
	RolledBack  Kind = "rolled-back"   // the version before serves and is verified
	Removed     Kind = "removed"       // a first release failed and is gone: nothing serves, as before
	NeedsPerson Kind = "person-needed" // the way back failed too
	Unfinished  Kind = "unfinished"    // journalled on its way; `slipway recover` goes on
)

// Outcome is how an operation ended. With an error, too, Kind says what the
// target was left like: Failed (as it was), or Unfinished.
type Outcome struct {
	Kind        Kind              `json:"kind"`
	Release     slipway.Release   `json:"release,omitzero"`    // what it is about; zero where no release was made
	Serving     *slipway.Release  `json:"serving,omitempty"`   // the last verified release of the target; nil: there is none
	Overtaken   []slipway.Release `json:"overtaken,omitempty"` // releases this run had prepared when a newer version was promoted
	Recovered   *slipway.Release  `json:"recovered,omitempty"` // what an earlier run had left, as it ended now
	Message     string            `json:"message"`             // one line
	Hint        string            `json:"hint,omitempty"`      // the command that goes on from here
	Interrupted bool              `json:"interrupted,omitempty"`
}

var kinds = map[slipway.Phase]Kind{
	slipway.Verified:   Live,
	slipway.Undone:     Live,
	slipway.Unverified: Unverified,
	slipway.Overtaken:  Superseded,
	slipway.Refused:    Failed,
	slipway.RolledBack: RolledBack,
	slipway.Removed:    Removed,
	slipway.Broken:     NeedsPerson,
}

// OutcomeOf returns the outcome of a release that has ended or was handed on.
func OutcomeOf(r slipway.Release, serving *slipway.Release) Outcome {
	kind, ok := kinds[r.Phase]
	if !ok {
		kind = Unfinished
	}
	o := Outcome{Kind: kind, Release: r, Serving: serving, Message: tell(r)}
	if r.Failure != nil {
		o.Hint = r.Failure.Problem.Hint
		o.Interrupted = r.Failure.Problem.Kind == KindInterrupted
	}
	if r.BackFailure != nil && r.BackFailure.Problem.Hint != "" {
		o.Hint = r.BackFailure.Problem.Hint
	}
	return o
}

// tell says in one line how a release ended.
func tell(r slipway.Release) string {
	why := "no reason is known"
	if r.Failure != nil {
		why = r.Failure.Problem.Message
	}
	switch r.Phase {
	case slipway.Verified:
		return fmt.Sprintf("%s is live", r.Model)
	case slipway.Undone:
		return fmt.Sprintf("%s was live and was rolled back by hand since", r.Model)
	case slipway.Unverified:
		return fmt.Sprintf("%s is rolled out and waits to be verified", r.Model)
	case slipway.Overtaken:
		return fmt.Sprintf("%s was superseded: %s", r.Model, why)
	case slipway.Refused:
		return fmt.Sprintf("%s was not rolled out, nothing was changed: %s", r.Model, why)
	case slipway.RolledBack:
		return fmt.Sprintf("%s was rolled back, %s serves and is verified: %s", r.Model, r.Previous.Model, why)
	case slipway.Removed:
		return fmt.Sprintf("%s was removed again, nothing served before it: %s", r.Model, why)
	case slipway.Broken:
		return tellBroken(r, why)
	}
	return fmt.Sprintf("%s is %s", r.Model, r.Phase)
}

func tellBroken(r slipway.Release, why string) string {
	if r.BackFailure == nil {
		return fmt.Sprintf("%s did not become live and a person is needed: %s", r.Model, why)
	}
	return fmt.Sprintf("%s failed (%s) and the way back failed too, a person is needed: %s", r.Model, why, r.BackFailure.Problem.Message)
}
