//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// newPython returns a world with uv at hand, and a base with Python in its
// image registry. Environments are made once for all tests.
func newPython(t testing.TB) *world {
	t.Helper()
	w := newWorld(t, e2e.ImageRegistry(t), "")
	w.usePython()
	return w
}

func (w *world) usePython() {
	w.t.Helper()
	base, _ := e2e.PythonBase(w.t, w.images)
	for _, v := range os.Environ() { // how this machine reaches its package index
		if name, _, _ := strings.Cut(v, "="); regexp.MustCompile(`^(PIP|UV|SSL)_|_(proxy|PROXY)$`).MatchString(name) {
			w.env = append(w.env, v)
		}
	}
	w.env = append(w.env, "XDG_CACHE_HOME="+filepath.Join(filepath.Dir(w.program), "cache"), "SLIPWAY_BASE="+base, "PATH="+filepath.Dir(e2e.UV(w.t))+":"+os.Getenv("PATH"),
		"UV_CACHE_DIR="+filepath.Join(e2e.Cache(w.t), "uv-cache"), "SLIPWAY_PROVE=auto")
}

// A pickled model of classes that are known is turned into data where it is
// built, proved equal to scikit-learn there, and served without Python.
func TestE2EAPickleIsServedNatively(t *testing.T) {
	t.Parallel()
	w := newPython(t)
	for i, name := range []string{"pickle-1", "odds"} {
		dir, m := saved(t, name)
		got := w.outcome(0, "deploy", dir, "--name", "iris")
		r := got.Release
		if got.Kind != "live" || r.Engine != "sklearn" || r.Golden != slipway.Proved || !strings.HasPrefix(r.GoldenBy, "scikit-learn 1.9.1") {
			t.Fatalf("%s: %+v", name, got)
		}
		if i == 0 && r.Image.Size > 25<<20 {
			t.Errorf("the image has %d bytes", r.Image.Size)
		}
		w.answers(m)
	}
	if got := w.run("status", w.target()); !strings.Contains(got.stdout, "proved by scikit-learn 1.9.1") {
		t.Errorf("status does not say how it was proved\n%s", got)
	}
}

// answers checks that the target answers as scikit-learn did.
func (w *world) answers(m logged) {
	w.t.Helper()
	got, err := ask(fresh, w.address, m.Requests)
	if err != nil {
		w.t.Fatal(err)
	}
	if d := differsJSON(m.Answers, got.predictions); d != "" {
		w.t.Error(d)
	}
}

// What the native engine does not know is served by Python, with the packages
// that the model was saved with. The next version of the same environment
// brings one layer of its own; a machine that has nothing composes the image
// without a package index.
func TestE2EPythonServesTheRest(t *testing.T) {
	t.Parallel()
	w := newPython(t)
	dir, m := saved(t, "svc")
	first := w.outcome(0, "deploy", dir, "--name", "iris")
	if r := first.Release; first.Kind != "live" || r.Engine != "python" || r.Golden != slipway.Proved {
		t.Fatalf("%+v", first)
	}
	w.answers(m)
	dir, m = saved(t, "pickle-2")
	next := w.want(0, []string{" is live"}, "deploy", dir, "--name", "iris", "--engine", "python")
	if !strings.Contains(next.stderr, "2 of ") {
		t.Errorf("more than the model and its release was uploaded\n%s", next)
	}
	w.answers(m)

	dir, _ = saved(t, "pickle-1")
	other := w.want(0, []string{" is live"}, "deploy", dir, "--name", "iris", "--engine", "python", "--image", w.image+"-too")
	if !strings.Contains(other.stderr, "  3 of ") { // server, model and release; base and packages are mounted
		t.Errorf("more than server, model and release was uploaded to another repository\n%s", other)
	}

	dir, m = saved(t, "pickle-2")
	w.want(0, []string{" is live"}, "deploy", dir, "--name", "iris", "--engine", "python")
	cold := newWorld(t, w.images, "")
	cold.usePython()
	cold.image = w.image
	cold.env = append(cold.env, "XDG_CACHE_HOME="+t.TempDir(), "UV_CACHE_DIR="+t.TempDir(), "UV_DEFAULT_INDEX=http://127.0.0.1:9/simple", "UV_OFFLINE=1")
	again := cold.outcome(0, "deploy", dir, "--name", "iris", "--engine", "python")
	if again.Kind != "live" || again.Release.Image.Digest != w.record().Live.Image.Digest {
		t.Errorf("the same model on a cold machine: %s, and %s", again.Release.Image.Digest, w.record().Live.Image.Digest)
	}
	cold.answers(m)
}

// Each model of the kinds that MLflow has becomes live and answers its own
// example as the library that made it.
func TestE2EEveryKindOfModel(t *testing.T) {
	t.Parallel()
	all, err := filepath.Glob("../serving/python/testdata/models/*/MLmodel")
	if err != nil || len(all) < 13 {
		t.Fatalf("%d models: %v", len(all), err)
	}
	w := newPython(t)
	for _, file := range all {
		dir, err := filepath.Abs(filepath.Dir(file))
		if err != nil {
			t.Fatal(err)
		}
		args := []string{"deploy", dir, "--cpu", "--replicas", "1"}
		if _, err := os.Stat(filepath.Join(dir, "environment_variables.txt")); err == nil {
			args = append(args, "--env", "SOME_API_KEY=given")
		}
		got := w.outcome(0, args...)
		if got.Kind != "live" || got.Release.Golden != slipway.Proved {
			t.Errorf("%s: %+v", dir, got)
		}
	}
}

// What is wrong with a model is said before anything is pushed.
func TestE2EPythonModelsThatCannotBe(t *testing.T) {
	t.Parallel()
	w := newPython(t)
	tests := []struct {
		name, code string
		change     func(dir string)
		args, said []string
	}{
		{name: "a module that its requirements lack", code: "import fancylib\n" + doubling("return model_input['x']"), said: []string{"fancylib", "requirements"}},
		{name: "it raises on its own example", code: doubling("raise ValueError('no such planet')"), said: []string{"no such planet", "input_example"}},
		{name: "it ends the process", code: doubling("import os\nos._exit(3)"), said: []string{"ended"}},
		{name: "as many answers as it likes", code: doubling("import numpy\nreturn numpy.zeros(7)"), said: []string{"rows"}},
		{name: "no such package", code: doubling("return model_input['x']"), change: require(t, "slipway-no-such-package==1.0"), said: []string{"slipway-no-such-package"}},
		{name: "a package that is source only", code: doubling("return model_input['x']"), change: require(t, "docopt==0.6.2"), said: []string{"docopt", "wheel"}},
		{name: "another Python", code: doubling("return model_input['x']"), change: replaceIn(t, "MLmodel", pythonVersion(t), "3.98.0"), said: []string{"3.98"}},
		{name: "native only", code: doubling("return model_input['x']"), args: []string{"--engine", "native"}, said: []string{"python"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := written(t, tt.code)
			if tt.change != nil {
				tt.change(dir)
			}
			w.t = t
			w.refused(1, tt.said, append([]string{"deploy", dir, "--name", "x"}, tt.args...)...)
		})
	}
	w.t = t
	if got := w.record(); got.Live != nil || got.Current != nil {
		t.Errorf("something was rolled out: %+v", got)
	}
}

func require(t *testing.T, line string) func(string) {
	return func(dir string) {
		f, err := os.OpenFile(filepath.Join(dir, "requirements.txt"), os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = f.WriteString("\n" + line)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func replaceIn(t *testing.T, file, old, text string) func(string) {
	return func(dir string) {
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path, []byte(strings.ReplaceAll(string(data), old, text)), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A model that looks for what lies on the machine that builds it finds nothing.
func TestE2EAThiefGetsNothing(t *testing.T) {
	t.Parallel()
	w := newPython(t)
	for _, dir := range []string{".docker", ".kube", ".azure", ".ssh", ".aws"} {
		if err := os.MkdirAll(filepath.Join(w.home, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(w.home, dir, "config.json"), []byte(`{"password": "loot-file"}`), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	w.env = append(w.env, "AZURE_CLIENT_SECRET=loot-variable", "MLFLOW_TRACKING_PASSWORD=loot-variable")
	dir := written(t, fmt.Sprintf(thief, w.home, w.images))
	for _, step := range [][]string{{"extract", dir, "--name", "thief"}, {"validate"}, {"build"}} {
		w.want(0, nil, step...)
	}
	data, err := os.ReadFile(filepath.Join(w.home, "release.json.d", "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Predictions []struct{ Answer []float64 } }
	if err := json.Unmarshal(data, &golden); err != nil || len(golden.Predictions) == 0 {
		t.Fatalf("%v: %s", err, data)
	}
	for _, p := range golden.Predictions {
		for _, found := range p.Answer {
			if found != 0 {
				t.Fatalf("the thief ran outside of the sandbox, or found something: %s", data)
			}
		}
	}
}

// thief answers how much it found while it was loaded, and 1 more where it does
// not run as the sandbox's user.
const thief = `
import os, socket, subprocess
import mlflow

HOME, REGISTRY = %q, %q

def loot():
    found = [v for v in os.environ.values() if "loot" in v]
    for folder in (".docker", ".kube", ".azure", ".ssh", ".aws"):
        for home in (HOME, os.path.expanduser("~"), "/root"):
            found += [folder] if os.path.exists(os.path.join(home, folder)) else []
    for pid in os.listdir("/proc"):
        try:
            found += [pid] if b"loot" in open("/proc/" + pid + "/environ", "rb").read() else []
        except OSError:
            pass
    host, port = REGISTRY.split(":")
    try:
        socket.create_connection((host, int(port)), 2).close()
        found.append("network")
    except OSError:
        pass
    return found

class Model(mlflow.pyfunc.PythonModel):
    def __init__(self):
        self.found = len(loot()) + (os.getuid() != 65532)
    def predict(self, context, model_input, params=None):
        return model_input["x"].to_numpy() * 0 + self.found

mlflow.models.set_model(Model())
`
