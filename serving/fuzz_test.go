package serving_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// FuzzReader compares the reader with encoding/json: it accepts the same
// texts and reads the same values.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,-0,0.1e5,1E-3,9007199254740993,1e308],"b":"\u00e9\ud83d\ude00\ud800x\n","c":[true,false,null,[],{}]}`,
		`[1.7976931348623157e308,5e-324,123456789012345678,0.1,1e22,1e23,4.35,2.2250738585072014e-308]`,
		"\t\n\r [ ]", `"a\\b\/\b\f\"\t\r"`, `01`, `1.`, `.5`, `-`, `+1`, `1e`, `[1,]`, `{"a" 1}`, `{"a":1,"a":2}`, `nul`, `[1]x`, `"\u12"`, "\"\x01\"", `""`, `{"":0}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if !utf8.Valid(data) || bytes.Contains(data, []byte("NaN")) || bytes.Contains(data, []byte("Infinity")) {
			return // where the reader differs on purpose
		}
		got, err := serving.ReadAny(data)
		var want any
		wantErr := json.Unmarshal(data, &want)
		var tooDeep *json.UnmarshalTypeError
		if errors.As(wantErr, &tooDeep) {
			return // a number beyond float64, which is tested apart
		}
		if nesting(data) > 100 {
			return
		}
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("reader: %v, encoding/json: %v, on %q", err, wantErr, data)
		}
		if d := cmp.Diff(want, asJSON(got)); err == nil && d != "" {
			t.Errorf("%q: -encoding/json +reader\n%s", data, d)
		}
	})
}

func nesting(data []byte) (most int) {
	depth := 0
	for _, c := range data {
		switch c {
		case '[', '{':
			depth++
			most = max(most, depth)
		case ']', '}':
			depth--
		}
	}
	return most
}

// asJSON gives whole numbers encoding/json's type.
func asJSON(v any) any {
	switch v := v.(type) {
	case int64:
		return float64(v)
	case []any:
		for i := range v {
			v[i] = asJSON(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = asJSON(v[key])
		}
	}
	return v
}

// FuzzFloat compares the writer's digits with what they are read as.
func FuzzFloat(f *testing.F) {
	for _, seed := range []float64{0, -0.1, 1, 1e15, 1e16, 1e-4, 9.999e-5, 5e-324, math.MaxFloat64, math.NaN(), math.Inf(-1), 0.1 + 0.2} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, v float64) {
		text := serving.AppendOutput(&serving.Output{Shape: []int{1}, Floats: []float64{v}})
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return
		}
		if !bytes.ContainsAny(text, ".e") {
			t.Errorf("%s looks like a whole number", text)
		}
		got, err := serving.ReadAny(text)
		if err != nil || got.([]any)[0] != v {
			t.Errorf("%v was written %s and read %v, %v", v, text, got, err)
		}
	})
}

// FuzzRequests sends anything to models with every kind of signature. What is
// answered must be JSON, and what is refused must be the client's fault.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		`{"dataframe_split":{"columns":["b","i","l","f","d","s","t"],"data":[[true,1,2,1.5,2.5,"x","2024-05-01"]]}}`,
		`{"dataframe_records":[{"b":true,"i":1,"l":2,"f":1.5,"d":2.5,"s":"x","t":"2024-05-01T12:30:00","blob":"aGVsbG8=","opt":1,"arr":[1,2],"obj":{"name":"a","age":3},"m":{"k":1.5},"mat":[[1.0],[2.0,3.0]],"any":[1,"x"]}],"params":{"temperature":1,"top_k":5}}`,
		`{"inputs":{"X":[[5.1,3.5,1],[6.2,3.4,3]]}}`, `{"inputs":[[5.1,3.5,1]]}`, `{"instances":[{"X":[5.1,3.5,1]}]}`, `{"dataframe_split":{"data":[[[5.1,3.5,1]]],"columns":["X"]}}`,
		`{"inputs":[{"role":"user","n":1}]}`, `{"inputs":[[[1]],[2]]}`, `{"instances":[]}`, `{"inputs":{"X":[]}}`, `{"input":"x","x":1.5}`, `{"inputs":[1.0,2.0]}`, `[{"x":1},[]]`, `{"inputs":{"x":1}}`,
		"b,i\ntrue,1\n",
	} {
		for kind := range byte(10) {
			f.Add(kind, []byte(seed))
		}
	}
	servers := fuzzModels(f)
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		m := servers[int(kind)%len(servers)]
		answer, err := serving.PredictWith(m, &spy{}, body, kind&1 == 1, kind&2 == 2)
		if err != nil && slipway.CodeOf(err) != slipway.Invalid {
			t.Fatalf("%q: %v", body, err)
		}
		if err == nil && !json.Valid(answer) {
			t.Errorf("%q: %s", body, answer)
		}
	})
}

func fuzzModels(f *testing.F) []*mlmodel.Model {
	var list []*mlmodel.Model
	for _, name := range []string{"pyfunc-all-types", "onnx-tensor", "pyfunc-type-hint", "pyfunc-models-from-code", "pyfunc-tensor-unnamed"} {
		m, err := mlmodel.Open("testdata/models/" + name)
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, m)
	}
	return append(list, &mlmodel.Model{})
}
