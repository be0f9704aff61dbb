package sklearn_test

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// references is what testdata/make_models.py wrote.
type references struct {
	Sklearn string     `json:"sklearn"`
	Skops   string     `json:"skops"`
	Cases   []testCase `json:"cases"`
	files   map[string][]byte
}

type testCase struct {
	Name     string              `json:"name"`
	Requests []request           `json:"requests"`
	Answers  map[string][]answer `json:"answers"` // by method, then by request
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

// readReferences reads what make_models.py wrote to a directory.
func readReferences(t testing.TB, dir string) references {
	t.Helper()
	files := map[string][]byte{}
	names, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if files[name.Name()], err = os.ReadFile(filepath.Join(dir, name.Name())); err != nil {
			t.Fatal(err)
		}
	}
	return parseReferences(t, files)
}

func parseReferences(t testing.TB, files map[string][]byte) references {
	t.Helper()
	var all references
	if err := json.Unmarshal(files["cases.json"], &all); err != nil {
		t.Fatal(err)
	}
	all.files = files
	return all
}

// committed reads the references in testdata, one archive a version.
func committed(t testing.TB) []references {
	t.Helper()
	paths, err := filepath.Glob("testdata/*.tar.zst")
	if err != nil || len(paths) == 0 {
		t.Fatal("no references in testdata", err)
	}
	var all []references
	for _, path := range paths {
		all = append(all, parseReferences(t, unpack(t, path)))
	}
	return all
}

func unpack(t testing.TB, path string) map[string][]byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	files := map[string][]byte{}
	for r := tar.NewReader(z); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[header.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

var pack = flag.String("pack", "", "pack what make_models.py wrote to the `directory` into testdata")

// TestPack commits references: many models share most of their bytes, and one
// compressed archive a version is a tenth of its files.
func TestPack(t *testing.T) {
	if *pack == "" {
		return // nothing was asked for
	}
	all := readReferences(t, *pack)
	f, err := os.Create("testdata/" + all.Sklearn + ".tar.zst")
	if err != nil {
		t.Fatal(err)
	}
	z, err := zstd.NewWriter(f, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(64<<20))
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(z)
	for _, name := range slices.Sorted(maps.Keys(all.files)) {
		data := all.files[name]
		if strings.HasSuffix(name, ".skops") {
			data = rezip(t, unzip(t, data)) // stored, as skops does by default
		}
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o644}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	for _, close := range []func() error{w.Close, z.Close, f.Close} {
		if err := close(); err != nil {
			t.Fatal(err)
		}
	}
}

// model reads the model of a case.
func (r references) model(t testing.TB, name string) *skops.File {
	t.Helper()
	file, err := skops.Read(r.files[name+".skops"])
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return file
}

// TestReferences compares with the committed answers of the real library; the
// end-to-end tests make many more.
func TestReferences(t *testing.T) {
	t.Parallel()
	for _, all := range committed(t) {
		if n := compare(t, all); n.models < 60 || n.rows < 4000 {
			t.Errorf("scikit-learn %s: only %d models and %d rows were compared", all.Sklearn, n.models, n.rows)
		}
	}
}

// compare answers every request of the references.
func compare(t *testing.T, all references) tally {
	t.Helper()
	var n tally
	for _, c := range all.Cases {
		file := all.model(t, c.Name)
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
