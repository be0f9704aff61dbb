//go:build e2e

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// pythonTale is a release of a model that Python serves, in the place of one
// that is served natively.
var pythonTale = tale{name: "deploy of a Python model", before: []string{"1"}, args: []string{"deploy", "models:/iris/2"}, ends: []string{"1", "2"}, settle: "2"}

// pythonPoints are some of the side effects of a Python release, and whether
// the run is killed before or after: what native releases have not, and what
// comes next to it. The list of all is made of the ports, so it is the same.
var pythonPoints = []struct {
	call string
	when side
	cold bool // on a machine whose packages are in the image registry alone
}{
	{"images.Push", before, false},
	{"images.Keep", before, false},
	{"images.Keep", after, false},
	{"images.UnpackPackages", before, true},
	{"target.Act(apply)", after, false},
}

// A run that releases a Python model is killed at side effects. What holds for
// native models holds for it.
func TestE2EKilledWhileReleasingPython(t *testing.T) {
	usePython(t)
	crashes.Lock()
	if crashes.struck == nil {
		crashes.struck = map[string]bool{}
	}
	crashes.Unlock()
	cache := t.TempDir()
	whole := pythonTale.tell(t, cache, 0, before, false) // fills the cache, and says what there is
	numbers := effectNumbers(whole.calls)
	numbers["images.UnpackPackages"] = numbers["images.Push"] // what a cold machine does just before
	if !slices.Contains(whole.calls, "images.Keep") {
		t.Fatalf("a Python release does not keep its packages: %v", whole.calls)
	}
	var told sync.WaitGroup
	two := make(chan struct{}, 2)
	for _, point := range pythonPoints {
		n := numbers[point.call]
		if n == 0 {
			t.Errorf("a Python release does not call %s: %v", point.call, whole.calls)
			continue
		}
		told.Go(func() {
			two <- struct{}{}
			defer func() { <-two }()
			t.Run(string(point.when)+" "+point.call, func(t *testing.T) {
				if c := pythonTale.tell(t, cache, n, point.when, point.cold); !c.killed || !strings.HasSuffix(c.what, ", "+point.call) {
					t.Errorf("it was not killed there: %s, %v", c.what, c.calls)
				}
			})
		})
	}
	told.Wait()
}

// usePython has uv in the PATH of this process, in which most runs are.
func usePython(t *testing.T) {
	t.Helper()
	t.Setenv("PATH", filepath.Dir(e2e.UV(t))+":"+os.Getenv("PATH"))
	t.Setenv("UV_CACHE_DIR", filepath.Join(e2e.Cache(t), "uv-cache"))
}

// effectNumbers counts the side effects among calls: each call's first number.
func effectNumbers(calls []string) map[string]int {
	numbers, n := map[string]int{}, 0
	for _, call := range calls {
		if reads[call] {
			continue
		}
		if n++; numbers[call] == 0 {
			numbers[call] = n
		}
	}
	return numbers
}

// tell tells the tale with a Python model as version 2, and checks all that is
// checked of native ones.
func (a tale) tell(t *testing.T, cache string, n int, when side, cold bool) *crash {
	t.Helper()
	c := a.beginPython(t, cache, a.name+": killed "+string(when)+" side effect "+strconv.Itoa(n))
	defer c.close()
	if cold {
		c.onlyInTheRegistry()
	}
	c.kill(n, when)
	if c.killed {
		c.next(n%2 == 1)
		c.check(a.ends)
	}
	c.settle()
	c.check([]string{a.settle})
	c.end()
	return c
}

func (a tale) beginPython(t *testing.T, cache, what string) *crash {
	t.Helper()
	dir := t.TempDir()
	w, err := newWorld(dir, buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	c := &crash{world: w, tale: a, t: t, dir: dir, what: what}
	if err := os.Mkdir(filepath.Join(dir, "tmp"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.vars["XDG_CACHE_HOME"], w.vars["TMPDIR"] = cache, filepath.Join(dir, "tmp")
	for _, e := range os.Environ() { // uv's and pip's settings, and PATH
		if name, value, _ := strings.Cut(e, "="); regexp.MustCompile(`^(PATH|(PIP|UV|SSL)_.*|.*_(proxy|PROXY))$`).MatchString(name) {
			w.vars[name] = value
		}
	}
	w.vars["SLIPWAY_PROVE"] = "off" // iris 1 needs no Python then
	w.vars["SLIPWAY_BASE"], _ = e2e.PythonBase(t, w.vars["IMAGES"])
	for _, model := range []string{w.vars["MODELS"] + "/iris-1", pythonIris(t, w.vars["MODELS"]+"/iris-2")} {
		if _, err := w.client.Register(t.Context(), "iris", model); err != nil {
			t.Fatal(err)
		}
	}
	c.promote("1")
	c.to = []string{"--image", w.vars["IMAGES"] + "/iris", "--to", c.target(), "--env", "SLIPWAY_WORKERS=1"}
	c.prober = newPacedProber(w.vars["ADDRESS"], 20*time.Millisecond)
	c.run(well, append([]string{"deploy", "models:/iris/1"}, c.to...))
	c.prober.live()
	c.promote("2")
	return c
}

// onlyInTheRegistry has the image registry keep the packages, as another
// machine's release left them, and this machine forget them.
func (c *crash) onlyInTheRegistry() {
	c.t.Helper()
	other := "local://" + c.vars["ADDRESS2"]
	c.run(well, []string{"deploy", "models:/iris/2", "--image", c.vars["IMAGES"] + "/iris", "--to", other, "--env", "SLIPWAY_WORKERS=1"})
	c.run(well, []string{"stop", other})
	c.vars["XDG_CACHE_HOME"] = c.t.TempDir()
}

// pythonIris is a model with iris 2's signature and answer, of which only Python
// knows how it comes about.
func pythonIris(t *testing.T, like string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	err := os.CopyFS(dir, os.DirFS(like))
	text, readErr := os.ReadFile(filepath.Join(dir, "MLmodel"))
	_, rest, _ := strings.Cut(string(text), "is_signature_from_type_hint")
	version, versionErr := exec.Command(e2e.Python(t), "-c", "import platform; print(platform.python_version(), end='')").Output()
	flavor := "flavors:\n  python_function:\n    loader_module: mlflow.pyfunc.loaders.code_model\n    model_code_path: /home/ada/model.py\n    python_version: " +
		string(version) + "\nis_signature_from_type_hint"
	for name, content := range map[string]string{
		"MLmodel": flavor + rest, "requirements.txt": "mlflow==" + e2e.MLflowVersion + "\npandas\n",
		"model.py": "import mlflow\nclass Model(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input, params=None):\n" +
			"        return [\"versicolor\"] * len(model_input)\nmlflow.models.set_model(Model())\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644))
	}
	if err := errors.Join(err, readErr, versionErr, os.Remove(filepath.Join(dir, "model.skops"))); err != nil {
		t.Fatal(err)
	}
	return dir
}
