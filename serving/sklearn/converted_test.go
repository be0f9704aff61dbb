package sklearn_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// newest returns the committed references of the newest scikit-learn.
func newest(t *testing.T) references {
	t.Helper()
	all := committed(t)
	return all[len(all)-1]
}

func compiled(t *testing.T, name string) *sklearn.Predictor {
	t.Helper()
	p, err := sklearn.Compile(newest(t).model(t, name), "predict")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestConverted loads the converted file of a pickled model, wherever it is.
func TestConverted(t *testing.T) {
	t.Parallel()
	m := &mlmodel.Model{Dir: t.TempDir(), PredictFn: "predict", Converted: filepath.Join(t.TempDir(), "converted"),
		Flavors: map[string]mlmodel.Flavor{"sklearn": {"pickled_model": "model.pkl", "serialization_format": "cloudpickle"}}}
	if err := os.WriteFile(m.Converted, newest(t).files["tree-3.skops"], 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := sklearn.New().Load(t.Context(), m); err != nil {
		t.Error(err)
	}
	m.Flavors = map[string]mlmodel.Flavor{"xgboost": nil}
	if err := sklearn.New().Check(m); err == nil {
		t.Error("a converted model without a sklearn flavour is served")
	}
}

// TestDeclaredFloatIsFloat32: MLflow hands on columns of float32 where a
// signature declares them, and the engine refuses what it refuses of those.
func TestDeclaredFloatIsFloat32(t *testing.T) {
	t.Parallel()
	p := compiled(t, "scale-normalizer")
	ask := func(c serving.Column) error {
		b := &serving.Batch{Rows: 1}
		for _, name := range []string{"a", "b", "c", "d"} {
			c.Name, c.Floats = name, []float64{0.5}
			b.Columns = append(b.Columns, c)
		}
		_, err := p.Predict(t.Context(), b)
		return err
	}
	if err := ask(serving.Column{Type: mlmodel.TypeDouble}); err != nil {
		t.Error(err)
	}
	if ask(serving.Column{Kind: serving.Float32}) == nil || ask(serving.Column{Type: mlmodel.TypeFloat}) == nil {
		t.Error("a norm of float32 is computed, though Python's depends on the machine")
	}
}

// TestTextsEndBeforeZeros: numpy's texts are filled up with them, so that it
// cannot tell them from those that a client sent.
func TestTextsEndBeforeZeros(t *testing.T) {
	t.Parallel()
	p, err := sklearn.Compile(newest(t).model(t, "impute-text-nan-most_frequent"), "predict_proba")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(dtype, colour string) *serving.Output {
		out, err := p.Predict(t.Context(), &serving.Batch{Rows: 1, Tensors: []serving.Tensor{{DType: dtype, Shape: []int{1, 2}, Strings: []string{colour, "s"}}}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if diff := cmp.Diff(ask("str", "red"), ask("str", "red\x00\x00")); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(ask("object", "red"), ask("object", "red\x00")) {
		t.Error("a Python text is not filled up")
	}
}

// TestCuts tells the thresholds of trees that see the request itself.
func TestCuts(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{"tree-3": true, "forest-3": true, "hist-2": true, "boosting-2": true, "linear": false, "columns-sparse": false} {
		cuts := compiled(t, name).Cuts()
		if (len(cuts) > 0) != want {
			t.Errorf("%s: %d cuts", name, len(cuts))
		}
		for _, c := range cuts {
			if c.Column < 0 || c.Column > 3 {
				t.Errorf("%s: %+v", name, c)
			}
		}
	}
}
