//go:build bench

package bench_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlmodel"
)

const onePickleRow = `{"dataframe_split":{"columns":["sepal_length","sepal_width","petal_length","petal_width"],"data":[[5.1,3.5,1.4,0.2]]}}`

// mlflowServe starts one worker of `mlflow models serve` and returns how long
// it took until it was ready. Its Python has its bytecode compiled.
func mlflowServe(t *testing.T, python, model string) (*process, time.Duration) {
	t.Helper()
	port, bin := strconv.Itoa(freePort(t)), filepath.Dir(python)
	began := time.Now()
	p := start(t, append([]string{"PATH=" + bin + ":" + os.Getenv("PATH")}, quiet...), filepath.Join(bin, "mlflow"),
		"models", "serve", "-m", model, "-h", "127.0.0.1", "-p", port, "-w", "1", "--env-manager", "local")
	p.url = "http://127.0.0.1:" + port
	return p, p.await(t, "/ping", began)
}

// packed is an image of a Python model, unpacked on this machine's disk.
type packed struct {
	dir, python string // python is the interpreter of the peer's environment
}

// packModel has slipway build the image of a model, as it does on any machine
// where wheels are cached, and leave it unpacked.
func packModel(t *testing.T, python, model string) packed {
	t.Helper()
	m := newPythonMachine(t, e2e.ImageRegistry(t))
	m.env = append(m.env, "UV_CACHE_DIR="+filepath.Join(e2e.Cache(t), "uv-cache"))
	base, _ := e2e.PythonBase(t, m.registry)
	r := m.release(t, model, "python", base)
	found, err := filepath.Glob(filepath.Join(m.home, "slipway/local/*/images", strings.TrimPrefix(string(r.Image.Digest), "sha256:")))
	if err != nil || len(found) != 1 {
		t.Fatalf("the unpacked image is not where it was: %v, %v", found, err)
	}
	if _, _, err := m.run(t.Context(), "stop", m.target); err != nil {
		t.Fatal(err)
	}
	return packed{found[0], baseInterpreter(t, python)}
}

// baseInterpreter is that of an environment: the same program, without the
// environment's packages.
func baseInterpreter(t *testing.T, python string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), python, "-c", "import sys; print(sys._base_executable)").Output()
	if err != nil {
		t.Fatalf("asking for the interpreter: %v", err)
	}
	return strings.TrimSpace(string(out))
}

// serve starts the image's own model server with one worker.
func (p packed) serve(t *testing.T) (*process, time.Duration) {
	t.Helper()
	address := fmt.Sprintf("127.0.0.1:%d", freePort(t))
	began := time.Now()
	s := start(t, nil, filepath.Join(p.dir, mlmodel.ImageServer), "--model", filepath.Join(p.dir, mlmodel.ImageModelDir), "--addr", address,
		"--drain-delay", "0s", "--workers", "1", "--python", p.python, "--termination-log", filepath.Join(t.TempDir(), "log"))
	s.url = "http://" + address
	return s, s.await(t, "/ready", began)
}

func (p packed) manifest(t *testing.T) (m mlmodel.Manifest, file string) {
	t.Helper()
	m, err := mlmodel.ReadManifest(filepath.Join(p.dir, mlmodel.ImageModelDir))
	if err != nil || m.Python == nil {
		t.Fatalf("the image is not for Python: %v", err)
	}
	return m, filepath.Join(p.dir, mlmodel.ImageReleaseDir, mlmodel.ManifestFile)
}

// setBatch has the server answer requests together, or one by one.
func (p packed) setBatch(t *testing.T, together bool) {
	t.Helper()
	m, file := p.manifest(t)
	m.Python.Batch = together
	data, err := json.Marshal(m)
	if err == nil {
		err = os.WriteFile(file, data, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestPythonServing serves the same pickle with one worker each.
func TestPythonServing(t *testing.T) {
	python, models := pickles(t)
	image := packModel(t, python, models[0])
	if m, _ := image.manifest(t); !m.Python.Batch {
		t.Fatal("slipway does not see that the model can be asked for many requests together")
	}
	const d = 5 * time.Second
	var starts, theirStarts []time.Duration
	var ours, alone, theirs, even, theirEven []load
	for range 3 {
		peer, took := mlflowServe(t, python, models[0])
		theirStarts = append(theirStarts, took)
		wrk(t, peer.url, onePickleRow, 16, time.Second) // warm
		theirs = append(theirs, wrk(t, peer.url, onePickleRow, 16, d))
		rate := 0.6 * theirs[0].perSecond
		theirEven = append(theirEven, paced(t, peer.url, onePickleRow, rate, d))
		peer.end()

		image.setBatch(t, true)
		s, took := image.serve(t)
		starts = append(starts, took)
		wrk(t, s.url, onePickleRow, 16, time.Second)
		ours = append(ours, wrk(t, s.url, onePickleRow, 16, d))
		even = append(even, paced(t, s.url, onePickleRow, rate, d))
		s.end()

		image.setBatch(t, false)
		s, _ = image.serve(t)
		wrk(t, s.url, onePickleRow, 16, time.Second)
		alone = append(alone, wrk(t, s.url, onePickleRow, 16, d))
		s.end()
	}
	o, a, m := median(ours), median(alone), median(theirs)
	row(t, "pickle, requests/s, mlflow models serve", "≥ 5 times", "%.0f of %.0f = %.1f times", o.perSecond, m.perSecond, o.perSecond/m.perSecond)
	row(t, "… one by one, without batches", "", "%.0f = %.1f times", a.perSecond, a.perSecond/m.perSecond)
	row(t, "… latency at c=16, model server", "", "%v", o)
	row(t, "… without batches", "", "%v", a)
	row(t, "… mlflow models serve", "", "%v", m)
	e, f := calmest(even), calmest(theirEven)
	row(t, "… p99 at 0.6 of MLflow's capacity", "< the peer's", "%v of %v", e.p99.Round(10*time.Microsecond), f.p99.Round(10*time.Microsecond))
	row(t, "… model server, mlflow models serve", "", "%v; %v", e, f)
	so, sm := middle(starts), middle(theirStarts)
	row(t, "… start to ready", "≤ 0.6 of the peer's", "%v of %v = %.2f", so, sm, so.Seconds()/sm.Seconds())
}

// calmest is the load of median p99 over rounds.
func calmest(loads []load) load {
	slices.SortFunc(loads, func(a, b load) int { return int(a.p99 - b.p99) })
	return loads[len(loads)/2]
}

// saveIdle saves a model that answers how long it took itself, in nanoseconds.
const saveIdle = `
import sys
import mlflow.pyfunc
import pandas as pd
from mlflow.models import infer_signature

code = '''
from time import perf_counter_ns
import mlflow.pyfunc
import numpy as np
class Idle(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        began = perf_counter_ns()
        answer = np.zeros(len(model_input))
        return answer + (perf_counter_ns() - began)
mlflow.models.set_model(Idle())
'''
open(sys.argv[2], "w").write(code)
flowers = pd.DataFrame([[5.1, 3.5, 1.4, 0.2]], columns=["sepal_length", "sepal_width", "petal_length", "petal_width"])
mlflow.pyfunc.save_model(sys.argv[1], python_model=sys.argv[2], signature=infer_signature(flowers, [1.0]), input_example=flowers)
`

// TestPythonOverhead measures what is ours of a request to a model that does
// nothing.
func TestPythonOverhead(t *testing.T) {
	python, dir := e2e.Python(t, e2e.ScikitLearn...), t.TempDir()
	model := filepath.Join(dir, "idle")
	runMLflow(t, python, "-c", saveIdle, model, filepath.Join(dir, "idle.py"))
	s, _ := packModel(t, python, model).serve(t)
	wrk(t, s.url, onePickleRow, 1, time.Second)
	var all []load
	for range 3 {
		all = append(all, wrk(t, s.url, onePickleRow, 1, 5*time.Second))
	}
	over := calmest(all)
	own := ownTime(t, s.url)
	row(t, "idle Python model, c=1, p50 over HTTP", "", "%v, of that the model's own %v", over.p50, own)
	row(t, "… what is ours", "≤ 0.3 ms", "%v", (over.p50 - own).Round(time.Microsecond))
}

// ownTime is the median of what the idle model says.
func ownTime(t *testing.T, url string) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 101 {
		r, err := predictOne(url)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	slices.Sort(all)
	return all[50]
}

func predictOne(url string) (time.Duration, error) {
	text, err := ask(http.DefaultClient, url, onePickleRow)
	if err != nil {
		return 0, err
	}
	var answer struct{ Predictions []float64 }
	if err := json.Unmarshal(text, &answer); err != nil || len(answer.Predictions) != 1 {
		return 0, fmt.Errorf("reading %s: %w", text, err)
	}
	return time.Duration(answer.Predictions[0]), nil
}
