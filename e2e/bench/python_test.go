//go:build bench

package bench_test

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

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

// pickles returns the Python that made two versions of a pickled model, which
// can also serve them, and their folders.
func pickles(t *testing.T) (python string, models [2]string) {
	t.Helper()
	python = e2e.Python(t, e2e.ScikitLearn...)
	dir := t.TempDir()
	models = [2]string{filepath.Join(dir, "pickle-1"), filepath.Join(dir, "pickle-2")}
	runMLflow(t, python, "-c", savePickles, models[0], models[1])
	return python, models
}

// runMLflow runs a program of MLflow's environment to its end.
func runMLflow(t *testing.T, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(program), err, out)
	}
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

// peer is what MLflow and Docker need for a Python model.
type peer struct {
	generate, build, push time.Duration // nothing cached but the base image
	next                  time.Duration // build and push of a second version of the same environment
	compressed, unpacked  int64         // the image, bytes
	base, baseUnpacked    int64         // … of that the base image, a stand-in for Docker Hub's
}

// measurePeer does what MLflow's users do: generate-dockerfile, docker build
// and docker push.
func measurePeer(t *testing.T, engine *e2e.DockerEngine, python string, models [2]string) (p peer) {
	t.Helper()
	repository := e2e.StartImageRegistry(t) + "/pickle"
	var dir string
	p.generate = timed(func() { dir = generateDockerfile(t, python, models[0]) })
	base := baseOf(t, dir)
	engine.ImportPython(t, base) // Docker's users have pulled it before
	image := repository + ":1"
	p.build = timed(func() { engine.Run(t, "build", "--network", "host", "--no-cache", "-t", image, dir) })
	p.push = timed(func() { engine.Run(t, "push", image) })
	next := repository + ":2"
	dir = generateDockerfile(t, python, models[1])
	p.next = timed(func() {
		engine.Run(t, "build", "--network", "host", "-t", next, dir)
		engine.Run(t, "push", next)
	})
	layers := compressed(t, image)
	own := inspect(t, engine, base, "{{len .RootFS.Layers}}")
	p.compressed, p.base = sum(layers), sum(layers[:own])
	p.unpacked, p.baseUnpacked = inspect(t, engine, image, "{{.Size}}"), inspect(t, engine, base, "{{.Size}}")
	return p
}

func generateDockerfile(t *testing.T, python, model string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "docker")
	runMLflow(t, filepath.Join(filepath.Dir(python), "mlflow"), "models", "generate-dockerfile", "-m", model, "-d", dir)
	return dir
}

var fromLine = regexp.MustCompile(`(?m)^FROM (python:\S+)$`)

// baseOf is the image that the Dockerfile starts from.
func baseOf(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from := fromLine.FindSubmatch(content)
	if from == nil {
		t.Fatalf("MLflow's Dockerfile is not what it was: it does not start from python:X.Y-slim\n%s", content)
	}
	return string(from[1])
}

func inspect(t *testing.T, engine *e2e.DockerEngine, image, format string) int64 {
	t.Helper()
	out := engine.Run(t, "image", "inspect", "--format", format, image)
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		t.Fatalf("docker says %q of %s", out, image)
	}
	return n
}

func fetch(t *testing.T, image string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("the image registry has no %s: %v", image, err)
	}
	return img
}

// compressed are the sizes of an image's layers in the image registry, bytes.
func compressed(t *testing.T, image string) (sizes []int64) {
	t.Helper()
	manifest, err := fetch(t, image).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		sizes = append(sizes, l.Size)
	}
	return sizes
}

// unpacked is how much the layers of an image hold, bytes: what Docker says and
// the headers of their tars.
func unpacked(t *testing.T, image string) (size int64) {
	t.Helper()
	layers, err := fetch(t, image).Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		size += n
	}
	return size
}

func sum(sizes []int64) (all int64) {
	for _, s := range sizes {
		all += s
	}
	return all
}

func TestPythonImage(t *testing.T) {
	python, models := pickles(t)
	engine := e2e.Docker(t)
	p := measurePeer(t, engine, python, models)
	row(t, "MLflow + Docker "+engine.Version+", nothing cached", "", "%.1f s + %.1f s push (generate %.1f s)", p.build.Seconds(), p.push.Seconds(), p.generate.Seconds())
	row(t, "… next version, build and push", "", "%.1f s", p.next.Seconds())
	row(t, "… image compressed, unpacked", "", "%.0f MB, %.0f MB", float64(p.compressed)/1e6, float64(p.unpacked)/1e6)
	row(t, "… of that the base image", "", "%.0f MB, %.0f MB", float64(p.base)/1e6, float64(p.baseUnpacked)/1e6)

	// OURS, to be completed by whoever writes the command line: the same model
	// on the same base image. Missing here: the check's share of build as a
	// figure of its own, and a cold runner (a new machine with the registry of
	// this one). Until then each row is with the check.
	m := newPythonMachine(t)
	base := m.registry + "/" + baseOf(t, generateDockerfile(t, python, models[0]))
	engine.Run(t, "tag", strings.TrimPrefix(base, m.registry+"/"), base)
	engine.Run(t, "push", base)
	first := m.bring(t, models[0], "--engine", "python", "--base", base)
	next := m.bring(t, models[1], "--engine", "python", "--base", base)
	image := first.Image.Ref()
	cold, size, full := spent(first, "build", "push"), sum(compressed(t, image)), unpacked(t, image)
	row(t, "pickle, Python engine, build and push", "≤ 20 s", "%.1f s of %.1f s = %.2f", cold.Seconds(), (p.build + p.push).Seconds(), cold.Seconds()/(p.build+p.push).Seconds())
	row(t, "… next version, with the check", "≤ 1 s besides it", "%v (%s)", spent(next, "build", "push"), detail(next, "push"))
	row(t, "… image compressed", "≤ 0.40 of the peer's", "%.0f of %.0f MB = %.2f", float64(size)/1e6, float64(p.compressed)/1e6, float64(size)/float64(p.compressed))
	row(t, "… image unpacked", "≤ 0.40 of the peer's", "%.0f of %.0f MB = %.2f", float64(full)/1e6, float64(p.unpacked)/1e6, float64(full)/float64(p.unpacked))
	native := m.bring(t, models[0], "--engine", "native")
	row(t, "the same model converted and native, image", "≤ 25 MB", "%.1f MB", float64(native.Image.Size)/1e6)
}

// newPythonMachine is a fresh machine with uv, which knows no package yet.
func newPythonMachine(t *testing.T) *machine {
	t.Helper()
	m := newMachine(t)
	m.env = append(m.env, "UV_CACHE_DIR="+t.TempDir(), "PATH="+filepath.Dir(e2e.UV(t))+":"+os.Getenv("PATH"))
	return m
}

// bring deploys a model directory to the target.
func (m *machine) bring(t *testing.T, model string, args ...string) slipway.Release {
	t.Helper()
	args = append([]string{"deploy", model, "--name", "pickle", "--image", m.registry + "/pickle", "--to", m.target, "-o", "json"}, args...)
	out, _, err := m.run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	var answers []struct{ Release slipway.Release }
	if err := json.Unmarshal(out, &answers); err != nil || len(answers) != 1 {
		t.Fatalf("reading %s: %v", out, err)
	}
	return answers[0].Release
}
