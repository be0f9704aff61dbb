package relay

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// decide returns what a promotion becomes when the reference points at version
// and the target gives this outlook, and whether a release is to be started now.
// A promotion is started once: again only when it was live and is no more, when
// it could not have been tried (held, behind), or when another version was
// promoted in between.
func decide(p Promotion, version slipway.Version, o Outlook, now time.Time) (next Promotion, start bool) {
	if p.Version != version || p.State == "" {
		p = Promotion{Model: p.Model, Environment: p.Environment, Version: version, State: Waiting, Since: now, Changed: now}
	}
	switch {
	case version == "":
		return p.rest(Empty, "", now), false
	case o.Prospect == Nothing:
		return p.rest(Live, "", now), false
	case o.Prospect == Refused:
		return p.rest(Quarantined, o.Why, now), false
	case p.State == Quarantined:
		return p, false // until another version is promoted, or somebody brings this one by hand
	case o.Prospect == Frozen && p.State == Live:
		return p, false // a target that is held does not say what serves there
	case o.Prospect == Frozen, o.Prospect == Behind:
		return p.rest(Held, o.Why, now), false
	case o.Prospect == unanswered, o.Prospect == Unknown && (p.State == Live || p.State == Held):
		return p, false
	case p.State == Live: // it was, and something else serves now
		p.Attempts, p.Next = 0, time.Time{}
		return p.become(Waiting, "", now), true
	case p.State == Held:
		return p.become(Waiting, "", now), true
	}
	return p, p.State == Waiting && !now.Before(p.Next)
}

// asking says whether the target has to be asked before anything is decided:
// where a promotion is settled and nothing hints at a change, only now and then.
func asking(p Promotion, version slipway.Version, hinted bool, asked, now time.Time) bool {
	switch {
	case hinted, p.Version != version, p.State == Waiting, p.State == Held, p.State == Starting, p.State == "":
		return true
	case p.State == Started && now.Sub(p.Changed) < freshly:
		return true
	}
	return now.Sub(asked) >= seldom
}

const (
	freshly = time.Hour       // how long a started release is watched closely
	seldom  = 5 * time.Minute // between two questions to a target about what is settled
)

const (
	firstPause = 5 * time.Second // before a failed start is tried again; doubles
	maxPause   = 5 * time.Minute
	maxLater   = time.Hour // the longest Retry-After that is honoured
)

// pause is how long to wait before a start is tried again.
func pause(attempts int, asked time.Duration) time.Duration {
	if asked > 0 {
		return min(asked, maxLater)
	}
	return min(firstPause<<min(max(attempts-1, 0), 10), maxPause)
}
