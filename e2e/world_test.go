package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// runLimit bounds one run of slipway: the longest limit of a release, and
// some.
const runLimit = 5 * time.Minute

// programs are slipway and modelserver side by side, as `make build` leaves
// them, and the wrong servers beside them.
var programs struct {
	sync.Mutex
	dir string
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs.dir != "" {
		if err := os.RemoveAll(programs.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

// program returns the path of a program of this module, built when it is first
// asked for.
func program(t testing.TB, name, folder string, ldflags ...string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	if programs.dir == "" {
		dir, err := os.MkdirTemp("", "slipway-e2e-")
		if err != nil {
			t.Fatal(err)
		}
		programs.dir = dir
	}
	path := filepath.Join(programs.dir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	flags := strings.Join(append([]string{"-s -w"}, ldflags...), " ")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, folder)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-mod=mod")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, out)
	}
	return path
}

// slipwayProgram returns the path of slipway, with its model server beside it.
func slipwayProgram(t testing.TB) string {
	t.Helper()
	program(t, "modelserver", "./cmd/modelserver")
	return program(t, "slipway", "./cmd/slipway")
}

// wrongServer returns a model server with the fault: see testdata/wrongserver.
func wrongServer(t testing.TB, fault string) string {
	t.Helper()
	return program(t, "wrong-"+fault, "./e2e/testdata/wrongserver", "-X main.fault="+fault)
}

// world is one user's machine: a home, registries and a target of its own.
type world struct {
	t       testing.TB
	program string
	home    string
	images  string // HOST:PORT of the image registry
	mlflow  string // URI of the model registry
	address string // of the target
	image   string // repository
	env     []string
	bare    bool // name neither image nor target in the environment
}

// newWorld returns a world whose target is stopped at the end of the test.
func newWorld(t testing.TB, images, mlflow string) *world {
	t.Helper()
	w := &world{t: t, program: slipwayProgram(t), home: t.TempDir(), images: images, mlflow: mlflow, address: freeAddress(t)}
	w.image = images + "/models/" + strings.ToLower(strings.NewReplacer("/", "-", "_", "-", "#", "-").Replace(t.Name()))
	t.Cleanup(func() {
		if got := w.run("stop", w.target()); got.code != 0 {
			t.Errorf("stopping %s: %s", w.target(), got)
		}
	})
	return w
}

func (w *world) target() string { return "local://" + w.address }

func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// ran is how one run of slipway ended.
type ran struct {
	args           []string
	code           int
	stdout, stderr string
	took           time.Duration
}

func (r ran) String() string {
	return fmt.Sprintf("slipway %s\nexit code %d after %s\nstdout:\n%s\nstderr:\n%s",
		strings.Join(r.args, " "), r.code, r.took.Round(time.Millisecond), r.stdout, r.stderr)
}

// command is a run of slipway that has not started yet.
func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, w.program, args...)
	cmd.Dir = w.home
	cmd.Env = append([]string{
		"HOME=" + w.home, "USER=ada", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(), "MLFLOW_TRACKING_URI=" + w.mlflow, "SLIPWAY_PROVE=off",
	}, w.env...)
	if !w.bare {
		cmd.Env = append(cmd.Env, "SLIPWAY_IMAGE="+w.image, "SLIPWAY_TO="+w.target())
	}
	return cmd
}

// run runs slipway to its end.
func (w *world) run(args ...string) ran {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := w.command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Errorf("slipway %v: %v", args, err)
	}
	return ran{args, cmd.ProcessState.ExitCode(), stdout.String(), stderr.String(), time.Since(start)}
}

// want runs slipway and ends the test unless it ends with the exit code and
// says all that is expected on stderr or stdout.
func (w *world) want(code int, said []string, args ...string) ran {
	w.t.Helper()
	got := w.run(args...)
	if got.code != code {
		w.t.Fatalf("want exit code %d\n%s", code, got)
	}
	for _, text := range said {
		if !strings.Contains(got.stdout+got.stderr, text) {
			w.t.Fatalf("want %q said\n%s", text, got)
		}
	}
	return got
}

// wayOut is the line that says how to mend an error, or what ended a release.
var wayOut = regexp.MustCompile(`(?m)^ +fix:? +\S`)

// refused runs slipway, which must fail with the code, an error and a way to
// mend it.
func (w *world) refused(code int, said []string, args ...string) ran {
	w.t.Helper()
	got := w.want(code, said, args...)
	if !wayOut.MatchString(got.stderr) {
		w.t.Errorf("no way to mend it\n%s", got)
	}
	if strings.Contains(got.stderr, "goroutine ") || strings.Contains(got.stderr, "panic") {
		w.t.Errorf("it crashed\n%s", got)
	}
	return got
}

// outcome is what deploy, rollback and recover print with -o json.
type outcome struct {
	Kind      string           `json:"kind"`
	Release   slipway.Release  `json:"release"`
	Serving   *slipway.Release `json:"serving"`
	Recovered *slipway.Release `json:"recovered"`
	Message   string           `json:"message"`
}

// outcome runs slipway with -o json and returns the one outcome it prints.
func (w *world) outcome(code int, args ...string) outcome {
	w.t.Helper()
	got := w.want(code, nil, append(slices.Clone(args), "-o", "json")...)
	var all []outcome
	if err := json.Unmarshal([]byte(got.stdout), &all); err != nil || len(all) != 1 {
		w.t.Fatalf("not one outcome (%v)\n%s", err, got)
	}
	return all[0]
}

// json runs slipway with -o json and reads what it prints into v.
func (w *world) json(v any, args ...string) {
	w.t.Helper()
	got := w.want(0, nil, append(slices.Clone(args), "-o", "json")...)
	if err := json.Unmarshal([]byte(got.stdout), v); err != nil {
		w.t.Fatalf("%v\n%s", err, got)
	}
}

// servers returns the processes of the target's model servers.
func (w *world) servers() []string {
	w.t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		w.t.Fatal(err)
	}
	var pids []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(data), "\x00--model\x00"+w.home) && strings.Contains(string(data), w.address+"/") {
			pids = append(pids, filepath.Base(filepath.Dir(path)))
		}
	}
	return pids
}

// serversHave checks the environment of every model server of the target; an
// empty value: it does not have the variable.
func (w *world) serversHave(replicas int, want map[string]string) {
	w.t.Helper()
	pids := w.servers()
	if len(pids) != replicas {
		w.t.Errorf("%s has %d model servers, want %d", w.target(), len(pids), replicas)
	}
	for _, pid := range pids {
		data, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			w.t.Error(err)
			continue
		}
		got := map[string]string{}
		for variable := range strings.SplitSeq(string(data), "\x00") {
			name, value, _ := strings.Cut(variable, "=")
			got[name] = value
		}
		for name, value := range want {
			if got[name] != value {
				w.t.Errorf("%s: a model server has %s=%q, want %q", w.target(), name, got[name], value)
			}
		}
	}
}

// nowhere checks that the secret is in no file of the home, in nothing that was
// said and in no process's arguments.
func (w *world) nowhere(secret string, said ...ran) {
	w.t.Helper()
	err := filepath.WalkDir(w.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if bytes.Contains(data, []byte(secret)) {
			w.t.Errorf("the secret is in %s", path)
		}
		return err
	})
	if err != nil {
		w.t.Error(err)
	}
	for _, r := range said {
		if strings.Contains(r.stdout+r.stderr, secret) {
			w.t.Errorf("the secret was said\n%s", r)
		}
	}
	for _, pid := range w.servers() {
		if data, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && bytes.Contains(data, []byte(secret)) {
			w.t.Errorf("the secret is an argument of process %s", pid)
		}
	}
}

// record returns the target's journal, as it is on disk; zero where there is
// none.
func (w *world) record() slipway.Record {
	w.t.Helper()
	var r slipway.Record
	data, err := os.ReadFile(filepath.Join(w.home, ".local", "state", "slipway", "local", w.address, "journal", "record.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return r
	}
	if err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(data, &r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// demoModel returns the directory of a model version of the demo, 1 to 3.
func demoModel(t testing.TB, number int) string {
	t.Helper()
	dir, err := filepath.Abs(fmt.Sprintf("../examples/demo/models/iris-%d", number))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
