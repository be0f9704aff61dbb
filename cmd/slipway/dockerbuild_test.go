package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/examples"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

func TestWhatMakesTheImage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		builder, dockerfile string
		want                bool
	}{
		{"auto", "", false}, {"auto", "Dockerfile", true}, {"docker", "", true}, {"docker", "Dockerfile", true},
		{"slipway", "", false}, {"slipway", "Dockerfile", false}, {"", "", false},
	} {
		j := &journey{}
		j.making.Builder, j.making.Dockerfile = test.builder, test.dockerfile
		if got := j.withDocker(); got != test.want {
			t.Errorf("--builder %q --dockerfile %q: docker is %v", test.builder, test.dockerfile, got)
		}
	}
}

func TestBuildArguments(t *testing.T) {
	t.Parallel()
	j := &journey{}
	if want := map[string]string{"SOURCE_DATE_EPOCH": "0"}; !cmp.Equal(j.buildArguments(), want) {
		t.Errorf("native: %v", j.buildArguments())
	}
	j.making.Base = "distroless"
	if want := map[string]string{"SOURCE_DATE_EPOCH": "0", "BASE": "distroless"}; !cmp.Equal(j.buildArguments(), want) {
		t.Errorf("native, with a base: %v", j.buildArguments())
	}
	j.release.Engine, j.work.Python, j.making.Base = enginePython, &uv.Request{Python: "3.11"}, "cuda:12"
	if want := map[string]string{"SOURCE_DATE_EPOCH": "0", "PYTHON": "3.11", "BASE": "cuda:12"}; !cmp.Equal(j.buildArguments(), want) {
		t.Errorf("Python: %v", j.buildArguments())
	}
}

// Each stage that ends in an image starts from --base, where one is given.
func TestTheBaseOfOurDockerfile(t *testing.T) {
	t.Parallel()
	var from []string
	for line := range strings.Lines(string(examples.Dockerfile)) {
		if base, ok := strings.CutPrefix(line, "FROM "); ok {
			from = append(from, strings.TrimSpace(base))
		}
	}
	const python = "${BASE:-python:${PYTHON}-slim}"
	if want := []string{python + " AS packages", "${BASE:-scratch} AS " + engineNative, python}; !cmp.Equal(from, want) {
		t.Errorf("%q", from)
	}
}

// ownModel is one of Python code, with the requirements.
func ownModel(t *testing.T, requirements string) *mlmodel.Model {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"MLmodel":          "flavors:\n  python_function:\n    loader_module: own\n    env: {virtualenv: python_env.yaml}\n    python_version: 3.11.7\nmlflow_version: 3.17.2\n",
		"python_env.yaml":  "python: 3.11.7\ndependencies: [-r requirements.txt]\n",
		"requirements.txt": requirements,
		"limits.txt":       "numpy<2\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	model, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return model
}

// unlockable is a journey of the model where docker builds, and uv is what
// python says.
func unlockable(t *testing.T, requirements string, vars map[string]string, python func() (*uv.Client, error)) *journey {
	t.Helper()
	j := &journey{program: &program{getenv: func(name string) string { return vars[name] }, story: newStory(&strings.Builder{}, func(string) string { return "" }, nil)},
		ports: &ports{python: python}, model: ownModel(t, requirements)}
	j.release.Engine, j.making.Builder = enginePython, builderDocker
	return j
}

// Where there is no uv, docker gets the model's requirements and constraints, as
// they are chosen for every image; slipway's own builder fails.
func TestWithoutALock(t *testing.T) {
	t.Parallel()
	missing := slipway.Errorf(slipway.NotFound, "looking for uv", "it is not here")
	more := filepath.Join(t.TempDir(), "more.txt")
	if err := os.WriteFile(more, []byte("six<2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	j := unlockable(t, "-c limits.txt\nmlflow==3.17.2\nsix==1.17.0\n", map[string]string{"PIP_CONSTRAINT": more}, func() (*uv.Client, error) { return nil, missing })
	j.making.Builder = builderSlipway
	if _, err := j.dockerLock(t.Context(), machine()); !errors.Is(err, missing) {
		t.Errorf("slipway's own builder: %v", err)
	}
	j.making.Builder = builderDocker
	if lock, err := j.dockerLock(t.Context(), machine()); lock != nil || err != nil {
		t.Fatalf("%s, %v", lock, err)
	}
	requirements, constraints := pipFiles(*j.work.Python)
	got := string(requirements)
	if j.work.Python.Python != "3.11" || !strings.HasPrefix(got, "-c constraints.txt\n") || !strings.Contains(got, "mlflow-skinny==3.17.2\n") || !strings.Contains(got, "six==1.17.0\n") {
		t.Errorf("%s", got)
	}
	if got := string(constraints); got != "numpy<2\nsix<2\n" {
		t.Errorf("%q", got)
	}
}

// Only that there is no uv, or no wheel, is a reason to install without a lock.
func TestWhatNeedsALock(t *testing.T) {
	t.Parallel()
	client := func() (*uv.Client, error) { return &uv.Client{}, nil }
	none := func() (*uv.Client, error) {
		return nil, slipway.Errorf(slipway.NotFound, "looking for uv", "it is not here")
	}
	asked := &uv.Request{Python: "3.11", Requirements: []string{"six==1.17.0"}}
	for name, test := range map[string]struct {
		why          slipway.Code
		request      *uv.Request // that uv was asked; nil: it came to none
		python       func() (*uv.Client, error)
		requirements string
		want         slipway.Code
	}{
		"no wheel":                 {slipway.Invalid, asked, client, "six", ""},
		"no such package":          {slipway.NotFound, asked, client, "six", ""},
		"no uv":                    {slipway.NotFound, nil, none, "six", ""},
		"a foreign index":          {slipway.Unauthorized, nil, client, "six", slipway.Unauthorized},
		"a foreign index, no uv":   {slipway.NotFound, nil, none, "--extra-index-url https://foreign.example/simple\nsix", slipway.Unauthorized},
		"another hash":             {slipway.Corrupt, asked, client, "six", slipway.Corrupt},
		"an index out of reach":    {slipway.Unavailable, asked, client, "six", slipway.Unavailable},
		"a full disk":              {slipway.Exhausted, asked, client, "six", slipway.Exhausted},
		"a constraints file wrong": {slipway.Invalid, nil, client, "six", slipway.Invalid},
	} {
		j := unlockable(t, test.requirements, nil, test.python)
		j.work.Python = test.request
		if err := j.unlocked(t.Context(), slipway.Errorf(test.why, "locking", "because")); slipway.CodeOf(err) != test.want {
			t.Errorf("%s: %v", name, err)
		}
		if j.work.Python != test.request && test.want != "" {
			t.Errorf("%s: later steps get %+v", name, j.work.Python)
		}
	}
}

// That packages cannot be locked is found out once, for a version.
func TestNotLockedTwice(t *testing.T) {
	t.Parallel()
	asked := 0
	j := unlockable(t, "six", nil, func() (*uv.Client, error) {
		asked++
		return nil, slipway.Errorf(slipway.Unavailable, "looking for uv", "out of reach")
	})
	for range 3 {
		if _, err := j.locked(t.Context(), machine()); slipway.CodeOf(err) != slipway.Unavailable {
			t.Error(err)
		}
	}
	if asked != 1 {
		t.Errorf("it was asked %d times", asked)
	}
	if err := j.restart(slipway.ModelVersion{Name: "iris", Version: "2"}); err != nil {
		t.Fatal(err)
	}
	if _, err := j.locked(t.Context(), machine()); err == nil || asked != 2 {
		t.Errorf("of the next version: %v, asked %d times", err, asked)
	}
}

// What docker did is said, and no more.
func TestWhatDockerDid(t *testing.T) {
	t.Parallel()
	other := "linux/amd64"
	if machine() == other {
		other = "linux/arm64"
	}
	for platforms, want := range map[string]string{"": "; built by docker and checked in a container", other: "; built by docker", other + " " + machine(): "; built by docker and checked in a container"} {
		j := &journey{}
		j.making.Builder, j.making.Platform = builderDocker, strings.Fields(platforms)
		if got := j.builderText(); got != want {
			t.Errorf("%q: %q", platforms, got)
		}
	}
	if got := (&journey{}).builderText(); got != "" {
		t.Errorf("without docker: %q", got)
	}
}

// Answers of the library inside the image are told apart, with a lock too.
func TestWhoAnsweredInAnImage(t *testing.T) {
	t.Parallel()
	j := &journey{model: ownModel(t, "six")}
	if got := j.madeInImage(); got != "the model's own code in the image" {
		t.Errorf("without a lock: %q", got)
	}
	j.packages = map[string]*packages{machine(): {lock: uv.Lock{Python: "3.11"}}}
	if got := j.madeInImage(); got != "the model's own code, Python 3.11 in the image" {
		t.Errorf("with a lock: %q", got)
	}
}

// An image that docker made is on the disk of the build step, and nowhere else.
func TestAnImageThatIsNotHere(t *testing.T) {
	t.Parallel()
	j := &journey{}
	j.work.Layouts = []string{filepath.Join(t.TempDir(), "image")}
	err := j.openLayouts()
	if slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "where build ran") {
		t.Errorf("%v; hint %q", err, slipway.HintOf(err))
	}
}
