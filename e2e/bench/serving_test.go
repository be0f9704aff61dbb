//go:build bench

package bench_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

const oneRow = `{"dataframe_split":{"columns":["sepal_length","sepal_width","petal_length","petal_width","habitat"],"data":[[5.1,3.5,1.4,0.2,"marsh"]]}}`

func TestServing(t *testing.T) {
	model := filepath.Join(root(t), "examples/demo/models/iris-1")
	ours := startModelServer(t, model)
	bare := startBare(t)
	python := e2e.Python(t, requirements(t, model)...)
	mlflow, took := mlflowServe(t, python, model)
	row(t, "mlflow models serve, start to ready", "", "%v", took.Round(time.Millisecond))
	fastapi := startFastAPI(t, python, model)

	var a, b, c, d []load
	for range 3 {
		a, b = append(a, wrk(t, ours.url, oneRow, 16, 10*time.Second)), append(b, wrk(t, bare.url, oneRow, 16, 10*time.Second))
		c, d = append(c, wrk(t, mlflow.url, oneRow, 16, 5*time.Second)), append(d, wrk(t, fastapi.url, oneRow, 16, 5*time.Second))
	}
	o, h, m, f := median(a), median(b), median(c), median(d)
	row(t, "requests/s, bare Go handler", "≥ 0.8 of it", "%.0f of %.0f = %.2f", o.perSecond, h.perSecond, o.perSecond/h.perSecond)
	row(t, "requests/s, mlflow models serve, 1 worker", "≥ 50 times", "%.0f of %.0f = %.0f times", o.perSecond, m.perSecond, o.perSecond/m.perSecond)
	row(t, "requests/s, FastAPI + scikit-learn", "", "%.0f of %.0f = %.0f times", o.perSecond, f.perSecond, o.perSecond/f.perSecond)
	row(t, "latency p50 p99, model server", "", "%v %v", o.p50, o.p99)
	row(t, "latency p50 p99, bare Go handler", "", "%v %v", h.p50, h.p99)
	row(t, "latency p50 p99, mlflow models serve", "", "%v %v", m.p50, m.p99)
	row(t, "latency p50 p99, FastAPI + scikit-learn", "", "%v %v", f.p50, f.p99)
	row(t, "peak memory after 10 s of wrk -c16", "≤ 40 MB", "%.1f MB", float64(ours.peakMemory(t))/1e6)
}

func TestStart(t *testing.T) {
	model := filepath.Join(root(t), "examples/demo/models/iris-1")
	var took []time.Duration
	server := build(t, "./cmd/modelserver")
	for range 9 {
		took = append(took, timeStart(t, server, model))
	}
	slices.Sort(took)
	row(t, "model server, start to ready", "≤ 50 ms", "%v (median of 9, %v to %v)", took[4].Round(100*time.Microsecond), took[0].Round(100*time.Microsecond), took[8].Round(100*time.Microsecond))
}

func timeStart(t *testing.T, server, model string) time.Duration {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	began := time.Now()
	p := start(t, nil, server, "--model", model, "--addr", address, "--drain-delay", "0s", "--termination-log", filepath.Join(t.TempDir(), "log"))
	p.url = "http://" + address
	defer p.end()
	return p.await(t, "/ready", began)
}

func startModelServer(t *testing.T, model string) *process {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	p := start(t, nil, build(t, "./cmd/modelserver"), "--model", model, "--addr", address, "--drain-delay", "0s")
	p.url = "http://" + address
	p.await(t, "/ready", time.Now())
	return p
}

func startBare(t *testing.T) *process {
	t.Helper()
	p := &process{}
	cmd := exec.Command(build(t, "./e2e/bench/bare"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	p.url = "http://" + strings.TrimSpace(line)
	return p
}

func startFastAPI(t *testing.T, python, model string) *process {
	t.Helper()
	port := strconv.Itoa(freePort(t))
	p := start(t, []string{"MODEL_DIR=" + model}, python, "-m", "uvicorn", "--app-dir", "testdata", "fastapi_app:app",
		"--host", "127.0.0.1", "--port", port, "--log-level", "error")
	p.url = "http://127.0.0.1:" + port
	p.await(t, "/ping", time.Now())
	return p
}

// requirements are the model's own pins and what serves it.
func requirements(t *testing.T, model string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(model, "requirements.txt"))
	if err != nil {
		t.Fatal(err)
	}
	return append(strings.Fields(string(data)), "fastapi", "uvicorn")
}
