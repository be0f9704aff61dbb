package rollout_test

import (
	"slices"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// state is all of a driven release that bears on what comes next.
type state struct {
	phase    slipway.Phase
	previous int // of previouses
	action   int // of actions: how this run's action of the phase went
	verdict  int // of verdicts: what this run's verification of the phase said; 0: none ran
}

const verdictKinds = 6

var onItsWay = []slipway.Phase{
	slipway.Resolving, slipway.Validating, slipway.Building, slipway.Pushing,
	slipway.Pending, slipway.RollingOut, slipway.Unverified, slipway.Verifying,
	slipway.RollingBack, slipway.Restoring, slipway.Removing,
}

// TestEveryWalkEnds goes from every state with everything that can be seen
// there, over every way the action then taken can go, and with a crash and a
// new run at every point. It shows that
//
//   - no chain of phases returns to one it left, and whatever is seen at a
//     phase's deadline leads out of the phase: so every walk ends;
//   - it ends verified, rolled back, removed, refused, superseded, or with a
//     person being called;
//   - only a verified release is ever gone back to, and nothing ends verified
//     or rolled back but after every replica was asked and right;
//   - without the lock, nothing is done at all.
func TestEveryWalkEnds(t *testing.T) {
	t.Parallel()
	seen := map[state]bool{}
	edges := map[slipway.Phase]map[slipway.Phase]bool{}
	var queue []state
	visit := func(s state) {
		if !seen[s] {
			seen[s] = true
			queue = append(queue, s)
		}
	}
	for _, phase := range onItsWay {
		for previous := range previouses {
			visit(state{phase: phase, previous: previous})
		}
	}
	decisions, transitions := 0, 0
	for len(queue) > 0 {
		s := queue[0]
		queue = queue[1:]
		visit(state{phase: s.phase, previous: s.previous}) // this run dies, another takes up
		release := releaseIn(s.phase, previouses[s.previous])
		for sight := range sightings(release) {
			sight.Acted, sight.Refused = actions[s.action].acted, actions[s.action].refused
			if all := verdicts(sight); s.verdict < len(all) {
				sight.Verdict = all[s.verdict]
			}
			d := rollout.Next(release, sight, rollout.Limits{})
			decisions++
			checkDecision(t, release, sight, d)
			if d.Phase != s.phase {
				if edges[s.phase] == nil {
					edges[s.phase] = map[slipway.Phase]bool{}
				}
				edges[s.phase][d.Phase] = true
			}
			for _, next := range after(s, d) {
				transitions++
				visit(next)
			}
		}
	}
	longest := longestChain(t, edges)
	t.Logf("%d states, %d decisions, %d transitions; the longest chain of phases has %d", len(seen), decisions, transitions, longest)
}

// after returns every state that taking the decision's action can lead to.
func after(s state, d rollout.Decision) []state {
	next := state{phase: d.Phase, previous: s.previous}
	if d.Phase == s.phase {
		next = s
	}
	switch {
	case d.Phase.Ended() || d.Action == slipway.Leave:
		return nil
	case d.Action == slipway.Apply || d.Action == slipway.Remove:
		return variants(next, len(actions), func(n *state, i int) { n.action = i })
	case d.Action == slipway.Verify:
		return variants(next, verdictKinds, func(n *state, i int) { n.verdict = i })
	}
	return []state{next}
}

func variants(s state, n int, set func(*state, int)) []state {
	list := slices.Repeat([]state{s}, n)
	for i := range list {
		set(&list[i], i)
	}
	return list
}

func checkDecision(t *testing.T, r slipway.Release, s rollout.Seen, d rollout.Decision) {
	t.Helper()
	fail := func(why string) {
		t.Helper()
		t.Fatalf("%s, %s → %s, %s: %s\nseen %+v", r.Phase, d.Saw, d.Phase, d.Action, why, s)
	}
	verified := r.Previous != nil && r.Previous.Phase == slipway.Verified
	goesBack := d.Phase == slipway.RollingBack || d.Phase == slipway.Restoring || d.Phase == slipway.RolledBack
	switch {
	case s.LockLost:
		if d.Phase != r.Phase || d.Action != slipway.Leave {
			fail("it acts without the lock")
		}
	case d.Phase == r.Phase && !s.Now.Before(r.Deadline):
		fail("it stays beyond the deadline")
	case d.Phase == r.Phase && d.Action == slipway.Leave:
		fail("it does nothing and has the lock")
	case goesBack && !verified:
		fail("it goes back to what was never verified")
	case d.Phase == slipway.Verified && (r.Phase != slipway.Verifying || !proved(s)), d.Phase == slipway.RolledBack && (r.Phase != slipway.Restoring || !proved(s)):
		fail("not every replica was asked and right")
	case d.Phase == slipway.Removed && slices.ContainsFunc(s.Observation.Replicas, func(p slipway.Replica) bool { return p.Release == r.ID && p.Serving }):
		fail("it still serves")
	case d.Phase == slipway.Removing && r.Phase != slipway.Removing && verified:
		fail("it removes where it could go back")
	case d.Phase.Ended() && !slices.Contains(goodEnds, d.Phase):
		fail("no proper end")
	}
}

var goodEnds = []slipway.Phase{
	slipway.Verified, slipway.RolledBack, slipway.Removed, slipway.Broken, slipway.Refused, slipway.Overtaken,
}

// proved says in its own words what verified means: every replica that
// receives requests was asked as it is now and right, as many as wanted are ready, and all
// are of one release.
func proved(s rollout.Seen) bool {
	o, v := s.Observation, s.Verdict
	if o == nil || v == nil || !v.Passed || o.Problem != nil || len(o.Replicas) < o.Want || o.Want == 0 {
		return false
	}
	for _, r := range o.Replicas {
		asked := slices.ContainsFunc(v.Replicas, func(c slipway.ReplicaCheck) bool { return c.Replica == r.Name })
		if !asked || r.Since.After(v.At) || r.State != slipway.Ready || !r.Serving || r.Image != o.Desired || r.Release != o.Release {
			return false
		}
	}
	return true
}

// longestChain returns the number of phases in the longest chain, and fails if
// a chain returns to a phase it left.
func longestChain(t *testing.T, edges map[slipway.Phase]map[slipway.Phase]bool) int {
	t.Helper()
	var walk func(p slipway.Phase, chain []slipway.Phase) int
	walk = func(p slipway.Phase, chain []slipway.Phase) int {
		if slices.Contains(chain, p) {
			t.Fatalf("the chain %v returns to %s", chain, p)
		}
		longest := 1
		for next := range edges[p] {
			longest = max(longest, 1+walk(next, append(slices.Clone(chain), p)))
		}
		if !p.Ended() && len(edges[p]) == 0 {
			t.Errorf("nothing leads out of %s", p)
		}
		return longest
	}
	longest := 0
	for _, p := range onItsWay {
		longest = max(longest, walk(p, nil))
	}
	return longest
}
