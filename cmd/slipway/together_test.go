package main

import (
	"strings"
	"sync"
	"testing"
)

// Two deploys of one promotion at once: one brings it, the other waits and
// finds nothing left to do, or was superseded by the time it looked again.
func TestTwoDeploysAtOnce(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	w.promote(t, "2")
	var wait sync.WaitGroup
	said := make([]string, 2)
	for i := range said {
		wait.Go(func() {
			code, text := w.slipway(t.Context(), nil, w.deploy("champion", "-o", "json")...)
			if said[i] = text; code != exitLive {
				t.Errorf("exit code %d\n%s", code, text)
			}
		})
	}
	wait.Wait()
	both := strings.Join(said, "\n")
	if live := strings.Count(both, `"kind": "live"`); live != 1 || strings.Count(both, `"kind": "nothing-to-do"`) != 1 {
		t.Errorf("%d of two became live:\n%s", live, both)
	}
	if got := len(w.history(t)); got != 2 {
		t.Errorf("%d releases in the history, want 2", got)
	}
}
