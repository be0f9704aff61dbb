package rollout_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// table is what the state machine must do: a column for each phase, a row for
// each sight. "-" is a sight that cannot arise in the phase.
const table = `
                | prepare | pending | rolling-out | unverified | verifying | rolling-back | restoring | removing | ended
lock lost       | leave   | leave   | leave       | leave      | leave     | leave        | leave     | leave    | leave
stop asked for  | refuse  | refuse  | back        | back       | back      | -            | -         | -        | -
newer promotion | yield   | yield   | -           | -          | -         | -            | -         | -        | done
out of reach    | refuse  | wait    | wait        | take up    | wait      | wait         | wait      | wait     | done
barred          | refuse  | refuse  | wait        | take up    | wait      | wait         | wait      | wait     | done
no way back     | -       | -       | -           | -          | -         | person       | person    | -        | -
foreign change  | refuse  | begin   | person      | person     | person    | person       | person    | person   | done
unmoved         | refuse  | begin   | apply       | -          | -         | apply        | -         | remove   | done
set back        | refuse  | begin   | back        | back       | back      | person       | person    | person   | done
refused         | refuse  | refuse  | refuse      | back       | back      | apply        | person    | remove   | done
starting        | refuse  | begin   | wait        | take up    | wait      | wait         | wait      | wait     | done
healing         | refuse  | begin   | wait        | take up    | wait      | wait         | wait      | -        | done
failing         | refuse  | begin   | back        | back       | back      | wait         | wait      | -        | done
settled         | refuse  | begin   | check       | check      | ask       | recheck      | ask       | removed  | done
handover        | refuse  | begin   | hand on     | check      | ask       | recheck      | ask       | -        | done
passed          | refuse  | begin   | check       | check      | live      | recheck      | backed    | -        | done
partly asked    | refuse  | begin   | check       | check      | ask       | recheck      | ask       | -        | done
doubtful        | refuse  | begin   | check       | check      | ask       | recheck      | ask       | -        | done
wrong           | refuse  | begin   | back        | back       | back      | recheck      | person    | -        | done
deadline        | -       | refuse  | back        | -          | back      | person       | person    | person   | -
`

type step struct {
	phase  slipway.Phase // "" stays
	action slipway.ActionKind
}

// meanings says what the words of the table stand for.
var meanings = map[string]step{
	"leave":   {"", slipway.Leave},
	"wait":    {"", slipway.Wait},
	"apply":   {"", slipway.Apply},
	"remove":  {"", slipway.Remove},
	"ask":     {"", slipway.Verify},
	"done":    {"", slipway.Finish},
	"begin":   {slipway.RollingOut, slipway.Apply},
	"hand on": {slipway.Unverified, slipway.Leave},
	"take up": {slipway.Verifying, slipway.Wait},
	"check":   {slipway.Verifying, slipway.Verify},
	"live":    {slipway.Verified, slipway.Finish},
	"back":    {slipway.RollingBack, slipway.Apply},
	"recheck": {slipway.Restoring, slipway.Verify},
	"backed":  {slipway.RolledBack, slipway.Finish},
	"removed": {slipway.Removed, slipway.Finish},
	"refuse":  {slipway.Refused, slipway.Finish},
	"yield":   {slipway.Overtaken, slipway.Finish},
	"person":  {slipway.Broken, slipway.Finish},
}

// columns says which phases a column of the table stands for.
var columns = map[string][]slipway.Phase{
	"prepare":      {slipway.Resolving, slipway.Validating, slipway.Building, slipway.Pushing},
	"pending":      {slipway.Pending},
	"rolling-out":  {slipway.RollingOut},
	"unverified":   {slipway.Unverified},
	"verifying":    {slipway.Verifying},
	"rolling-back": {slipway.RollingBack},
	"restoring":    {slipway.Restoring},
	"removing":     {slipway.Removing},
	"ended":        {slipway.Verified, slipway.RolledBack, slipway.Removed, slipway.Broken, slipway.Refused, slipway.Overtaken, slipway.Undone},
}

type pair struct {
	phase slipway.Phase
	saw   rollout.Sight
}

// readTable returns the word for every phase and sight.
func readTable(t *testing.T) map[pair]string {
	t.Helper()
	words := map[pair]string{}
	lines := strings.Split(strings.TrimSpace(table), "\n")
	heads := strings.Split(lines[0], "|")[1:]
	for _, line := range lines[1:] {
		cells := strings.Split(line, "|")
		for i, head := range heads {
			for _, phase := range columns[strings.TrimSpace(head)] {
				words[pair{phase, rollout.Sight(strings.TrimSpace(cells[0]))}] = strings.TrimSpace(cells[i+1])
			}
		}
	}
	return words
}

// Every phase meets everything that can be seen in it, by real observations
// and not by name, and does what the table says. A pair that is missing from
// the table, one that is said to be impossible and is met, and one that is
// said to be possible and is not, fail.
func TestNextFollowsTheTable(t *testing.T) {
	t.Parallel()
	words := readTable(t)
	met := map[pair]int{}
	for _, phases := range columns {
		for _, phase := range phases {
			for s := range situations(phase) {
				d := rollout.Next(s.release, s.seen, rollout.Limits{})
				p := pair{phase, d.Saw}
				met[p]++
				if why := differs(words[p], s, d); why != "" {
					t.Fatalf("%s, %s (%s): %s\nrelease %+v\nseen %+v", phase, d.Saw, words[p], why, s.release, s.seen)
				}
			}
		}
	}
	for p, word := range words {
		if meets := met[p] > 0; meets == (word == "-") {
			t.Errorf("%s × %s: the table says %q, met %d times", p.phase, p.saw, word, met[p])
		}
	}
	total := 0
	for _, n := range met {
		total += n
	}
	t.Logf("%d pairs of phase and sight, %d of them possible, met by %d situations", len(words), len(met), total)
}

func TestTheTableNamesEverySightAndPhase(t *testing.T) {
	t.Parallel()
	words := readTable(t)
	phases := 0
	for _, list := range columns {
		phases += len(list)
	}
	if got, want := len(words), phases*len(rollout.Sights()); got != want {
		t.Errorf("the table has %d pairs, want %d phases × %d sights", got, phases, len(rollout.Sights()))
	}
}

// differs says how a decision differs from what the word means, or "".
func differs(word string, s situation, d rollout.Decision) string {
	want, ok := meanings[word]
	if word == "back" && (s.release.Previous == nil || s.release.Previous.Phase != slipway.Verified) {
		want = step{slipway.Removing, slipway.Remove}
	}
	phase := want.phase
	if phase == "" {
		phase = s.release.Phase
	}
	switch {
	case !ok:
		return "the pair is not in the table"
	case d.Phase != phase || d.Action != want.action:
		return "gave " + string(d.Phase) + ", " + string(d.Action)
	case d.Phase.Ended() != d.Deadline.IsZero():
		return "its deadline is " + d.Deadline.String()
	case d.Phase != s.release.Phase && !d.Phase.Ended() && !d.Deadline.After(s.seen.Now):
		return "it enters a phase without time"
	case d.Phase == s.release.Phase && !d.Phase.Ended() && !d.Deadline.Equal(s.release.Deadline):
		return "it stays and moves the deadline"
	case d.Phase != s.release.Phase && badEnd(d.Phase) && d.Why == nil:
		return "it turns back and does not say why"
	}
	return ""
}

func badEnd(p slipway.Phase) bool {
	switch p {
	case slipway.RollingBack, slipway.Removing, slipway.Refused, slipway.Overtaken, slipway.Broken:
		return true
	}
	return false
}

func TestDefaultLimits(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	r := slipway.Release{ID: "A", Image: slipway.Image{Digest: image(1)}, Phase: slipway.Pending, Deadline: now.Add(time.Minute)}
	got := rollout.Next(r, rollout.Seen{Now: now, Observation: &slipway.Observation{}}, rollout.Limits{})
	if want := now.Add(165 * time.Second); !got.Deadline.Equal(want) {
		t.Errorf("rolling out until %s, want %s", got.Deadline.Sub(now), want.Sub(now))
	}
	r.Phase, r.Deadline = slipway.RollingOut, now
	r.Previous = &slipway.Release{ID: "P", Phase: slipway.Verified, Image: slipway.Image{Digest: image(2)}, Spans: []slipway.Span{{Step: "rollout", Duration: 40 * time.Second}}}
	got = rollout.Next(r, rollout.Seen{Now: now}, rollout.Limits{})
	if want := now.Add(110 * time.Second); got.Phase != slipway.RollingBack || !got.Deadline.Equal(want) {
		t.Errorf("%s until %s, want rolling-back for 30 s and twice the 40 s the previous release took to start", got.Phase, got.Deadline.Sub(now))
	}
}

// Replicas get the time that the release, or else the target, gives them to
// start; a rollback only where they have to.
func TestLimitsFollowTheStartupLimit(t *testing.T) {
	t.Parallel()
	old := slipway.Release{ID: "PREVIOUS", Phase: slipway.Verified, Image: slipway.Image{Digest: image(1)}}
	slowOld := old
	slowOld.Startup = 200 * time.Second
	running := replicaSets(old)[0]
	bad := slipway.Replica{Name: "new", Release: "OURS", Image: image(2), State: slipway.Failed, Problem: &slipway.Problem{Kind: "crashed"}}
	tests := []struct {
		name     string
		phase    slipway.Phase
		startup  time.Duration
		previous slipway.Release
		seen     *slipway.Observation
		want     slipway.Phase
		within   time.Duration
	}{
		{"nobody says", slipway.Pending, 0, old, &slipway.Observation{}, slipway.RollingOut, 165 * time.Second},
		{"the target says less", slipway.Pending, 0, old, &slipway.Observation{Startup: 60 * time.Second}, slipway.RollingOut, 165 * time.Second},
		{"the target says more", slipway.Pending, 0, old, &slipway.Observation{Startup: 300 * time.Second}, slipway.RollingOut, 315 * time.Second},
		{"the release says more", slipway.Pending, 600 * time.Second, old, &slipway.Observation{Startup: 300 * time.Second}, slipway.RollingOut, 615 * time.Second},
		{"the release says less than the target", slipway.Pending, 200 * time.Second, old, &slipway.Observation{Startup: 300 * time.Second}, slipway.RollingOut, 215 * time.Second},
		{"the target says nonsense", slipway.Pending, 0, old, &slipway.Observation{Startup: 1 << 60}, slipway.RollingOut, time.Hour + 15*time.Second},
		{"back, all old replicas run", slipway.RollingOut, 0, slowOld, &slipway.Observation{
			Desired: image(2), Release: "OURS", Want: 2, Startup: 300 * time.Second, Replicas: append(running[:2:2], bad),
		}, slipway.RollingBack, 30 * time.Second},
		{"back, an old replica is gone", slipway.RollingOut, 0, old, &slipway.Observation{
			Desired: image(2), Release: "OURS", Want: 2, Startup: 300 * time.Second, Replicas: append(running[:1:1], bad),
		}, slipway.RollingBack, 315 * time.Second},
		{"back to one with its own limit, all gone", slipway.RollingOut, 0, slowOld, &slipway.Observation{
			Desired: image(2), Release: "OURS", Want: 2, Startup: 300 * time.Second, Replicas: []slipway.Replica{bad},
		}, slipway.RollingBack, 215 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := releaseIn(tt.phase, &tt.previous)
			r.Startup = tt.startup
			d := rollout.Next(r, rollout.Seen{Now: clock, Observation: tt.seen}, rollout.Limits{})
			if within := d.Deadline.Sub(clock); d.Phase != tt.want || within != tt.within {
				t.Errorf("%s within %s, want %s within %s", d.Phase, within, tt.want, tt.within)
			}
		})
	}
}
