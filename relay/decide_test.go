package relay_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	before := now.Add(-time.Hour)
	is := func(s relay.State) relay.Promotion {
		return relay.Promotion{Model: "models:/iris@champion", Environment: "production", Version: "3", State: s, Since: before, Changed: before}
	}
	due, unknown := relay.Outlook{Prospect: relay.Due}, relay.Outlook{Prospect: relay.Unknown, Why: "out of reach"}
	live, refused := relay.Outlook{Prospect: relay.Nothing}, relay.Outlook{Prospect: relay.Refused, Why: "rolled back"}
	held, behind := relay.Outlook{Prospect: relay.Frozen, Why: "held"}, relay.Outlook{Prospect: relay.Behind, Why: "staging first"}
	later := is(relay.Waiting)
	later.Next = now.Add(time.Second)
	for _, tt := range []struct {
		name    string
		was     relay.Promotion
		version slipway.Version
		outlook relay.Outlook
		state   relay.State
		start   bool
	}{
		{"first seen, due", relay.Promotion{}, "3", due, relay.Waiting, true},
		{"first seen, its target out of reach", relay.Promotion{}, "3", unknown, relay.Waiting, true},
		{"first seen, live already", relay.Promotion{}, "3", live, relay.Live, false},
		{"first seen, quarantined", relay.Promotion{}, "3", refused, relay.Quarantined, false},
		{"first seen, held", relay.Promotion{}, "3", held, relay.Held, false},
		{"nothing promoted", relay.Promotion{}, "", due, relay.Empty, false},
		{"the alias was removed", is(relay.Started), "", due, relay.Empty, false},
		{"promoted again after that", relay.Promotion{State: relay.Empty}, "3", due, relay.Waiting, true},
		{"another version", is(relay.Started), "4", due, relay.Waiting, true},
		{"an older version again", is(relay.Live), "2", due, relay.Waiting, true},
		{"another version while held", is(relay.Live), "4", held, relay.Held, false},
		{"another version, whatever became of the start", is(relay.Starting), "4", due, relay.Waiting, true},
		{"started, not live yet", is(relay.Started), "3", due, relay.Started, false},
		{"started, target out of reach", is(relay.Started), "3", unknown, relay.Started, false},
		{"started, live now", is(relay.Started), "3", live, relay.Live, false},
		{"started, rolled back", is(relay.Started), "3", refused, relay.Quarantined, false},
		{"started, but found the target held", is(relay.Started), "3", held, relay.Held, false},
		{"live, and not asked", is(relay.Live), "3", relay.Outlook{Prospect: relay.Unanswered}, relay.Live, false},
		{"live, target out of reach", is(relay.Live), "3", unknown, relay.Live, false},
		{"live once, something else serves now", is(relay.Live), "3", due, relay.Waiting, true},
		{"live, rolled back by hand", is(relay.Live), "3", refused, relay.Quarantined, false},
		{"quarantined stays quiet", is(relay.Quarantined), "3", due, relay.Quarantined, false},
		{"quarantined, target out of reach", is(relay.Quarantined), "3", unknown, relay.Quarantined, false},
		{"quarantined, held too", is(relay.Quarantined), "3", held, relay.Quarantined, false},
		{"quarantined, brought by hand", is(relay.Quarantined), "3", live, relay.Live, false},
		{"quarantined, another version", is(relay.Quarantined), "4", due, relay.Waiting, true},
		{"live on a target that somebody holds", is(relay.Live), "3", held, relay.Live, false},
		{"held, target out of reach", is(relay.Held), "3", unknown, relay.Held, false},
		{"held, another version with the target out of reach", is(relay.Held), "4", unknown, relay.Waiting, true},
		{"resumed", is(relay.Held), "3", due, relay.Waiting, true},
		{"resumed, and live already", is(relay.Held), "3", live, relay.Live, false},
		{"staging has not verified it", is(relay.Waiting), "3", behind, relay.Held, false},
		{"live once, and staging first", is(relay.Live), "3", behind, relay.Held, false},
		{"a failed start, too early", later, "3", due, relay.Waiting, false},
		{"a failed start, live meanwhile", later, "3", live, relay.Live, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, start := relay.Decide(tt.was, tt.version, tt.outlook, now)
			if got.State != tt.state || start != tt.start || got.Version != tt.version {
				t.Errorf("%s %q, start %v; want %s %q, start %v", got.State, got.Version, start, tt.state, tt.version, tt.start)
			}
			changed := tt.was.State != tt.state || tt.was.Version != tt.version
			if want := map[bool]time.Time{true: now, false: tt.was.Changed}[changed]; !got.Changed.Equal(want) {
				t.Errorf("changed %v, want %v", got.Changed, want)
			}
			again, _ := relay.Decide(got, tt.version, tt.outlook, now)
			if diff := cmp.Diff(got, again); diff != "" {
				t.Errorf("deciding again changes something:\n%s", diff)
			}
		})
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		attempts    int
		asked, want time.Duration
	}{
		{1, 0, 5 * time.Second}, {2, 0, 10 * time.Second}, {5, 0, 80 * time.Second}, {7, 0, 5 * time.Minute}, {1 << 30, 0, 5 * time.Minute},
		{1, 90 * time.Second, 90 * time.Second}, {9, time.Second, time.Second}, {1, 1000 * time.Hour, time.Hour},
	} {
		if got := relay.Pause(tt.attempts, tt.asked); got != tt.want {
			t.Errorf("after %d attempts, asked for %v: %v, want %v", tt.attempts, tt.asked, got, tt.want)
		}
	}
}

// A poll is never late, and at a whole second unless polls are frequent.
func TestNextPoll(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 26, 20, 0, 0, 250e6, time.UTC)
	for poll, want := range map[time.Duration]time.Duration{30 * time.Second: 29750 * time.Millisecond, time.Minute: 59750 * time.Millisecond, time.Second: time.Second} {
		if got := relay.NextPoll(poll, now); got != want {
			t.Errorf("%v: %v, want %v", poll, got, want)
		}
	}
}
