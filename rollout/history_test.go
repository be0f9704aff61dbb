package rollout_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

func TestServedWhen(t *testing.T) {
	t.Parallel()
	at := func(minutes int) time.Time { return clock.Add(time.Duration(minutes) * time.Minute) }
	release := func(version string, phase slipway.Phase, ended int) slipway.Release {
		return slipway.Release{ID: slipway.ReleaseID(fmt.Sprint(version, ended)), Model: slipway.ModelVersion{Name: "iris", Version: slipway.Version(version)}, Phase: phase, Ended: at(ended)}
	}
	live := release("9", slipway.Verified, 90)
	tests := []struct {
		name string
		rec  slipway.Record
		want map[int]string // minute → version
	}{
		{"nothing yet", slipway.Record{}, map[int]string{0: "", 99: ""}},
		{"a first release that failed", slipway.Record{History: []slipway.Release{release("1", slipway.Removed, 10)}}, map[int]string{5: "", 10: "", 15: ""}},
		{"one after the other", slipway.Record{History: []slipway.Release{release("1", slipway.Verified, 10), release("2", slipway.Verified, 20)}},
			map[int]string{9: "", 10: "1", 19: "1", 20: "2", 99: "2"}},
		{"a rolled back one never served alone", slipway.Record{History: []slipway.Release{
			release("1", slipway.Verified, 10), release("2", slipway.RolledBack, 20), release("3", slipway.Refused, 21), release("4", slipway.Overtaken, 22)}},
			map[int]string{15: "1", 20: "1", 30: "1"}},
		{"undone by hand", slipway.Record{History: []slipway.Release{
			release("1", slipway.Verified, 10), release("2", slipway.Undone, 20), release("1", slipway.Verified, 30)}},
			map[int]string{15: "1", 25: "2", 30: "1", 99: "1"}},
		{"nobody knows after a person was called", slipway.Record{History: []slipway.Release{
			release("1", slipway.Verified, 10), release("2", slipway.Broken, 20), release("3", slipway.Verified, 40)}},
			map[int]string{19: "1", 20: "", 39: "", 40: "3"}},
		{"the live one outlasts the history", slipway.Record{Live: &live, History: []slipway.Release{release("10", slipway.RolledBack, 95)}},
			map[int]string{89: "", 90: "9", 99: "9"}},
		{"the live one is in the history too", slipway.Record{Live: &live, History: []slipway.Release{live}}, map[int]string{90: "9"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for minute, want := range tt.want {
				s, ok := rollout.At(tt.rec, at(minute))
				if got := string(s.Release.Model.Version); got != want || ok != (want != "") {
					t.Errorf("minute %d: version %q (%v), want %q", minute, got, ok, want)
				}
			}
		})
	}
	served := rollout.Served(tests[4].rec)
	var got []string
	for _, s := range served {
		got = append(got, fmt.Sprintf("%s %d-%d", s.Release.Model.Version, int(s.From.Sub(clock).Minutes()), int(s.Until.Sub(clock).Minutes())))
	}
	if diff := cmp.Diff("1 10-20, 2 20-30", fmt.Sprintf("%s, %s", got[0], got[1])); diff != "" || len(got) != 3 || !served[2].Until.IsZero() {
		t.Errorf("served %v", got)
	}
}
