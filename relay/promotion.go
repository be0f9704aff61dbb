package relay

import (
	"context"
	"time"

	"github.com/slipway-dev/slipway"
)

// Watched is one model on its way to one environment.
type Watched struct {
	Model       slipway.ModelRef
	Environment string
	Starter     Starter
}

// World is what the relay asks before it decides.
type World interface {
	// Promoted returns the version that the model reference points at now; ""
	// when nothing is promoted.
	Promoted(context.Context, Watched) (slipway.Version, error)
	// Outlook says what a release of that version would do now.
	Outlook(context.Context, Watched, slipway.Version) Outlook
}

// Outlook is what the target says to a release of a version.
type Outlook struct {
	Prospect Prospect
	Why      string // for people; may be empty
}

// Prospect is what would become of a release.
type Prospect string

// The prospects of a release.
const (
	Due        Prospect = "due"         // it would be deployed
	Unknown    Prospect = "unknown"     // the target cannot be asked; the release will say why
	Behind     Prospect = "behind"      // another environment has to verify the version first
	Frozen     Prospect = "held"        // somebody holds the target
	Refused    Prospect = "quarantined" // it was rolled back there
	Nothing    Prospect = "live"        // it serves already
	unanswered Prospect = ""            // not asked
)

// Starter starts releases: a workflow, a pipeline, or a process of its own.
type Starter interface {
	// Start asks for the release and returns where it can be looked at, "" where
	// that is not known. Code Unavailable: it may have been taken, or may be
	// later; any other: it was not. An error with a method RetryAfter says
	// how long to leave its host alone.
	Start(context.Context, Start) (where string, err error)
}

// Finder is a Starter that hands the release over to somebody who can be asked
// later whether it came. Found false: it did not. Code Unavailable: ask again;
// any other: it cannot be told.
type Finder interface {
	Find(context.Context, Start) (where string, found bool, err error)
}

// Start is one start of a release.
type Start struct {
	ID          string // a ULID, the same however often this start is tried
	Model       slipway.ModelRef
	Environment string
	Version     slipway.Version
	At          time.Time // when it was first tried
}

// State is how far a promotion is.
type State string

// The states of a promotion.
const (
	Empty       State = "nothing"     // nothing is promoted
	Waiting     State = "waiting"     // to be started; Why is what came of the last try
	Held        State = "held"        // to be started, as soon as the target, or the environment before, allows
	Starting    State = "starting"    // stored before the start; what came of it is not known
	Started     State = "started"     // taken; not live yet
	Live        State = "live"        // verified on its target
	Quarantined State = "quarantined" // rolled back there; stays quiet
)

// Promotion is what the relay knows of one model in one environment.
type Promotion struct {
	Model       string
	Environment string
	Version     slipway.Version // "": nothing is promoted
	State       State
	Start       string    // identifier of the last start
	Tried       time.Time // when it was first tried
	Attempts    int       // how often it was
	Since       time.Time // when the promotion was first seen
	Changed     time.Time // when the state was
	Next        time.Time // not tried again before
	Where       string    // the run, for people
	Why         string    // what it waits for, or what went wrong
}

// become returns the promotion in another state. The time of a change is that
// of the state's, not of its explanation's.
func (p Promotion) become(s State, why string, now time.Time) Promotion {
	if p.State != s {
		p.State, p.Changed = s, now
	}
	p.Why = why
	return p
}

// rest is become for a promotion that nothing is to be tried for: it waits for
// others.
func (p Promotion) rest(s State, why string, now time.Time) Promotion {
	p.Next = time.Time{}
	return p.become(s, why, now)
}

// tried reports whether Where and Why are about a start, and not about what is
// waited for.
func (p Promotion) tried() bool {
	return p.Start != "" && (p.State == Starting || p.State == Started || p.State == Waiting && p.Why != "")
}
