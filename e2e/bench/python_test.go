//go:build bench

package bench_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// savePickles saves a version of the model into each folder, all of them of one
// environment.
const savePickles = `
import sys
import mlflow.sklearn
from mlflow.models import infer_signature
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

iris = load_iris(as_frame=True)
flowers = iris.data.set_axis(["sepal_length", "sepal_width", "petal_length", "petal_width"], axis=1)
for version, folder in enumerate(sys.argv[1:], 1):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1 / version)).fit(flowers, iris.target)
    mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle",
        signature=infer_signature(flowers, model.predict(flowers)), input_example=flowers.head(2))
`

// pickles returns the Python that made the versions of a pickled model, which
// can also serve them, and their folders.
func pickles(t *testing.T) (python string, versions []string) {
	t.Helper()
	python = e2e.Python(t, e2e.ScikitLearn...)
	dir := t.TempDir()
	for _, name := range []string{"1", "2", "3", "4"} {
		versions = append(versions, filepath.Join(dir, "pickle-"+name))
	}
	runMLflow(t, python, append([]string{"-c", savePickles}, versions...)...)
	return python, versions
}

// runMLflow runs a program of MLflow's environment to its end.
func runMLflow(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), quiet...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

// quiet keeps MLflow from calling home.
var quiet = []string{"MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true"}

func TestPythonImage(t *testing.T) {
	python, models := pickles(t)
	engine := e2e.Docker(t)
	p := measurePeer(t, engine, python, models)
	p.rows(t, engine.Version)

	m := newPythonMachine(t, e2e.StartImageRegistry(t))
	base := m.copyBase(t, engine, p.from)
	m.release(t, models[0], "python", base).rows(t, p)
	m.nextRow(t, models[1:], base, p)
	m.coldRow(t, models[3], base)
	native := m.release(t, models[0], "auto", "")
	if native.Engine != "sklearn" {
		t.Fatalf("the model is served by %s", native.Engine)
	}
	row(t, "the same pickle converted and native, image", "≤ 25 MB", "%.1f MB of %.0f MB", float64(native.Image.Size)/1e6, float64(p.compressed)/1e6)
	row(t, "… build and push, of that the check", "", "%.1f s, %.1f s", native.toPushed().Seconds(), native.check(t).Seconds())
}

// newPythonMachine is a fresh machine with uv, which knows no package yet.
func newPythonMachine(t *testing.T, registry string) *machine {
	t.Helper()
	m := newMachineFor(t, registry)
	m.env = append(m.env, "UV_CACHE_DIR="+t.TempDir(), "PATH="+filepath.Dir(e2e.UV(t))+":"+os.Getenv("PATH"))
	return m
}

// copyBase brings a base image of the peer's to the machine's image registry:
// both start from the same one.
func (m *machine) copyBase(t *testing.T, engine *e2e.DockerEngine, from string) string {
	t.Helper()
	base := m.registry + "/" + from
	engine.Run(t, "tag", from, base)
	engine.Run(t, "push", base)
	return base
}

// made is a release of a Python model and what it cost.
type made struct{ slipway.Release }

// release deploys a model directory to the target.
func (m *machine) release(t *testing.T, model, engine, base string) made {
	t.Helper()
	args := []string{"deploy", model, "--name", "pickle", "--image", m.registry + "/pickle", "--to", m.target, "--replicas", "1", "--engine", engine, "-o", "json"}
	if base != "" {
		args = append(args, "--base", base)
	}
	out, _, err := m.run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return made{released(t, out)}
}

// toPushed is the time from the model's files to the image in the image
// registry. Validating counts, for it resolves the requirements.
func (r made) toPushed() time.Duration { return spent(r.Release, "validate", "build", "push") }

// check is how long of that the model was loaded and asked: what its library
// takes for that, whatever builds the image.
func (r made) check(t *testing.T) time.Duration {
	t.Helper()
	_, text, found := strings.Cut(detail(r.Release, "build"), ", checked in ")
	d, err := time.ParseDuration(strings.ReplaceAll(text, " ", ""))
	if !found || err != nil {
		t.Fatalf("build does not say how long its check took: %q: %v", detail(r.Release, "build"), err)
	}
	return d
}

func (r made) besides(t *testing.T) time.Duration { return r.toPushed() - r.check(t) }

// rows are those of the first version.
func (r made) rows(t *testing.T, p peer) {
	t.Helper()
	image := r.Image.Ref()
	theirs, size, full := p.build+p.push, sum(compressed(t, image)), unpacked(t, image)
	row(t, "pickle on Python, cold: build and push", "≤ 20 s", "%.1f s of %.1f s = %.2f", r.toPushed().Seconds(), theirs.Seconds(), r.toPushed().Seconds()/theirs.Seconds())
	row(t, "… resolving, building, pushing; the check", "", "%.1f s, %.1f s, %.1f s; %.1f s", spent(r.Release, "validate").Seconds(),
		spent(r.Release, "build").Seconds(), spent(r.Release, "push").Seconds(), r.check(t).Seconds())
	row(t, "… image compressed", "≤ 0.40 of the peer's", "%.0f of %.0f MB = %.2f", float64(size)/1e6, float64(p.compressed)/1e6, float64(size)/float64(p.compressed))
	row(t, "… image unpacked", "≤ 0.40 of the peer's", "%.0f of %.0f MB = %.2f", float64(full)/1e6, float64(p.unpacked)/1e6, float64(full)/float64(p.unpacked))
}

// nextRow releases more versions of the same environment.
func (m *machine) nextRow(t *testing.T, models []string, base string, p peer) {
	t.Helper()
	var all []made
	for _, model := range models {
		all = append(all, m.release(t, model, "python", base))
	}
	r := middleOf(t, all)
	row(t, "… next version, build and push", "", "%v of the peer's %.1f s", r.toPushed(), p.next.Seconds())
	row(t, "… besides the check", "≤ 1 s", "%v (median of %d)", r.besides(t), len(all))
	row(t, "… uploaded", "", "%s", detail(r.Release, "push"))
}

// coldRow releases what there is already, on machines that know nothing and
// reach no package index.
func (m *machine) coldRow(t *testing.T, model, base string) {
	t.Helper()
	want := m.release(t, model, "python", base).Image.Digest
	var all []made
	for range 3 {
		cold := newPythonMachine(t, m.registry)
		cold.env = append(cold.env, "UV_DEFAULT_INDEX=http://127.0.0.1:9/simple", "UV_INDEX=", "UV_FIND_LINKS=", "PIP_FIND_LINKS=")
		r := cold.release(t, model, "python", base)
		if r.Image.Digest != want {
			t.Fatalf("a cold machine makes %s of what is %s", r.Image.Digest, want)
		}
		all = append(all, r)
	}
	r := middleOf(t, all)
	row(t, "cold machine, no index, same digest: build+push", "", "%v, the check %v", r.toPushed(), r.check(t))
	row(t, "… besides the check", "≤ 2 s", "%v (median of %d)", r.besides(t), len(all))
}

// middleOf is the release of median time besides the check.
func middleOf(t *testing.T, all []made) made {
	t.Helper()
	slices.SortFunc(all, func(a, b made) int { return int(a.besides(t) - b.besides(t)) })
	return all[len(all)/2]
}
