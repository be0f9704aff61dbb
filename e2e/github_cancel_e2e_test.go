//go:build e2e

package e2e_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// A run that is cancelled in the middle of a rollout or of the verification
// leaves nothing half done: its last step sees to that, while the process that
// was killed may still be at it.
func TestE2EGitHubCancelled(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]string{"cancelled in the rollout": inRollout, "cancelled in the verification": inVerify} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForge(t, "logistic", "forest")
			f.promote("champion", "1")
			f.outcome(0, "deploy", f.champion())
			f.promote("champion", "2")
			now := f.cutShort(at)
			got := f.runs(now, promotionWorkflow, "repository_dispatch", promoted(f.champion()))
			record, ended := f.record(), got.Output("deploy", "recover", "status")
			if got.code == 0 || ended == "" || record.Current != nil || record.Live == nil {
				t.Fatalf("cancelled, and recover said %q: %+v\n%s", ended, record, got)
			}
			serves := string(record.Live.Model.Version)
			f.comesToAnswer(serves, f.names[serves[0]-'1'])
			f.consistent(string(record.Live.Image.Digest), 2)
			if left := f.elsewhere().outcome(0, "recover", f.target()); left.Kind != "nothing-to-do" {
				t.Errorf("something was left: %+v\n%s", left, got)
			}
			t.Logf("version %s serves after %s; recover said %q", serves, got.took.Round(time.Millisecond), ended)
		})
	}
}

// cutShort has slipway ask the API server through a proxy, and says when it has
// taken in the first call of the kind.
func (f *forge) cutShort(kind string) <-chan struct{} {
	f.t.Helper()
	config, proxy := f.cluster.Proxied(f.t)
	data, err := os.ReadFile(config)
	if err != nil {
		f.t.Fatal(err)
	}
	f.Secrets["KUBECONFIG"] = string(data)
	now := make(chan struct{})
	var once sync.Once
	proxy.After(func(c e2e.APICall) {
		if c.Kind == kind {
			once.Do(func() { close(now) })
		}
	})
	return now
}

// GitHub cancels a step by a SIGINT to its own process, the shell, and to no
// child of it (the runner's ProcessInvoker.cs). The step goes back by itself.
func TestE2EGitHubCancelsAStep(t *testing.T) {
	t.Parallel()
	m := newMeddled(t, 2)
	for _, step := range [][]string{{"extract", m.champion()}, {"validate"}, {"build"}, {"push"}} {
		m.want(0, nil, step...)
	}
	script := filepath.Join(m.home, "step.sh")
	if err := os.WriteFile(script, []byte(stepOf(t, "rollout")), 0o600); err != nil {
		t.Fatal(err)
	}
	step := m.command(t.Context())
	step.Path, step.Args = "/bin/bash", []string{"bash", "--noprofile", "--norc", "-e", "-o", "pipefail", script}
	step.Env = append(step.Env, "PATH="+filepath.Dir(m.program)+":"+os.Getenv("PATH"))
	var said bytes.Buffer
	step.Stdout, step.Stderr = &said, &said
	m.once(inRollout, 1, func() {
		if err := step.Process.Signal(syscall.SIGINT); err != nil {
			t.Error(err)
		}
	})
	if err := step.Run(); step.ProcessState.ExitCode() != 130 {
		t.Errorf("the step ended with %v\n%s", err, &said)
	}
	if m.record().Current != nil { // on a busy machine the seconds of a cancelled step are too few: the step after it goes on
		t.Logf("%s\n%s", &said, m.run("recover", m.target()))
	}
	if record := m.record(); record.Current != nil || record.Live == nil || record.Live.Model.Version != "1" {
		t.Errorf("it did not go back: %+v\n%s", record, &said)
	}
	m.answersLike("1", "logistic")
	m.consistent(m.digests["1"], 2)
}

// stepOf returns the script of a step of the release.
func stepOf(t testing.TB, id string) string {
	t.Helper()
	data, err := os.ReadFile("../.github/workflows/release-model.yml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^ +- id: ` + id + `\n(?: +(?:name|if|env):.*\n)*? +run: (.*)$`).FindSubmatch(data)
	if found == nil {
		t.Fatalf("no step %s in %s", id, data)
	}
	return string(found[1]) + "\n"
}
