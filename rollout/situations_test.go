package rollout_test

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// situation is a release and what is seen of it.
type situation struct {
	release slipway.Release
	seen    rollout.Seen
}

var clock = time.Date(2026, 11, 23, 9, 0, 0, 0, time.UTC)

func image(n int) slipway.Digest {
	return slipway.Digest("sha256:" + strings.Repeat(fmt.Sprintf("%x", n%16), 64))
}

// previouses are the ways a release can have a release before it. Only the
// second may ever be gone back to.
var previouses = []*slipway.Release{
	nil,
	{ID: "PREVIOUS", Phase: slipway.Verified, Image: slipway.Image{Digest: image(1)}, Model: slipway.ModelVersion{Name: "iris", Version: "1"}},
	{ID: "PREVIOUS", Phase: slipway.Unverified, Image: slipway.Image{Digest: image(1)}, Model: slipway.ModelVersion{Name: "iris", Version: "1"}},
	// The same image under another release: only the identifier tells them apart.
	{ID: "PREVIOUS", Phase: slipway.Verified, Image: slipway.Image{Digest: image(2)}, Model: slipway.ModelVersion{Name: "iris", Version: "2"}},
}

func releaseIn(phase slipway.Phase, previous *slipway.Release) slipway.Release {
	return slipway.Release{
		ID: "OURS", Phase: phase, Deadline: clock.Add(time.Minute), Previous: previous,
		Created: clock.Add(-time.Minute), Image: slipway.Image{Digest: image(2)}, Found: image(3), Model: slipway.ModelVersion{Name: "iris", Version: "2"},
	}
}

// situations yields every combination of what can be seen in the phase.
func situations(phase slipway.Phase) iter.Seq[situation] {
	return func(yield func(situation) bool) {
		ways := previouses
		if phase.Ended() { // what was before does not matter any more
			ways = previouses[:1]
		}
		for _, previous := range ways {
			release := releaseIn(phase, previous)
			for seen := range sightings(release) {
				for _, action := range actions {
					for _, verdict := range verdicts(seen) {
						s := seen
						s.Acted, s.Refused, s.Verdict = action.acted, action.refused, verdict
						if !yield(situation{release, s}) {
							return
						}
					}
				}
			}
		}
	}
}

// actions are the ways an action of this run can have gone.
var actions = []struct {
	acted   bool
	refused *slipway.Problem
}{
	{false, nil},
	{true, nil},
	{false, &slipway.Problem{Kind: "refused", Message: "no"}},
}

// sightings yields every combination of observation, flags and time.
func sightings(r slipway.Release) iter.Seq[rollout.Seen] {
	return func(yield func(rollout.Seen) bool) {
		for _, o := range observations(r) {
			for flags := range 1 << 5 {
				if flags&1 != 0 && flags != 1 && flags != 31 {
					continue // without the lock nothing else matters: alone, and with all the rest
				}
				s := rollout.Seen{
					Now: clock, Observation: o,
					LockLost: flags&1 != 0, Newer: flags&2 != 0, InSteps: flags&4 != 0,
				}
				if flags&8 != 0 {
					s.Stop = &slipway.Problem{Kind: rollout.KindInterrupted, Message: "interrupted"}
				}
				if flags&16 != 0 {
					s.Now = r.Deadline
				}
				if !yield(s) {
					return
				}
				for _, err := range unreachables {
					if s.Unreachable = err; o == nil && !yield(s) {
						return
					}
				}
			}
		}
	}
}

// unreachables are the ways a look at the target can fail.
var unreachables = []error{
	slipway.Errorf(slipway.Unavailable, "looking", "out of reach"),
	slipway.Errorf(slipway.Unauthorized, "looking", "the right to list pods is missing"),
}

// observations returns every kind of thing a target can look like.
func observations(r slipway.Release) []*slipway.Observation {
	list := []*slipway.Observation{nil, {}, {Problem: &slipway.Problem{Kind: "port-taken", Message: "no"}}}
	owners := []slipway.Release{r, {ID: "OLD", Image: slipway.Image{Digest: image(3)}}, {ID: "STRANGER", Image: slipway.Image{Digest: image(4)}}}
	if r.Previous != nil {
		owners = append(owners, *r.Previous)
	}
	for _, owner := range owners {
		for _, replicas := range replicaSets(owner) {
			list = append(list, &slipway.Observation{Desired: owner.Image.Digest, Release: owner.ID, Want: 2, Replicas: replicas})
		}
		list = append(list, &slipway.Observation{Desired: owner.Image.Digest, Release: owner.ID, Want: 2,
			Replicas: replicaSets(owner)[0], Problem: &slipway.Problem{Kind: "pending-node", Heals: true}})
		// The target is set to nothing and the replicas are still there.
		list = append(list, &slipway.Observation{Replicas: replicaSets(owner)[0]})
	}
	return list
}

// replicaSets returns every kind of thing the replicas of a release can do.
func replicaSets(r slipway.Release) [][]slipway.Replica {
	ready := slipway.Replica{Name: "a", Release: r.ID, Image: r.Image.Digest, State: slipway.Ready, Serving: true, Since: clock.Add(-time.Minute)}
	second := func(change func(*slipway.Replica)) []slipway.Replica {
		b := ready
		b.Name = "b"
		change(&b)
		return []slipway.Replica{ready, b}
	}
	stranger := slipway.Replica{Name: "c", Release: "OTHER", Image: image(5), State: slipway.Ready, Serving: true}
	return [][]slipway.Replica{
		second(func(*slipway.Replica) {}),
		append(second(func(*slipway.Replica) {}), stranger),
		nil,
		second(func(b *slipway.Replica) { b.State, b.Serving = slipway.Starting, false }),
		second(func(b *slipway.Replica) { b.Image, b.Release = image(5), "OTHER" }),
		second(func(b *slipway.Replica) { b.Restarts = 1 }),
		second(func(b *slipway.Replica) { b.Restarts, b.Since = 1, clock.Add(-24*time.Hour) }),
		second(func(b *slipway.Replica) { b.Since = clock.Add(time.Second) }),
		second(func(b *slipway.Replica) { b.State, b.Serving = slipway.Failed, false }),
		second(func(b *slipway.Replica) {
			b.State, b.Serving, b.Problem = slipway.Starting, false, &slipway.Problem{Kind: "golden-differs"}
		}),
		second(func(b *slipway.Replica) {
			b.State, b.Serving, b.Problem = slipway.Starting, false, &slipway.Problem{Kind: "slow-pull", Heals: true}
		}),
		second(func(b *slipway.Replica) {
			b.State, b.Serving, b.Problem = slipway.Starting, false, &slipway.Problem{Kind: "slow-pull", Heals: true, HealBy: clock.Add(-time.Second)}
		}),
	}
}

// verdicts returns every kind of verdict there can be about what is seen.
func verdicts(s rollout.Seen) []*slipway.Verdict {
	if s.Observation == nil {
		return []*slipway.Verdict{nil}
	}
	all := slipway.Verdict{Passed: true, At: clock}
	for _, r := range s.Observation.Replicas {
		all.Replicas = append(all.Replicas, slipway.ReplicaCheck{Replica: r.Name, Image: r.Image, Ready: true})
	}
	return []*slipway.Verdict{
		nil, &all,
		{Passed: true, At: clock},
		{At: clock},
		{At: clock, Problem: &slipway.Problem{Kind: "timeout", Heals: true}},
		{At: clock, Problem: &slipway.Problem{Kind: "unreachable", Heals: true, HealBy: clock.Add(-time.Second)}},
	}
}
