package sklearn_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// references is what testdata/make_models.py wrote.
type references struct {
	Sklearn string `json:"sklearn"`
	Skops   string `json:"skops"`
	Cases   []struct {
		Name     string              `json:"name"`
		Requests []request           `json:"requests"`
		Answers  map[string][]answer `json:"answers"` // by method, then by request
	} `json:"cases"`
}

type request struct {
	Rows    int `json:"rows"`
	Columns []struct {
		Name   string `json:"name"`
		Kind   string `json:"kind"`
		Values []any  `json:"values"`
	} `json:"columns"`
	Tensor string `json:"tensor"`
	Shape  []int  `json:"shape"`
	Values []any  `json:"values"`
}

type answer struct {
	Shape  []int    `json:"shape"`
	Kind   string   `json:"kind"`
	Values []any    `json:"values"`
	List   []answer `json:"list"`
	Error  string   `json:"error"`
}

func number(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	case string:
		if v == "Infinity" {
			return math.Inf(1)
		}
		return math.Inf(-1)
	}
	return math.NaN()
}

// batch turns a request into what the server would hand on.
func (r request) batch() *serving.Batch {
	b := &serving.Batch{Rows: r.Rows}
	if r.Tensor != "" {
		b.Tensors = []serving.Tensor{r.tensor()}
		return b
	}
	for _, c := range r.Columns {
		col := serving.Column{Name: c.Name}
		for i, v := range c.Values {
			switch c.Kind {
			case "float", "float32":
				if c.Kind == "float32" {
					col.Kind = serving.Float32
				}
				col.Floats = append(col.Floats, number(v))
			case "int":
				col.Kind, col.Ints = serving.Int, append(col.Ints, int64(number(v)))
			case "bool":
				col.Kind, col.Bools = serving.Bool, append(col.Bools, v.(bool))
			case "string":
				text, ok := v.(string)
				col.Kind, col.Strings = serving.String, append(col.Strings, text)
				if !ok {
					if col.Missing == nil {
						col.Missing = make([]bool, r.Rows)
					}
					col.Missing[i] = true
				}
			}
		}
		b.Columns = append(b.Columns, col)
	}
	return b
}

func (r request) tensor() serving.Tensor {
	t := serving.Tensor{DType: r.Tensor, Shape: r.Shape}
	for _, v := range r.Values {
		switch r.Tensor {
		case "str":
			text, _ := v.(string)
			t.Strings = append(t.Strings, text)
		case "float64", "float32":
			t.Floats = append(t.Floats, number(v))
		default:
			t.Ints = append(t.Ints, int64(number(v)))
		}
	}
	return t
}

// differ returns how an output differs from the answer, "" where it does not.
func (a answer) differ(out *serving.Output) string {
	if len(a.List) != len(out.List) {
		return fmt.Sprintf("%d arrays instead of %d", len(out.List), len(a.List))
	}
	for i := range a.List {
		if d := a.List[i].differ(&out.List[i]); d != "" {
			return fmt.Sprintf("array %d: %s", i, d)
		}
	}
	if a.List != nil {
		return ""
	}
	kind := map[serving.Kind]string{serving.Float: "float", serving.Float32: "float32", serving.Int: "int", serving.Bool: "bool", serving.String: "string"}[out.Kind]
	if fmt.Sprint(a.Shape) != fmt.Sprint(out.Shape) || a.Kind != kind {
		return fmt.Sprintf("%s%v instead of %s%v", kind, out.Shape, a.Kind, a.Shape)
	}
	for i, want := range a.Values {
		if got, same := a.same(out, i, want); !same {
			return fmt.Sprintf("value %d is %v instead of %v", i, got, want)
		}
	}
	return ""
}

func (a answer) same(out *serving.Output, i int, want any) (any, bool) {
	switch a.Kind {
	case "string":
		return out.Strings[i], out.Strings[i] == want
	case "bool":
		return out.Bools[i], out.Bools[i] == want
	case "int":
		return out.Ints[i], float64(out.Ints[i]) == want
	}
	if a.Kind == "float32" {
		return out.Floats[i], near(out.Floats[i], number(want), 1e-5, 0.1)
	}
	return out.Floats[i], near(out.Floats[i], number(want), 1e-9, 1e-3)
}

// near reports whether got is want, up to the relative tolerance of the larger
// one, or of floor: sums that cancel leave rounding errors of their terms' size.
func near(got, want, tolerance, floor float64) bool {
	if got == want || got != got && want != want {
		return true
	}
	return math.Abs(got-want) <= tolerance*max(math.Abs(got), math.Abs(want), floor)
}

// tally counts what was compared.
type tally struct{ models, requests, rows, refused int }

// refused are models that cannot be served exactly, and why.
var refused = map[string]string{
	"boosting-init":          "its initial estimator was fitted on float32, and computes in float32",
	"boosting-init-exp":      "its initial estimator was fitted on float32, and computes in float32",
	"boostingregressor-init": "its initial estimator was fitted on float32, and computes in float32",
}

func readReferences(t testing.TB, dir string) references {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all references
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	return all
}

// referenceDirs returns the directories of committed references, one a version.
func referenceDirs(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("testdata/*/cases.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no references in testdata", err)
	}
	for i := range files {
		files[i] = filepath.Dir(files[i])
	}
	return files
}

// TestReferences compares with the committed answers of the real library; the
// end-to-end tests make many more.
func TestReferences(t *testing.T) {
	t.Parallel()
	for _, dir := range referenceDirs(t) {
		compare(t, dir)
	}
}

// compare answers every request of a directory of references.
func compare(t *testing.T, dir string) tally {
	t.Helper()
	var n tally
	all := readReferences(t, dir)
	for _, c := range all.Cases {
		file, err := skops.Open(filepath.Join(dir, c.Name+".skops"))
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		n.models++
		for method, answers := range c.Answers {
			p, err := sklearn.Compile(file, method)
			if err != nil && refused[c.Name] == "" {
				t.Errorf("%s: %v", c.Name, err)
			}
			if err != nil {
				break
			}
			for i, want := range answers {
				n.requests++
				n.rows += c.Requests[i].Rows
				if want.Error != "" {
					n.refused++
				}
				if d := disagreement(t, p, c.Requests[i], want); d != "" {
					t.Errorf("%s.%s, request %d: %s", c.Name, method, i, d)
				}
			}
		}
	}
	t.Logf("scikit-learn %s, skops %s: %d models, %d requests, %d rows compared; %d requests refused by both",
		all.Sklearn, all.Skops, n.models, n.requests, n.rows, n.refused)
	return n
}

// disagreement returns how the predictor differs from the library, "" where it
// does not.
func disagreement(t *testing.T, p *sklearn.Predictor, r request, want answer) string {
	t.Helper()
	out, err := p.Predict(t.Context(), r.batch())
	switch {
	case want.Error != "" && err == nil:
		return "answered, but the library raises " + want.Error
	case want.Error != "" && slipway.CodeOf(err) != slipway.Invalid:
		return fmt.Sprint("refused with another code than Invalid: ", err)
	case want.Error != "":
		return ""
	case err != nil:
		return err.Error()
	}
	return want.differ(out)
}

func TestTmp(t *testing.T) {
	if d := os.Getenv("SKDIR"); d != "" {
		compare(t, d)
	}
}
