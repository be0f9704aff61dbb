package proof_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/proof"
)

// fake is a predictor of one column x that answers row by row, and counts how
// often it is asked.
type fake struct {
	row   func(x float64) float64
	whole func(b *serving.Batch) (*serving.Output, error) // instead of row, where it returns something
	asked int
}

func (f *fake) Predict(_ context.Context, b *serving.Batch) (*serving.Output, error) {
	f.asked++
	if f.whole != nil {
		if out, err := f.whole(b); out != nil || err != nil {
			return out, err
		}
	}
	out := &serving.Output{Shape: []int{b.Rows}}
	for _, x := range b.Columns[0].Floats {
		out.Floats = append(out.Floats, f.row(x))
	}
	return out, nil
}

func double(x float64) float64 { return 2 * x }

// refuses the whole batch when a row is refused, as Python does.
func refuses(bad func(x float64) bool) func(b *serving.Batch) (*serving.Output, error) {
	return func(b *serving.Batch) (*serving.Output, error) {
		for _, x := range b.Columns[0].Floats {
			if bad(x) {
				return nil, slipway.Errorf(slipway.Invalid, "predicting", "Input X contains %v", x)
			}
		}
		return nil, nil
	}
}

func model(t *testing.T, inputs, example string) *mlmodel.Model {
	t.Helper()
	dir := t.TempDir()
	text := "flavors: {}\nsignature: {inputs: '" + inputs + "'}\nsaved_input_example_info: {artifact_path: input_example.json, type: dataframe}\n"
	for name, data := range map[string]string{"MLmodel": text, "input_example.json": example} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func oneColumn(t *testing.T) *mlmodel.Model {
	return model(t, `[{"type": "double", "name": "x"}]`, `{"columns": ["x"], "data": [[1.5], [7.25], [3.0]]}`)
}

func run(t *testing.T, original, native serving.Predictor) (mlmodel.Proof, *proof.Difference, error) {
	t.Helper()
	return proof.Run(t.Context(), proof.Config{
		Model: oneColumn(t), Original: original, Native: native, By: "scikit-learn 1.5.2",
		Golden: []json.RawMessage{json.RawMessage(`{"dataframe_split":{"columns":["x"],"data":[[1.5]]}}`)},
	})
}

// TestEqual proves predictors that answer and refuse alike.
func TestEqual(t *testing.T) {
	t.Parallel()
	strict := refuses(func(x float64) bool { return math.IsNaN(x) || math.IsInf(x, 0) })
	for name, c := range map[string]struct {
		original, native *fake
		rows             int
		largest          float64
	}{
		"same":    {&fake{row: double}, &fake{row: double}, 2001, 0},
		"nearly":  {&fake{row: double}, &fake{row: func(x float64) float64 { return 2 * x * (1 + 1e-12) }}, 2001, 1e-12},
		"NaN":     {&fake{row: math.Sqrt}, &fake{row: math.Sqrt}, 2001, 0},
		"refuses": {&fake{row: double, whole: strict}, &fake{row: double, whole: strict}, 1800, 0},
	} {
		p, d, err := run(t, c.original, c.native)
		if d != nil || err != nil {
			t.Errorf("%s: %v, %v", name, d, err)
			continue
		}
		if p.Rows < c.rows || p.Rows > 2001 || p.By != "scikit-learn 1.5.2" || p.LargestDifference > 1.01*c.largest || p.LargestDifference < 0.9*c.largest {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// TestDiffers names the row by itself, wherever it is.
func TestDiffers(t *testing.T) {
	t.Parallel()
	all := func(*serving.Batch) (*serving.Output, error) {
		return nil, slipway.Errorf(slipway.Invalid, "predicting", "no")
	}
	for name, c := range map[string]struct {
		original, native fake
		golden           bool
		want, got        string
		request          string // a part of it
	}{
		"one number": {fake{row: double}, fake{row: func(x float64) float64 {
			if x == 16777217 {
				x--
			}
			return 2 * x
		}}, false, "33554434", "33554432", "[[16777217.0]]"},
		"the golden request": {fake{row: double}, fake{row: math.Sqrt}, true, "3", "1.224744871391589", "[[1.5]]"},
		"original refuses": {fake{row: double, whole: refuses(math.IsNaN)}, fake{row: double}, false,
			"refused: predicting: The model refused the input: Input X contains NaN", `["NaN"]`, "[[null]]"},
		"native refuses": {fake{row: double}, fake{row: double, whole: refuses(math.IsNaN)}, false,
			`["NaN"]`, "refused: predicting: The model refused the input: Input X contains NaN", "[[null]]"},
		"native fails": {fake{row: double, whole: refuses(math.IsNaN)}, fake{row: double, whole: func(b *serving.Batch) (*serving.Output, error) {
			for _, x := range b.Columns[0].Floats {
				if math.IsNaN(x) {
					panic("a defect")
				}
			}
			return nil, nil
		}}, false, "refused: predicting: The model refused the input: Input X contains NaN", "failed: predicting: ", "[[null]]"},
		"NaN for a number": {fake{row: double}, fake{row: func(x float64) float64 {
			if math.Signbit(x) && x == 0 {
				return math.NaN()
			}
			return 2 * x
		}}, false, "-0", `"NaN"`, "[[-0.0]]"},
		"shape": {fake{row: double}, fake{whole: func(b *serving.Batch) (*serving.Output, error) {
			return &serving.Output{Shape: []int{b.Rows, 1}, Floats: b.Columns[0].Floats}, nil
		}}, true, "3", "[1.5]", "[[1.5]]"},
		"one refuses all": {fake{row: double, whole: all}, fake{row: double}, true, "refused: ", "[3.0]", "[[1.5]]"},
	} {
		_, d, err := run(t, &c.original, &c.native)
		if d == nil || err != nil {
			t.Errorf("%s: %v, %v", name, d, err)
			continue
		}
		if d.Golden != c.golden || d.Row < 1 || !strings.HasPrefix(d.Expected, c.want) || !strings.HasPrefix(d.Got, c.got) || !strings.Contains(d.Request, c.request) {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestRowNumber counts the drawn rows from 1.
func TestRowNumber(t *testing.T) {
	t.Parallel()
	m := oneColumn(t)
	drawn, err := m.Draw(proof.DefaultRows, nil)
	if err != nil {
		t.Fatal(err)
	}
	batch, row := drawn[len(drawn)/2], 0
	for _, rows := range drawn[:len(drawn)/2] {
		row += rows.Len()
	}
	request := string(batch.Request(7, 8))
	value := strings.TrimSuffix(strings.SplitAfter(request, `"data":[[`)[1], "]]}}")
	var x float64
	if err := json.Unmarshal([]byte(value), &x); err != nil {
		t.Fatal(err)
	}
	_, d, err := run(t, &fake{row: double}, &fake{row: func(v float64) float64 {
		if v == x {
			return 0
		}
		return 2 * v
	}})
	if d == nil || err != nil || d.Row > row+8 || d.Request != request || d.Path != "[0]" {
		t.Errorf("%v, %v: not row %d, %s", d, err, row+8, request)
	}
}

// TestBatchOfBadRows bounds how often an engine is asked because some rows are
// refused.
func TestBatchOfBadRows(t *testing.T) {
	t.Parallel()
	bad := refuses(func(x float64) bool { return math.IsNaN(x) || math.Abs(x) > 1e10 })
	original, native := &fake{row: double, whole: bad}, &fake{row: double, whole: bad}
	p, d, err := run(t, original, native)
	if d != nil || err != nil {
		t.Fatal(d, err)
	}
	refused := 2001 - p.Rows
	if refused < 20 || original.asked != native.asked || original.asked > 60+7*refused {
		t.Errorf("asked %d and %d times for %d refused rows", original.asked, native.asked, refused)
	}
	t.Logf("asked %d times; %d rows refused", original.asked, refused)
}

// TestTogetherOnly finds what differs only when rows are asked together.
func TestTogetherOnly(t *testing.T) {
	t.Parallel()
	mood := func(b *serving.Batch) (*serving.Output, error) {
		if b.Rows > 5 {
			return nil, slipway.Errorf(slipway.Invalid, "predicting", "too many")
		}
		return nil, nil
	}
	shifted := func(b *serving.Batch) (*serving.Output, error) {
		out := &serving.Output{Shape: []int{b.Rows}}
		for _, x := range b.Columns[0].Floats {
			out.Floats = append(out.Floats, 2*x+float64(b.Rows-1))
		}
		return out, nil
	}
	for name, original := range map[string]*fake{"refused": {row: double, whole: mood}, "answered": {whole: shifted}} {
		_, d, err := run(t, original, &fake{row: double})
		if d == nil || err != nil || strings.Count(d.Request, "],[") == 0 {
			t.Errorf("%s: %v, %v", name, d, err)
		}
	}
}

func TestNondeterministic(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	if p, d, err := run(t, &fake{row: func(float64) float64 { return r.Float64() }}, &fake{row: double}); d == nil {
		t.Errorf("%v, %v", p, err)
	}
}

// TestNoProof are comparisons that end without a proof and without a difference.
func TestNoProof(t *testing.T) {
	t.Parallel()
	same := &fake{row: double}
	none := &fake{whole: refuses(func(float64) bool { return true })}
	dead := &fake{whole: func(*serving.Batch) (*serving.Output, error) {
		return nil, slipway.Errorf(slipway.Unavailable, "asking Python", "the worker died")
	}}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx              context.Context
		original, native serving.Predictor
		inputs           string
		code             slipway.Code
		text             string
	}{
		"all refused":          {t.Context(), none, none, `[{"type": "double", "name": "x"}]`, slipway.Invalid, "both refuse all but 0"},
		"nothing to draw":      {t.Context(), same, same, `[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [3]}}]`, slipway.Invalid, "of 0 drawn rows"},
		"the original is dead": {t.Context(), dead, same, `[{"type": "double", "name": "x"}]`, slipway.Internal, "the original library failed"},
		"out of time":          {ended, same, same, `[{"type": "double", "name": "x"}]`, slipway.Exhausted, "did not end in time"},
	} {
		p, d, err := proof.Run(c.ctx, proof.Config{Model: model(t, c.inputs, `{"columns": ["x"], "data": [[1.5]]}`), Original: c.original, Native: c.native})
		if d != nil || err == nil || slipway.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.text) || p != (mlmodel.Proof{}) {
			t.Errorf("%s: %+v, %v, %v", name, p, d, err)
		}
	}
}

// TestStopsInTime ends when ctx does, in the middle of the rows.
func TestStopsInTime(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	slow := &fake{row: double}
	slow.whole = func(*serving.Batch) (*serving.Output, error) {
		if slow.asked == 5 {
			cancel(errors.New("enough"))
		}
		return nil, nil
	}
	_, d, err := proof.Run(ctx, proof.Config{Model: oneColumn(t), Original: slow, Native: slow})
	if d != nil || slipway.CodeOf(err) != slipway.Exhausted || !strings.Contains(err.Error(), "enough") || slow.asked > 6 {
		t.Errorf("%v, %v after %d", d, err, slow.asked)
	}
}

// TestDifferenceIsBounded keeps a hostile model's answers short.
func TestDifferenceIsBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é\n", 10_000)
	m := model(t, `[{"type": "string", "name": "x"}]`, `{"columns": ["x"], "data": [["a"]]}`)
	says := func(text string) *fake {
		return &fake{whole: func(b *serving.Batch) (*serving.Output, error) {
			out := &serving.Output{Shape: []int{b.Rows}, Kind: serving.String}
			for range b.Rows {
				out.Strings = append(out.Strings, text)
			}
			return out, nil
		}}
	}
	golden, _ := json.Marshal(map[string]any{"dataframe_records": []any{map[string]string{"x": long}}})
	_, d, err := proof.Run(t.Context(), proof.Config{Model: m, Original: says(long), Native: says("b"), Golden: []json.RawMessage{golden}})
	if d == nil || err != nil || len(d.String()) > 6000 || strings.Contains(d.String(), "\n") {
		t.Errorf("%v, %v", d, err)
	}
}

// TestSchemaTakesWhatIsDrawn wastes no rows on values that the server's own
// schema refuses.
func TestSchemaTakesWhatIsDrawn(t *testing.T) {
	t.Parallel()
	anything := &fake{whole: func(b *serving.Batch) (*serving.Output, error) {
		return &serving.Output{Shape: []int{b.Rows}, Floats: make([]float64, b.Rows)}, nil
	}}
	names, err := filepath.Glob("../../mlmodel/testdata/*")
	if err != nil || len(names) < 10 {
		t.Fatal(names, err)
	}
	proved := map[string]bool{}
	for _, name := range names {
		m, err := mlmodel.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		p, d, err := proof.Run(t.Context(), proof.Config{Model: m, Original: anything, Native: anything, Rows: 1000})
		if d != nil || err == nil && p.Rows < 950 {
			t.Errorf("%s: %+v, %v", name, p, d)
		}
		proved[filepath.Base(name)] = err == nil
	}
	want := map[string]bool{}
	for name := range proved {
		want[name] = true
	}
	if diff := cmp.Diff(want, proved); diff != "" {
		t.Error(diff)
	}
}
