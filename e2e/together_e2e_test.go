//go:build e2e

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// running is a slipway that has not ended.
type running struct {
	t    testing.TB
	cmd  *exec.Cmd
	mu   sync.Mutex
	said bytes.Buffer
}

func (s *running) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.Write(p)
}

func (s *running) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said.String()
}

// start runs slipway in the background.
func (w *world) start(args ...string) *running {
	w.t.Helper()
	s := &running{t: w.t, cmd: w.command(w.t.Context(), args...)}
	s.cmd.Stdout, s.cmd.Stderr = s, s
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// says waits until it has said the text.
func (s *running) says(text string) {
	s.t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.Contains(s.text(), text); <-time.After(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("slipway never said %q:\n%s", text, s.text())
		}
	}
}

// ends waits for its end and wants the exit code.
func (s *running) ends(code int) {
	s.t.Helper()
	s.cmd.Wait() // what it says of the exit code is looked at next
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Errorf("exit code %d, want %d:\n%s", got, code, s.text())
	}
}

// While one deploy has the target, the next one waits. When it gets the target
// it asks again what is promoted, so the newest promotion wins and none is
// lost.
func TestE2ETwoDeploysAtOnce(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest", "odds", "ridge")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	gate := filepath.Join(r.home, "gate")
	r.promote("champion", "2")
	first := r.start("deploy", r.champion(), "--server", wrongServer(t, "waits"), "--env", "WAIT_FOR="+gate)
	first.says("rollout   " + string(r.model) + " 2")
	r.promote("champion", "3")
	second := r.start("deploy", r.champion())
	second.says("waiting for ada@")
	r.answersLike("1", "logistic")
	r.promote("champion", "4")
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	first.ends(0)
	second.ends(0)
	r.answersLike("4", "ridge")
	for _, release := range r.record().History {
		if release.Model.Version == "3" && release.Phase != slipway.Overtaken {
			t.Errorf("version 3 was overtaken before it was rolled out, and is %s", release.Phase)
		}
	}
	for version, want := range map[string]string{"1": "replaced", "2": "replaced", "3": "superseded", "4": "live"} {
		if got := r.tags(slipway.Version(version))["slipway.status"]; got != want {
			t.Errorf("version %s is tagged %q, want %q", version, got, want)
		}
	}
}

// A deploy for every promotion, all at once, as a relay of webhooks may start
// them: every one ends well and the last promotion serves.
func TestE2EManyPromotionsAtOnce(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest", "odds", "ridge", "trees")
	var all []*running
	for i := range r.names {
		r.promote("champion", slipway.Version(string(rune('1'+i))))
		all = append(all, r.start("deploy", r.champion()))
	}
	for _, s := range all {
		s.ends(0)
	}
	r.answersLike("5", "trees")
	if record := r.record(); record.Current != nil || record.Live.Model.Version != "5" {
		t.Errorf("the journal afterwards: %+v", record)
	}
	if got := r.outcome(0, "deploy", r.champion()); got.Kind != "nothing-to-do" {
		t.Errorf("and once more: %+v", got)
	}
}
