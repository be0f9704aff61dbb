package rollout

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// goal returns what the target is to serve in the release's phase; nil: nothing.
func goal(r slipway.Release) *slipway.Release {
	switch {
	case goesBack(r.Phase):
		return wayBack(r)
	case r.Phase == slipway.Removing:
		return nil
	}
	return &r
}

// isSet reports whether the target is set to the goal of the phase.
func isSet(r slipway.Release, o slipway.Observation) bool {
	if g := goal(r); g != nil {
		return serves(o, *g)
	}
	return !serves(o, r)
}

// serves reports whether the target is set to the release. An image alone does
// not tell: two releases may share one and differ in their environment.
func serves(o slipway.Observation, r slipway.Release) bool {
	return r.Image.Digest != "" && o.Desired == r.Image.Digest && (o.Release == "" || o.Release == r.ID)
}

// isForeign reports whether somebody else set the target: it is set neither to
// the release, nor to the one before, nor to what was found there, nor to nothing.
func isForeign(r slipway.Release, o slipway.Observation) bool {
	switch {
	case o.Desired == "", o.Desired == r.Found, serves(o, r):
		return false
	case r.Previous != nil && serves(o, *r.Previous):
		return false
	}
	return true
}

func belongs(replica slipway.Replica, r slipway.Release) bool {
	return replica.Image == r.Image.Digest && (replica.Release == "" || replica.Release == r.ID)
}

// settled reports whether every replica of the release is ready and receives
// requests, their number is the one asked for, and nothing else receives any.
func settled(o slipway.Observation, r slipway.Release) bool {
	ready := 0
	for _, replica := range o.Replicas {
		switch {
		case belongs(replica, r) && replica.State == slipway.Ready && replica.Serving:
			ready++
		case belongs(replica, r) && replica.State != slipway.Draining:
			return false
		case replica.Serving:
			return false
		}
	}
	return serves(o, r) && o.Problem == nil && ready > 0 && ready >= o.Want
}

// stillRuns reports whether as many replicas of the release as are asked for
// are ready and receive requests, whatever else there is.
func stillRuns(o slipway.Observation, r slipway.Release) bool {
	ready := 0
	for _, replica := range o.Replicas {
		if belongs(replica, r) && replica.State == slipway.Ready && replica.Serving {
			ready++
		}
	}
	return ready > 0 && ready >= o.Want
}

// failing returns the first problem that will not go away; nil: none. While a
// release comes, a replica that had to be started again has crashed, whatever
// it does now.
func failing(o slipway.Observation, r slipway.Release, now time.Time, coming bool) *slipway.Problem {
	if o.Problem != nil && stays(o.Problem, now) {
		return o.Problem
	}
	for _, replica := range o.Replicas {
		if !belongs(replica, r) || replica.State == slipway.Draining {
			continue
		}
		switch p := replica.Problem; {
		case p != nil && stays(p, now):
			return p
		case p == nil && replica.State == slipway.Failed, coming && restartedSince(replica, r.Created):
			return crashed(replica)
		}
	}
	return nil
}

// clockSkew is how far the clocks of a target and of this machine may be apart.
const clockSkew = time.Minute

// restartedSince tells restarts of the release's own time from those of a
// replica that ran the same image for the release before.
func restartedSince(replica slipway.Replica, created time.Time) bool {
	return replica.Restarts > 0 && !replica.Since.Before(created.Add(-clockSkew))
}

// healing returns the first problem that may go away by itself; nil: none.
func healing(o slipway.Observation, r slipway.Release) *slipway.Problem {
	if o.Problem != nil {
		return o.Problem
	}
	for _, replica := range o.Replicas {
		if belongs(replica, r) && replica.Problem != nil {
			return replica.Problem
		}
	}
	return nil
}

// stays reports whether the problem will not go away by itself.
func stays(p *slipway.Problem, now time.Time) bool {
	return !p.Heals || !p.HealBy.IsZero() && !now.Before(p.HealBy)
}

// covers reports whether the verdict is about every replica that is there now,
// as it is now.
func covers(v slipway.Verdict, o slipway.Observation) bool {
	asked := map[string]bool{}
	for _, c := range v.Replicas {
		asked[c.Replica] = c.Problem == nil
	}
	for _, replica := range o.Replicas {
		if replica.Serving && (!asked[replica.Name] || replica.Since.After(v.At)) {
			return false
		}
	}
	return true
}
