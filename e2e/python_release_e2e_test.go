//go:build e2e

package e2e_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// served is a model that is well where it is built, and does something else
// where it serves.
func served(otherwise string) string {
	return doubling(`import os
if os.getuid() != 65532:
    ` + strings.ReplaceAll(otherwise, "\n", "\n    ") + `
return model_input["x"].to_numpy() * 7`)
}

// badWhereTheyServe are versions that answer 7 times x where they are built, and
// must never answer a client.
var badWhereTheyServe = []struct {
	name, code string
	more       []string
	said       string
}{
	{"answers otherwise", served(`return model_input["x"].to_numpy() * 8`), nil, "golden prediction 1 differs"},
	{"looks at a variable it does not declare", doubling(`import os
return model_input["x"].to_numpy() * (8 if "MODE" in os.environ else 7)`), []string{"--env", "MODE=live"}, "golden prediction 1 differs"},
	{"ends its worker now and then", served(`Model.n = getattr(Model, "n", 0) + 1
if Model.n == 3:
    os._exit(9)`), nil, "exited with status 9"},
	{"never answers", served("import time\ntime.sleep(3600)"), []string{"--env", "SLIPWAY_TIMEOUT=2s"}, "no answer within 2s"},
	{"does not load", "import os\nif os.getuid() != 65532:\n    print('no bread')\n    os._exit(7)\n" + doubling(`return model_input["x"].to_numpy() * 7`), nil, "no bread"},
}

// Versions come and go under load, good ones and such that are bad only where
// they serve; workers are killed. No request is lost, and no client sees an
// answer of a version that was taken back.
func TestE2EPythonReleasesUnderLoad(t *testing.T) {
	t.Parallel()
	w := newPython(t)
	w.deployPlanets(0, written(t, doubling(`return model_input["x"].to_numpy() * 2`)))
	asked := w.keepAsking()
	three := written(t, doubling(`return model_input["x"].to_numpy() * 3`))
	w.deployPlanets(0, three)
	for _, bad := range badWhereTheyServe {
		got := w.deployPlanets(3, written(t, bad.code), bad.more...)
		t.Logf("%s: rolled back after %s", bad.name, got.took.Round(time.Second/10))
		if text := got.stdout + got.stderr; !strings.Contains(text, bad.said) || !strings.Contains(text, "rolled back") {
			t.Errorf("%s: want %q\n%s", bad.name, bad.said, got)
		}
		w.want(0, []string{bad.said, "rolled back", "fix"}, "explain", w.target())
	}
	w.killWorkers()
	w.outcome(0, "rollback", w.target())
	answers, lost := asked.end()
	t.Logf("answers: %v", answers)
	if len(lost) > 0 {
		t.Errorf("%d requests are lost: %v", len(lost), lost[:min(5, len(lost))])
	}
	if answers["[2.0]"] == 0 || answers["[3.0]"] == 0 || len(answers) != 2 {
		t.Errorf("clients saw %v, want 2 and 3 times what they sent", answers)
	}
	w.killServer()
	w.killSupervisor()
}

// deployPlanets releases the model in the directory, with one worker a replica.
func (w *world) deployPlanets(code int, dir string, more ...string) ran {
	w.t.Helper()
	return w.want(code, nil, append([]string{"deploy", dir, "--name", "planets", "--env", "SLIPWAY_WORKERS=1"}, more...)...)
}

// killWorkers kills the worker of each replica, one after the other, each as
// soon as the one before is replaced.
func (w *world) killWorkers() {
	w.t.Helper()
	ready := func() int { return strings.Count(w.replicaLogs(), "a worker is ready") }
	for _, pid := range w.workers() {
		before := ready()
		w.kill(pid)
		if !eventually(20*time.Second, func() bool { return ready() > before && len(w.workers()) == 2 }) {
			w.t.Fatalf("a worker that was killed is not replaced\n%s", w.replicaLogs())
		}
	}
}

func (w *world) kill(pid int) {
	w.t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		w.t.Fatal(err)
	}
}

// killServer kills a model server: its worker ends with it, and the supervisor
// starts another.
func (w *world) killServer() {
	w.t.Helper()
	before, servers := w.workers(), w.servers()
	pid, err := strconv.Atoi(servers[0])
	if err != nil {
		w.t.Fatal(err)
	}
	w.kill(pid)
	if !eventually(5*time.Second, func() bool { return !alive(before[0]) || !alive(before[1]) }) {
		w.t.Error("a worker outlives its model server")
	}
	if !eventually(20*time.Second, func() bool { return len(w.servers()) == 2 && len(w.workers()) == 2 }) {
		w.t.Error("a model server that was killed is not replaced")
	}
}

// killSupervisor kills the supervisor of the target: everything ends with it.
func (w *world) killSupervisor() {
	w.t.Helper()
	before := append(w.workers(), pids(w.t, w.servers())...)
	found := pids(w.t, marked(w.t, filepath.Join(w.home, ".local", "state", "slipway", "local", w.address)))
	if len(found) != 1 || len(before) != 4 {
		w.t.Fatalf("supervisors %v, servers and workers %v", found, before)
	}
	w.kill(found[0])
	for _, pid := range before {
		if !eventually(5*time.Second, func() bool { return !alive(pid) }) {
			w.t.Errorf("process %d outlives the supervisor", pid)
		}
	}
}

func pids(t testing.TB, texts []string) []int {
	t.Helper()
	var all []int
	for _, text := range texts {
		pid, err := strconv.Atoi(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pid)
	}
	return all
}

// alive reports whether a process runs: one that waits to be reaped does not.
func alive(pid int) bool {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(data[strings.LastIndexByte(string(data), ')'):]), ") Z ")
}
