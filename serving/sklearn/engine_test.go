package sklearn_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

func TestDemoModels(t *testing.T) {
	t.Parallel()
	for name, want := range map[string][]string{
		// What examples/demo/make_models.py printed for the rows of the input example.
		"iris-1": {"setosa", "setosa", "versicolor", "virginica", "versicolor", "virginica", "virginica", "versicolor"},
		"iris-2": {"setosa", "setosa", "versicolor", "virginica", "versicolor", "virginica", "virginica", "versicolor"},
		"iris-3": {"virginica", "setosa", "versicolor", "virginica", "versicolor", "virginica", "virginica", "versicolor"},
	} {
		p, err := sklearn.New().Load(t.Context(), iris(t, name))
		if err != nil {
			t.Fatal(err)
		}
		out, err := p.Predict(t.Context(), &serving.Batch{Rows: 8, Columns: []serving.Column{
			{Name: "sepal_length", Floats: []float64{5.1, 5.4, 7, 5.9, 6, 6.3, 6, 6.3}},
			{Name: "sepal_width", Floats: []float64{3.5, 3.4, 3.2, 3.2, 3.4, 3.3, 2.2, 2.8}},
			{Name: "petal_length", Floats: []float64{1.4, 1.7, 4.7, 4.8, 4.5, 6, 5, 5.1}},
			{Name: "petal_width", Floats: []float64{0.2, 0.2, 1.4, 1.8, 1.6, 2.5, 1.5, 1.5}},
			{Name: "habitat", Kind: serving.String, Strings: []string{"marsh", "dune", "meadow", "marsh", "meadow", "marsh", "marsh", "meadow"}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(&serving.Output{Shape: []int{8}, Kind: serving.String, Strings: want}, out); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// edited returns a committed model of the newest version whose schema was
// changed by replacing text.
func edited(t *testing.T, name, old, new string) *skops.File {
	t.Helper()
	all := committed(t)
	entries := unzip(t, all[len(all)-1].files[name+".skops"])
	schema := string(entries["schema.json"])
	if !strings.Contains(schema, old) {
		t.Fatalf("%s: there is no %q", name, old)
	}
	entries["schema.json"] = []byte(strings.ReplaceAll(schema, old, new))
	file, err := skops.Read(rezip(t, entries))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func TestRefusalsNameWhatIsNotKnown(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ model, old, new, method, want string }{
		{"logistic-str3", `\"1.9.1\"`, `\"1.2.2\"`, "predict", "scikit-learn 1.2.2 is not known"},
		{"logistic-str3", `\"1.9.1\"`, `\"1.10.0\"`, "predict", "scikit-learn 1.10.0 is not known"},
		{"logistic-str3", `\"1.9.1\"`, `\"1.9.dev0\"`, "predict", "scikit-learn 1.9.dev0 is not known"},
		{"logistic-str3", `"LogisticRegression"`, `"NewRegression"`, "predict", `the model (Pipeline), step "logisticregression": the estimator sklearn.linear_model._logistic.NewRegression is not known`},
		{"logistic-str3", `"StandardScaler"`, `"NewScaler"`, "predict", `the transformer sklearn.preprocessing._data.NewScaler is not known`},
		{"logistic-str3", `"with_mean"`, `"with_median"`, "predict", `step "standardscaler" (StandardScaler): attribute "with_mean" is missing`},
		{"logistic-str3", `"max_iter"`, `"most_iter"`, "predict", `step "logisticregression" (LogisticRegression): attribute "most_iter" is not known`},
		{"logistic-str3", ``, ``, "transform", "Pipeline has no transform that is known"},
		{"linear", ``, ``, "predict_proba", "LinearRegression has no predict_proba that is known"},
		{"onehot-plain", `\"error\"`, `\"guess\"`, "predict", `handle_unknown="guess" is not known`},
	} {
		_, err := sklearn.Compile(edited(t, c.model, c.old, c.new), c.method)
		if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s with %q: %v; want %q", c.model, c.new, err, c.want)
		}
	}
}

func TestCheckRefusesWhatIsNoSkops(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ flavor, path, want string }{
		"pickle":      {"serialization_format: cloudpickle", "model.pkl", "loading that would run code"},
		"old pickle":  {"sklearn_version: 0.24.2", "model.pkl", "a pickle"},
		"outside":     {"serialization_format: skops", "../../model.skops", "is not in its directory"},
		"missing":     {"serialization_format: skops", "model.skops", "lacks"},
		"a directory": {"serialization_format: skops", "folder.skops", "it is not a regular file"},
	} {
		dir := t.TempDir()
		text := fmt.Sprintf("flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    model_path: %s\n  sklearn:\n    %s\n", c.path, c.flavor)
		if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(dir, "folder.skops"), 0o700); err != nil {
			t.Fatal(err)
		}
		m, err := mlmodel.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		err = sklearn.New().Check(m)
		if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(fmt.Sprint(err), c.want) {
			t.Errorf("%s: %v; want %q", name, err, c.want)
		}
	}
}

// TestManyObjectsOfFewBytes reads pipelines of pipelines, each of which holds
// the next one twice: 2^35 steps in a few kilobytes.
func TestManyObjectsOfFewBytes(t *testing.T) {
	t.Parallel()
	scalar := func(v string) string { return `{"__loader__":"JsonNode","content":"` + v + `"}` }
	keys := `{"__loader__":"ListNode","content":[` + strings.Repeat(scalar("1")+",", 4) + scalar("1") + `]}`
	first := scalar(`\"passthrough\"`)
	second := first
	for i := range 35 {
		step := `{"__loader__":"TupleNode","content":[` + scalar(`\"s\"`) + `,%s]}`
		steps := `{"__loader__":"ListNode","content":[` + fmt.Sprintf(step, first) + "," + fmt.Sprintf(step, second) + `]}`
		first = fmt.Sprintf(`{"__id__":%d,"protocol":2,"__class__":"Pipeline","__module__":"sklearn.pipeline","__loader__":"ObjectNode","content":{"__loader__":"DictNode","key_types":%s,"content":{"steps":%s,"memory":%s,"verbose":%s,"transform_input":%s,"_sklearn_version":%s}}}`,
			i, keys, steps, scalar("null"), scalar("false"), scalar("null"), scalar(`\"1.9.1\"`))
		second = fmt.Sprintf(`{"__id__":%d}`, i)
	}
	file, err := skops.Read(rezip(t, map[string][]byte{"schema.json": []byte(first)}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sklearn.Compile(file, "predict"); slipway.CodeOf(err) != slipway.Exhausted {
		t.Errorf("%v", err)
	}
}

// TestLargeBatch answers many rows in chunks as it answers each alone.
func TestLargeBatch(t *testing.T) {
	t.Parallel()
	p, err := sklearn.New().Load(t.Context(), iris(t, "iris-2"))
	if err != nil {
		t.Fatal(err)
	}
	const rows = 1000
	all, err := p.Predict(t.Context(), flowers(rows))
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	for from := range 4 { // at once, for the race detector
		group.Go(func() {
			for i := from; i < rows; i += 4 {
				b := flowers(rows)
				for j := range b.Columns {
					c := &b.Columns[j]
					if c.Kind == serving.String {
						c.Strings = c.Strings[i : i+1]
					} else {
						c.Floats = c.Floats[i : i+1]
					}
				}
				b.Rows = 1
				one, err := p.Predict(t.Context(), b)
				if err != nil || one.Strings[0] != all.Strings[i] {
					t.Errorf("row %d is %v alone and %s among others: %v", i, one, all.Strings[i], err)
				}
			}
		})
	}
	group.Wait()
}

// TestErrorsSayWhere checks that a refused value is named by its row in the
// request and its column.
func TestErrorsSayWhere(t *testing.T) {
	t.Parallel()
	p, err := sklearn.New().Load(t.Context(), iris(t, "iris-1"))
	if err != nil {
		t.Fatal(err)
	}
	b := flowers(600)
	b.Columns[2].Floats[555] = math.Inf(1)
	if _, err := p.Predict(t.Context(), b); !strings.Contains(fmt.Sprint(err), "row 555") || slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("%v", err)
	}
	if _, err := p.Predict(t.Context(), &serving.Batch{}); slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("no rows: %v", err)
	}
}
