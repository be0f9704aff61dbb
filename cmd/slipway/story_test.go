package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

func clockAt(second int) time.Time { return time.Date(2026, 11, 23, 9, 14, second, 0, time.Local) }

// tellRelease tells a short story of a release that is rolled back.
func tellRelease(s *story) {
	look := func(at time.Time, replicas ...slipway.Replica) slipway.Event {
		o := slipway.Observation{At: at, Want: 2, Replicas: replicas}
		return slipway.Event{At: at, Kind: slipway.Observed, Step: "rollout", Release: "R", Observation: &o, Deadline: clockAt(59)}
	}
	old := slipway.Replica{Name: "iris-2-a", Release: "Q", State: slipway.Ready, Serving: true}
	first := slipway.Replica{Name: "iris-3-a", Release: "R", State: slipway.Starting}
	second := slipway.Replica{Name: "iris-3-b", Release: "R", State: slipway.Starting}
	ready, waits := first, second
	ready.State, ready.Serving = slipway.Ready, true
	waits.Problem = &slipway.Problem{Kind: "no-room", Message: "no node has room for it", Heals: true, HealBy: clockAt(48)}
	for _, e := range []slipway.Event{
		{At: clockAt(2), Kind: slipway.Started, Step: "validate"},
		{At: clockAt(3), Kind: slipway.Progress, Step: "validate", Done: 1000, Total: 41000, Unit: "bytes"},
		{At: clockAt(14), Kind: slipway.Progress, Step: "validate", Done: 40000, Total: 41000, Unit: "bytes"},
		{At: clockAt(15), Kind: slipway.Warning, Step: "validate", Message: "loading this model runs code"},
		{At: clockAt(16), Kind: slipway.Succeeded, Step: "validate", Message: "a model", Indicator: "Model validation passed"},
		{At: clockAt(17), Kind: slipway.Started, Step: "rollout", Message: "iris 3"},
		look(clockAt(17), old),
		look(clockAt(18), old, first, second),
		look(clockAt(20), old, ready, second),
		look(clockAt(21), old, ready, waits),
		look(clockAt(22), old, ready, waits),
		{At: clockAt(29), Kind: slipway.Stopped, Step: "rollout", Problem: &slipway.Problem{Message: "golden prediction 1 differs", Evidence: "expected 1\ngot 2\n"}},
		{At: clockAt(30), Kind: slipway.Concluded, Step: "record", Message: "iris 3 was rolled back"},
	} {
		s.tell(e)
	}
	s.advice("why", "slipway explain R")
	s.close()
}

func TestPlainStory(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tellRelease(newStory(&out, none, nil))
	want := strings.Join([]string{
		"09:14:15 validate  warning: loading this model runs code",
		"09:14:16 validate  a model (14.0 s)",
		"Model validation passed",
		"09:14:17 rollout   iris 3",
		"09:14:20 rollout   1 of 2 ready: iris-3-a",
		"09:14:21 rollout   iris-3-b waits: no node has room for it (27 s left)",
		"09:14:29 rollout   golden prediction 1 differs",
		"                   expected 1",
		"                   got 2 (12.0 s)",
		"09:14:30 record    iris 3 was rolled back",
		"  why     slipway explain R", "",
	}, "\n")
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Ten seconds without a line are broken by what is waited for.
func TestPlainStoryHasAPulse(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := newStory(&out, none, nil)
		begun := time.Now()
		s.tell(slipway.Event{At: begun, Kind: slipway.Started, Step: "push"})
		s.tell(slipway.Event{At: begun, Kind: slipway.Progress, Step: "push", Done: 40_000, Total: 41_000, Unit: "bytes"})
		time.Sleep(21 * time.Second) //nolint:forbidigo // the bubble's clock
		o := slipway.Observation{At: time.Now(), Release: "R", Want: 1, Replicas: []slipway.Replica{{Name: "iris-3-a", Release: "R", State: slipway.Starting, Since: time.Now()}}}
		s.tell(slipway.Event{At: time.Now(), Kind: slipway.Started, Step: "rollout", Message: "iris 3", Deadline: begun.Add(60 * time.Second)})
		s.tell(slipway.Event{At: time.Now(), Kind: slipway.Observed, Step: "rollout", Release: "R", Observation: &o, Deadline: begun.Add(60 * time.Second)})
		time.Sleep(10500 * time.Millisecond) //nolint:forbidigo // likewise
		s.close()
		var got []string
		for line := range strings.Lines(out.String()) {
			got = append(got, strings.TrimRight(line[len("00:00:00 "):], "\n"))
		}
		want := []string{
			"push      40 kB of 41 kB, 10 s so far",
			"push      40 kB of 41 kB, 20 s so far",
			"rollout   iris 3",
			"rollout   0 of 1 ready; iris-3-a is starting for 10.0 s, 10 s so far (29 s left)",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// What comes from outside must not steer the terminal.
func TestForeignTextIsCleaned(t *testing.T) {
	t.Parallel()
	hostile := "iris\x1b]0;owned\x07\x1b[2J\r\u202e3"
	var out bytes.Buffer
	s := newStory(&out, none, nil)
	s.title("%s", hostile)
	s.note("resolve", "%s", hostile)
	s.advice("fix", hostile)
	printError(&out, (&slipway.Error{Op: hostile, Code: slipway.Invalid, Message: hostile, Err: errors.New(hostile)}).WithHint("%s", hostile), none)
	table(&out, [][]string{{hostile, "x"}})
	if i := strings.IndexAny(out.String(), "\x1b\x07\r\u202e"); i >= 0 {
		t.Errorf("a control character came through: %q", out.String())
	}
}

func TestErrorsSayWhatWhyAndHow(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"all": {(&slipway.Error{Op: "pushing iris", Message: "the image registry refuses", Err: errors.New("403")}).WithHint("log in"),
			"error: pushing iris: the image registry refuses\n  403\n  fix: log in\n"},
		"without a message":    {&slipway.Error{Op: "pushing iris", Err: errors.New("403")}, "error: pushing iris\n  403\n  fix: please report this, with the lines above: it should not happen\n"},
		"without an operation": {&slipway.Error{Code: slipway.Invalid, Err: errors.New("403")}, "error: 403\n  fix: mend what is named above, and run it again\n"},
		"another error":        {errors.New("two\nlines"), "error: two\n  lines\n  fix: please report this, with the lines above: it should not happen\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			printError(&out, test.err, none)
			if diff := cmp.Diff(test.want, out.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ got, want string }{
		{bytesText(0), "0 B"}, {bytesText(965), "965 B"}, {bytesText(1000), "1 kB"}, {bytesText(7560), "7.6 kB"},
		{bytesText(46_500), "46 kB"}, {bytesText(999_600), "1 MB"}, {bytesText(1_220_000_000), "1.2 GB"},
		{seconds(200 * time.Microsecond), "<1 ms"}, {seconds(42 * time.Millisecond), "42 ms"}, {seconds(6320 * time.Millisecond), "6.3 s"},
		{seconds(125 * time.Second), "2 m 05 s"},
		{thousands(8214), "8,214"}, {thousands(-8214), "-8,214"}, {thousands(999), "999"}, {thousands(1_234_567), "1,234,567"},
		{plural(1, "file"), "1 file"}, {plural(6, "file"), "6 files"},
		{lasted(9*24*time.Hour + time.Minute), "9 days"}, {lasted(61 * time.Second), "1 minute"},
		{clip("ääää", 6), "ä…"}, {clip("abc", 6), "abc"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}

func TestTimesOfHistory(t *testing.T) {
	t.Parallel()
	now := clockAt(30)
	for text, want := range map[string]time.Time{
		"2026-11-23T09:14:00Z": time.Date(2026, 11, 23, 9, 14, 0, 0, time.UTC),
		"2026-11-23 09:14":     time.Date(2026, 11, 23, 9, 14, 0, 0, time.Local),
		"08:00":                time.Date(2026, 11, 23, 8, 0, 0, 0, time.Local),
		"2h":                   now.Add(-2 * time.Hour),
	} {
		if got, err := parseTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: got %v, %v; want %v", text, got, err, want)
		}
	}
	if _, err := parseTime("noon", now); exitCode(t.Context(), err) != exitUsage {
		t.Errorf("noon: got %v", err)
	}
}
