//go:build bench

package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// machine is a fresh machine's worth of state: nothing cached, nothing deployed.
type machine struct {
	program, registry, target string
	home                      string // of everything that is kept
	env                       []string
}

func homeIs(dir string) (env []string) {
	for _, v := range []string{"HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR"} {
		env = append(env, v+"="+dir)
	}
	return env
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	return newMachineFor(t, e2e.StartImageRegistry(t))
}

func newMachineFor(t *testing.T, registry string) *machine {
	t.Helper()
	m := &machine{
		program:  filepath.Join(root(t), "bin", "slipway"),
		registry: registry,
		target:   fmt.Sprintf("local://127.0.0.1:%d", freePort(t)),
		home:     t.TempDir(),
	}
	m.env = homeIs(m.home)
	t.Cleanup(func() { m.run(context.Background(), "stop", m.target) })
	return m
}

func (m *machine) run(ctx context.Context, args ...string) ([]byte, int, error) {
	cmd := exec.CommandContext(ctx, m.program, args...)
	cmd.Env = append(os.Environ(), m.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("slipway %s: %w\n%s", strings.Join(args, " "), err, &stderr)
	}
	return stdout.Bytes(), cmd.ProcessState.ExitCode(), err
}

// deploy brings a demo version to the target and returns how that went.
func (m *machine) deploy(t *testing.T, version int, wantCode int, args ...string) (slipway.Release, time.Duration) {
	t.Helper()
	args = append([]string{"deploy", filepath.Join(root(t), fmt.Sprintf("examples/demo/models/iris-%d", version)),
		"--name", "iris", "--image", m.registry + "/iris", "--to", m.target, "-o", "json"}, args...)
	began := time.Now()
	out, code, err := m.run(t.Context(), args...)
	took := time.Since(began)
	if code != wantCode {
		t.Fatalf("exit code %d, want %d: %v", code, wantCode, err)
	}
	return released(t, out), took
}

// released is what a deploy of one target printed as JSON.
func released(t *testing.T, out []byte) slipway.Release {
	t.Helper()
	var answers []struct{ Release slipway.Release }
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != 1 {
		t.Fatalf("reading %s: %v", out, err)
	}
	return answers[0].Release
}

func spent(r slipway.Release, steps ...string) time.Duration {
	var d time.Duration
	for _, s := range r.Spans {
		for _, step := range steps {
			if s.Step == step {
				d += s.Duration
			}
		}
	}
	return d.Round(time.Millisecond)
}

func detail(r slipway.Release, step string) string {
	for _, s := range r.Spans {
		if s.Step == step {
			return s.Detail
		}
	}
	return ""
}

func TestDeploy(t *testing.T) {
	m := newMachine(t)
	first, _ := m.deploy(t, 1, 0)
	next, took := m.deploy(t, 2, 0)
	install := timeInstall(t, filepath.Join(root(t), "examples/demo/models/iris-1"))
	cold := spent(first, "build", "push")
	row(t, "build and push, nothing cached", "≤ 1 s", "%v", cold)
	row(t, "… of pip-installing the requirements alone", "", "%v, %.0f times", install.Round(time.Millisecond), install.Seconds()/cold.Seconds())
	row(t, "image", "≤ 20 MB", "%.1f MB", float64(first.Image.Size)/1e6)
	row(t, "build and push of the next version", "≤ 0.3 s", "%v (%s)", spent(next, "build", "push"), detail(next, "push"))
	row(t, "a whole deploy of a new version", "≤ 3 s", "%v", took.Round(time.Millisecond))
}

// timeInstall is a lower bound of what `mlflow models build-docker` does: the
// model's requirements, nothing cached, without base image, layers and push.
func timeInstall(t *testing.T, model string) time.Duration {
	t.Helper()
	python := e2e.Python(t, "uv==0.13.9")
	venv := filepath.Join(t.TempDir(), "venv")
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `"$UV" venv -q --no-project "$VENV" && "$UV" pip install -q --no-cache --python "$VENV/bin/python" -r requirements.txt`)
	cmd.Dir = model
	cmd.Env = append(os.Environ(), "UV="+filepath.Join(filepath.Dir(python), "uv"), "VENV="+venv)
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("installing the requirements: %v\n%s", err, out)
	}
	return time.Since(began)
}

func TestBadVersionIsGone(t *testing.T) {
	m := newMachine(t)
	m.deploy(t, 1, 0)
	ctx, stop := context.WithCancel(t.Context())
	wrong := make(chan time.Duration)
	go func() { wrong <- m.watch(ctx) }()
	_, took := m.deploy(t, 2, 3, "--server", build(t, "./e2e/bench/wrong"))
	stop()
	row(t, "wrong answers, from the first to the last", "≤ 1 s", "%v", (<-wrong).Round(time.Millisecond))
	row(t, "a bad deploy until the old one is verified", "", "%v", took.Round(time.Millisecond))
}

// watch asks the target all the time until ctx ends and returns the time from
// the first wrong answer to the last.
func (m *machine) watch(ctx context.Context) time.Duration {
	var first, last time.Time
	url := strings.Replace(m.target, "local://", "http://", 1) + "/invocations"
	for ctx.Err() == nil {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(oneRow))
		if err != nil {
			return 0
		}
		req.Header.Set("Content-Type", "application/json")
		r, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		body, _ := io.ReadAll(r.Body) // a cut answer is no wrong one
		r.Body.Close()
		if bytes.Contains(body, []byte("wrong")) {
			if last = time.Now(); first.IsZero() {
				first = last
			}
		}
	}
	return last.Sub(first)
}
