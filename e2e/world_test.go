package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
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
		"HOME=" + w.home, "USER=ada", "PATH=" + os.Getenv("PATH"), "TMPDIR=" + os.TempDir(),
		"MLFLOW_TRACKING_URI=" + w.mlflow, "SLIPWAY_IMAGE=" + w.image, "SLIPWAY_TO=" + w.target(),
	}, w.env...)
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

// refused runs slipway, which must fail with the code, an error and a way to
// mend it.
func (w *world) refused(code int, said []string, args ...string) ran {
	w.t.Helper()
	got := w.want(code, said, args...)
	if !strings.Contains(got.stderr, "error: ") || !strings.Contains(got.stderr, "\n  fix: ") {
		w.t.Errorf("no error with a fix\n%s", got)
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

// record returns the target's journal, as it is on disk.
func (w *world) record() slipway.Record {
	w.t.Helper()
	var r slipway.Record
	paths, err := filepath.Glob(filepath.Join(w.home, ".local", "state", "slipway", "local", "*", "journal", "record.json"))
	if err != nil || len(paths) == 0 {
		return r
	}
	data, err := os.ReadFile(paths[0])
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
