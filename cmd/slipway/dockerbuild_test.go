package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
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
	j.release.Engine, j.work.Python, j.making.Base = enginePython, &uv.Request{Python: "3.11"}, "cuda:12"
	if want := map[string]string{"SOURCE_DATE_EPOCH": "0", "PYTHON": "3.11", "BASE": "cuda:12"}; !cmp.Equal(j.buildArguments(), want) {
		t.Errorf("Python: %v", j.buildArguments())
	}
}

// Where the packages cannot be locked, docker gets the model's requirements, as
// they are chosen for every image; slipway's own builder fails.
func TestWithoutALock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"MLmodel":          "flavors:\n  python_function:\n    loader_module: own\n    env: {virtualenv: python_env.yaml}\n    python_version: 3.11.7\nmlflow_version: 3.17.2\n",
		"python_env.yaml":  "python: 3.11.7\ndependencies: [-r requirements.txt]\n",
		"requirements.txt": "mlflow==3.17.2\nsix==1.17.0\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	model, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("no wheel")
	j := &journey{program: &program{story: newStory(&strings.Builder{}, func(string) string { return "" }, nil)}, model: model}
	if err := j.unlocked(t.Context(), why); !errors.Is(err, why) {
		t.Errorf("slipway's own builder: %v", err)
	}
	j.making.Builder = builderDocker
	if err := j.unlocked(t.Context(), why); err != nil {
		t.Fatal(err)
	}
	got := strings.Join(j.work.Python.Requirements, " ")
	if j.work.Python.Python != "3.11" || !strings.Contains(got, "mlflow-skinny==3.17.2") || !strings.Contains(got, "six==1.17.0") {
		t.Errorf("%+v", j.work.Python)
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

func TestFirstRunes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"": "", "äöü": "äöü", "äöüß": "äöü…"} {
		if got := firstRunes(text, 3); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}
