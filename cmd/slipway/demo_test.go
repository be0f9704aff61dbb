package main

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/rollout"
)

// Somebody takes the demo's port between its choice and its use.
func TestDemoMovesToAnotherPort(t *testing.T) {
	t.Parallel()
	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	var thief net.Listener // in the way
	var out, story strings.Builder
	p := &program{stdout: &out, stderr: &story, getenv: w.getenv, json: true}
	p.story = newStory(&story, w.getenv, nil)
	st, err := openStage(t.Context(), p, demoCommand{Server: w.vars["SLIPWAY_SERVER"]})
	if err != nil {
		t.Fatal(err)
	}
	if err := st.chooseTarget(0); err != nil {
		t.Fatal(err)
	}
	if thief, err = net.Listen("tcp", st.target.Host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { thief.Close() })
	d := newDemo(p, st)
	err = d.play(t.Context())
	if closeErr := st.close(t.Context()); err != nil || closeErr != nil {
		t.Fatalf("%v, %v\n%s", err, closeErr, &story)
	}
	var got demoResult
	if err := json.Unmarshal([]byte(out.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Address == "http://"+thief.Addr().String() || len(got.Releases) != 3 || got.Releases[2].Kind != rollout.RolledBack || got.Requests.Lost != 0 {
		t.Errorf("at %s: %d releases, %+v", got.Address, len(got.Releases), got.Requests)
	}
	if !strings.Contains(story.String(), "was taken meanwhile") {
		t.Errorf("it does not say so:\n%s", &story)
	}
}
