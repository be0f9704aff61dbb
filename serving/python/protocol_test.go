package python_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/python"
)

// frame puts messages, each a head and a body, together as a worker does.
func frame(parts ...string) []byte {
	var rest []byte
	for i := 0; i < len(parts); i += 2 {
		rest = binary.LittleEndian.AppendUint32(rest, uint32(len(parts[i])))
		rest = binary.LittleEndian.AppendUint32(rest, uint32(len(parts[i+1])))
		rest = append(append(rest, parts[i]...), parts[i+1]...)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(rest))), rest...)
}

func floats(values ...float64) string {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return string(b)
}

func ints(values ...int64) string {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, uint64(v))
	}
	return string(b)
}

// TestDecode reads what workers say, and what no worker should.
func TestDecode(t *testing.T) {
	t.Parallel()
	array := func(shape ...int) serving.Output { return serving.Output{Kind: serving.Float, Shape: shape} }
	for name, test := range map[string]struct {
		frame []byte
		rows  int
		free  bool
		want  *serving.Output // nil: refused
		says  string
	}{
		"floats":  {frame: frame(`{"array":["<f8",[2]]}`, floats(1.5, math.NaN())), rows: 2, want: &serving.Output{Kind: serving.Float, Shape: []int{2}, Floats: []float64{1.5, math.NaN()}}},
		"ints":    {frame: frame(`{"array":["<i8",[1,2]]}`, ints(-1, 2)), rows: 1, want: &serving.Output{Kind: serving.Int, Shape: []int{1, 2}, Ints: []int64{-1, 2}}},
		"bools":   {frame: frame(`{"array":["?",[2]]}`, "\x00\x01"), rows: 2, want: &serving.Output{Kind: serving.Bool, Shape: []int{2}, Bools: []bool{false, true}}},
		"named":   {frame: frame(`{"named":[["a","<i8",[1]],["b","?",[1]]]}`, ints(7)+"\x01"), rows: 1, want: &serving.Output{List: []serving.Output{{Name: "a", Kind: serving.Int, Shape: []int{1}, Ints: []int64{7}}, {Name: "b", Kind: serving.Bool, Shape: []int{1}, Bools: []bool{true}}}}},
		"columns": {frame: frame(`{"columns":[["a","<i8",[1]]]}`, ints(7)), rows: 1, want: &serving.Output{Columns: true, List: []serving.Output{{Name: "a", Kind: serving.Int, Shape: []int{1}, Ints: []int64{7}}}}},
		"json":    {frame: frame(`{"json":1}`, `[NaN]`), rows: 1, want: &serving.Output{JSON: []byte(`[NaN]`)}},
		"free":    {frame: frame(`{"array":["<f8",[0]]}`, ""), rows: 2, free: true, want: &serving.Output{Kind: serving.Float, Shape: []int{0}, Free: true}},
		"no columns inside": {frame: frame(`{"array":["<f8",[2,0]]}`, ""), rows: 2, want: func() *serving.Output {
			o := array(2, 0)
			return &o
		}()},

		"wrong rows":         {frame: frame(`{"array":["<f8",[2]]}`, floats(1, 2)), rows: 1, says: "answered 1 rows with 2"},
		"wrong rows, json":   {frame: frame(`{"json":3}`, `[1,2,3]`), rows: 1, says: "answered 1 rows with 3"},
		"bytes too few":      {frame: frame(`{"array":["<f8",[2]]}`, floats(1)), rows: 2, says: "larger than its values"},
		"bytes too many":     {frame: frame(`{"array":["<f8",[1]]}`, floats(1, 2)), rows: 1, says: "8 bytes too many"},
		"negative":           {frame: frame(`{"array":["<f8",[-1,-1]]}`, floats(1)), rows: 1, says: "larger than"},
		"overflow":           {frame: frame(`{"array":["<f8",[1,4294967296,4294967296,8]]}`, ""), rows: 1, says: "larger than"},
		"brackets for ever":  {frame: frame(`{"array":["<f8",[100000000000,0]]}`, ""), rows: 1, free: true, says: "larger than"},
		"no dimension":       {frame: frame(`{"array":["<f8",[]]}`, floats(1)), rows: 1, says: "0 dimensions"},
		"another type":       {frame: frame(`{"array":[">c16",[1]]}`, floats(1, 2)), rows: 1, says: `type ">c16"`},
		"three in a list":    {frame: frame(`{"array":["<f8",[1],1]}`, floats(1)), rows: 1, says: "a list of 3"},
		"no name":            {frame: frame(`{"named":[["","<f8",[1]]]}`, floats(1)), rows: 1, says: "without a name"},
		"ragged columns":     {frame: frame(`{"columns":[["a","<i8",[1]],["b","<i8",[2]]]}`, ints(1, 2, 3)), rows: 1, free: true, says: "not equally long"},
		"columns of columns": {frame: frame(`{"columns":[["a","<i8",[1,1]]]}`, ints(1)), rows: 1, says: "not equally long"},
		"nothing":            {frame: frame(`{}`, ""), rows: 1, says: "without a value"},
		"no JSON":            {frame: frame(`{"array"`, ""), rows: 1, says: "protocol"},
		"no message":         {frame: frame(), rows: 1, says: "protocol"},
		"cut message":        {frame: []byte{4, 0, 0, 0, 1, 0, 0, 0}, rows: 1, says: "a message of 4 bytes"},
		"long message":       {frame: []byte{8, 0, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0}, rows: 1, says: "longer than its frame"},
		"huge frame":         {frame: []byte{255, 255, 255, 255}, rows: 1, says: "more than"},
		"cut frame":          {frame: frame(`{"json":1}`, `[1]`)[:10], rows: 1, says: "EOF"},
		"exception": {frame: frame(`{"failed":{"at":"predict","type":"KeyError","message":"no '/home/ci/secret/weights.txt'"}}`, ""), rows: 1,
			says: "KeyError: no '…/weights.txt'"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := python.Decode(bytes.NewReader(test.frame), test.rows, test.free)
			if test.want == nil {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if d := cmp.Diff(test.want, got, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" || err != nil {
				t.Error(d, err)
			}
		})
	}
}

// FuzzDecode reads any bytes as a worker's answer: what is taken is an answer
// that can be written.
func FuzzDecode(f *testing.F) {
	for _, seed := range [][]byte{
		frame(`{"array":["<f8",[2]]}`, floats(1.5, 2)), frame(`{"array":["?",[2,0]]}`, ""), frame(`{"json":2}`, `[NaN, {"a": "-Infinity"}]`),
		frame(`{"named":[["a","<i8",[2]],["b","?",[2]]]}`, ints(7, 8)+"\x01\x00"), frame(`{"columns":[["a","<i8",[2]]]}`, ints(7, 8)),
		frame(`{"failed":{"at":"predict","type":"ValueError","message":"x"}}`, ""), frame(`{}`, "", `{}`, ""),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, free := range []bool{false, true} {
			out, err := python.Decode(bytes.NewReader(data), 2, free)
			if err != nil {
				continue
			}
			text, err := serving.Predict(t.Context(), &mlmodel.Model{}, fixed{out}, []byte(`{"inputs":[1,2]}`))
			if err == nil && len(text) == 0 {
				t.Errorf("no answer of %+v", out)
			}
			if err != nil && out.JSON == nil {
				t.Errorf("%+v: %v", out, err)
			}
		}
	})
}

// fixed answers what it holds.
type fixed struct{ out *serving.Output }

func (f fixed) Predict(_ context.Context, _ *serving.Batch) (*serving.Output, error) {
	return f.out, nil
}

// TestEncode writes each type of column and tensor as the protocol says.
func TestEncode(t *testing.T) {
	t.Parallel()
	m := model(t, `[{"type":"double","name":0},{"type":"float","name":"f"},{"type":"integer","name":"i"},{"type":"long","name":"l","required":false},{"type":"string","name":"s\""},{"type":"any","name":"a"}]`)
	m.Signature.Params = []mlmodel.Param{{Name: "z"}, {Name: "a"}}
	got, err := python.Encode(m, &serving.Batch{Rows: 2, Params: map[string]any{"a": 1.0, "z": []any{int64(1), nil, true, "ü\n"}}, Columns: []serving.Column{
		{Name: "0", Kind: serving.Float, Type: "double", Floats: []float64{1, 2}},
		{Name: "f", Kind: serving.Float, Type: "float", Floats: []float64{1, 2}},
		{Name: "i", Kind: serving.Int, Type: "integer", Ints: []int64{-1, 2}},
		{Name: "l", Kind: serving.Int, Type: "long", Ints: []int64{7, 0}, Missing: []bool{false, true}},
		{Name: `s"`, Kind: serving.String, Type: "string", Strings: []string{"x", "5"}, Literal: []bool{false, true}},
		{Name: "a", Kind: serving.Any, Type: "any", Values: []any{map[string]any{"b": 2.0, "a": math.Inf(-1)}, []any{math.NaN()}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	head := `{"rows":2,"columns":[[0,"d"],["f","f"],["i","i"],["l","d"],["s\"","s"],["a","o"]],"params":{"z":[1,null,true,"ü\u000a"],"a":1.0},"sizes":[16,8,8,16,7,31]}`
	body := floats(1, 2) + "\x00\x00\x80\x3f\x00\x00\x00\x40" + "\xff\xff\xff\xff\x02\x00\x00\x00" + floats(7, math.NaN()) + `["x",5]` + `[{"a":-Infinity,"b":2.0},[NaN]]`
	if d := cmp.Diff(string(frame(head, body)), string(got)); d != "" {
		t.Error(d)
	}
}

// TestKind says what may be asked together.
func TestKind(t *testing.T) {
	t.Parallel()
	columns, tensor := model(t, `[{"type":"double","name":"x"}]`), model(t, `[{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[-1,2]}}]`)
	fixedTensor := model(t, `[{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[2]}}]`)
	one := &serving.Batch{Rows: 1, Columns: []serving.Column{{Name: "x", Kind: serving.Float, Floats: []float64{1}}}}
	two := &serving.Batch{Rows: 2, Columns: []serving.Column{{Name: "x", Kind: serving.Float, Floats: []float64{1, 2}}}}
	rows := func(n, width int) *serving.Batch {
		return &serving.Batch{Rows: n, Tensors: []serving.Tensor{{DType: "float32", Shape: []int{n, width}, Floats: make([]float64, n*width)}}}
	}
	if a, b := python.Kind(columns, one), python.Kind(columns, two); a == "" || a != b {
		t.Errorf("rows of the same columns are of one kind: %q, %q", a, b)
	}
	if a, b := python.Kind(tensor, rows(1, 2)), python.Kind(tensor, rows(3, 2)); a == "" || a != b {
		t.Errorf("rows of the same tensor are of one kind: %q, %q", a, b)
	}
	if a, b := python.Kind(tensor, rows(1, 2)), python.Kind(tensor, rows(1, 3)); a == b {
		t.Error("tensors of two widths are of one kind")
	}
	if kind := python.Kind(fixedTensor, rows(2, 1)); kind != "" {
		t.Errorf("a tensor without rows is of the kind %q", kind)
	}
	if kind := python.Kind(&mlmodel.Model{}, &serving.Batch{Rows: 1, Format: "inputs", Body: []byte("[1]")}); kind != "" {
		t.Errorf("a body is of the kind %q", kind)
	}
}

func model(t *testing.T, inputs string) *mlmodel.Model {
	t.Helper()
	s, err := mlmodel.ParseSignature(inputs, "", "")
	if err != nil {
		t.Fatal(err)
	}
	return &mlmodel.Model{Signature: s, Loader: "custom"}
}

// TestOutput reads a worker's output: lines with their requests, bounded.
func TestOutput(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	text := "loading\n\x1e1\na\n\nb\x1e0\nbetween\n\x1e2\n" + strings.Repeat("x", 200_000) + "\n\x1enonsense\x1e0\n" + strings.Repeat("flood\n", 500)
	python.ReadOutput(strings.NewReader(text), slog.New(slog.NewTextHandler(&log, nil)), map[int]string{1: "one", 2: "two"})
	got := log.String()
	for _, want := range []string{"line=loading\n", "line=a request=one\n", "line=b request=one\n", "line=between\n", "line=" + strings.Repeat("x", 1000) + " request=two\n", "line=nonsense request=two\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %.100q", want)
		}
	}
	if n := strings.Count(got, "line=flood"); n == 0 || n > 100 {
		t.Errorf("%d lines of a flood", n)
	}
}

func TestWithoutPaths(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[Errno 2] No such file or directory: '/model/artifacts/weights.txt'": "[Errno 2] No such file or directory: '…/weights.txt'",
		"File \"/slipway/site-packages/sklearn/base.py\", line 1":             "File \"…/base.py\", line 1",
		"1/2 and a/b stay, (/tmp/x/) goes":                                    "1/2 and a/b stay, (…/) goes",
		"could not convert string to float: 'a'":                              "could not convert string to float: 'a'",
	} {
		if got := python.WithoutPaths(text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
}

// TestCheck says what is missing.
func TestCheck(t *testing.T) {
	t.Parallel()
	none := func(name string) (string, error) { return "", fmt.Errorf("no %s", name) }
	for name, test := range map[string]struct {
		config python.Config
		model  mlmodel.Model
		says   string
	}{
		"no loader":      {python.Config{}, mlmodel.Model{Flavors: map[string]mlmodel.Flavor{"mleap": nil}}, `flavour "mleap" has no python_function`},
		"no packages":    {python.Config{Site: []string{"/nowhere/site-packages"}}, mlmodel.Model{Loader: "x"}, "no folder /nowhere/site-packages"},
		"no interpreter": {python.Config{Lookup: none}, mlmodel.Model{Loader: "x", Python: mlmodel.Python{Version: "3.9.2"}}, "no python3.9 in PATH"},
		"not that one":   {python.Config{Interpreter: "python9", Lookup: none}, mlmodel.Model{Loader: "x"}, "no interpreter python9"},
	} {
		err := python.New(test.config).Check(&test.model)
		if err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	found := func(name string) (string, error) {
		if name == "python3.11" {
			return "/usr/bin/python3.11", nil
		}
		return "", errors.New("none")
	}
	if err := python.New(python.Config{Lookup: found}).Check(&mlmodel.Model{Loader: "x", Python: mlmodel.Python{Version: "3.11.7"}}); err != nil {
		t.Error(err)
	}
}
