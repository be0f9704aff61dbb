package main

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

func TestTheBaseHasTheModelsPython(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  []string
		want slipway.Code
	}{
		"that one":             {[]string{"PATH=/bin", "PYTHON_VERSION=3.11.9"}, ""},
		"exactly":              {[]string{"PYTHON_VERSION=3.11"}, ""},
		"does not say":         {[]string{"PATH=/bin"}, ""},
		"another":              {[]string{"PYTHON_VERSION=3.12.1"}, slipway.Invalid},
		"one that begins like": {[]string{"PYTHON_VERSION=3.110.1"}, slipway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			base, err := mutate.Config(empty.Image, v1.Config{Env: test.env})
			if err != nil {
				t.Fatal(err)
			}
			if err := checkBase(base, "3.11"); slipway.CodeOf(err) != test.want {
				t.Errorf("%q: %v", slipway.CodeOf(err), err)
			}
		})
	}
}

// Packages are looked for in the image's repository first, then where this
// machine saw them last, in the same image registry.
func TestWherePackagesAreLookedFor(t *testing.T) {
	t.Parallel()
	s := keptShelf{filepath.Join(t.TempDir(), "kept", "key.json")}
	if got := s.near("host/a"); !slices.Equal(got, []string{"host/a"}) {
		t.Errorf("with nothing remembered: %v", got)
	}
	for _, repository := range []string{"host/b", "other/c", "host/a", "host/d", "host/b"} {
		s.note(repository)
	}
	if got := s.near("host/a"); !slices.Equal(got, []string{"host/a", "host/b", "host/d"}) {
		t.Errorf("%v", got)
	}
	for i := range 20 {
		s.note("host/many" + string(rune('a'+i)))
	}
	if got := s.near("host/a"); len(got) > maxShelf {
		t.Errorf("%d repositories", len(got))
	}
}

// Whatever cannot be asked on this machine takes the user's answers, all of them.
func TestAnswersThatAreTaken(t *testing.T) {
	t.Parallel()
	j := &journey{model: &mlmodel.Model{}}
	j.making.Golden = "golden.json"
	whole := mlmodel.Prediction{Request: []byte(`{}`), Answer: []byte(`[1]`)}
	g, err := j.takenGolden([]mlmodel.Prediction{whole})
	if err != nil || g.Source != slipway.Proved || g.By != "the file golden.json" {
		t.Errorf("%+v, %v", g, err)
	}
	var usage usageError
	if _, err := j.takenGolden([]mlmodel.Prediction{whole, {Request: []byte(`{}`)}}); !errors.As(err, &usage) {
		t.Errorf("an answer is missing: %v", err)
	}
	if g, err := j.takenGolden(nil); err != nil || g.Source != slipway.Unchecked {
		t.Errorf("none: %+v, %v", g, err)
	}
}

func TestWhoAnsweredForAModel(t *testing.T) {
	t.Parallel()
	p := &packages{lock: uv.Lock{Python: "3.11", Packages: []uv.Package{{Name: "mlflow-skinny", Version: "3.17.2"}, {Name: "xgboost-cpu", Version: "3.2.0"}}}}
	for flavor, want := range map[string]string{
		"xgboost": "xgboost-cpu 3.2.0", "python_function": "the model's own code, mlflow-skinny 3.17.2", "sklearn": "the model's own code, mlflow-skinny 3.17.2",
	} {
		if got := p.madeBy(flavor); got != want {
			t.Errorf("%s: %q, want %q", flavor, got, want)
		}
	}
}
