package mlmodel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-dev/slipway/mlmodel"
)

// FuzzMLmodel reads anything as an MLmodel file: a model or an error.
func FuzzMLmodel(f *testing.F) {
	files, err := filepath.Glob("testdata/*/MLmodel")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, seed := range []string{"a: &a [*a]", "? [x]: y", "a: !!binary x", "<<: {a: b}", "a: |\n  x", "\"\\x00\": 1", "- - - -", "a: {b: [c, {d: ]}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := mlmodel.ParseMLmodel(data)
		if err != nil {
			return
		}
		m.RunsCode()
		m.Tolerance()
		m.Dir = "testdata/nowhere"
		if requests, err := m.Requests(3); err == nil {
			for _, r := range requests {
				if !json.Valid(r) {
					t.Errorf("%s", r)
				}
			}
		}
	})
}

// FuzzSignature reads anything as a signature and makes requests of it.
func FuzzSignature(f *testing.F) {
	for _, seed := range []string{
		`[{"type": "double", "name": "x", "required": true}]`, `[{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[-1,3]}}]`,
		`[{"type": "object", "properties": {"a": {"type": "array", "items": {"type": "map", "values": {"type": "any"}}}}}]`,
		`[{"type":"sparkml_vector","name":"v"},{"type":"datetime","name":"t"}]`, `[{"name": 3, "type": "binary"}]`, `[null]`, `null`,
	} {
		f.Add(seed, `[{"name": "top_k", "default": 3, "shape": [-1], "type": "long"}]`)
	}
	f.Fuzz(func(t *testing.T, inputs, params string) {
		s, err := mlmodel.ParseSignature(inputs, inputs, params)
		if err != nil {
			return
		}
		m := mlmodel.Model{Signature: s}
		requests, err := m.Requests(2)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range requests {
			if !json.Valid(r) {
				t.Errorf("%s", r)
			}
		}
	})
}

// FuzzExample reads anything as a model's example, in each form.
func FuzzExample(f *testing.F) {
	for _, seed := range []string{`{"columns":["x"],"data":[[1.0],[NaN]]}`, `[[1.0,2.0]]`, `{"inputs":{"X":[1]},"params":{}}`, `{"X":[[1.0]],"Y":[2]}`, `"hi"`, `null`, `[]`, `{}`, `{"inputs":null}`} {
		f.Add([]byte(seed), true, false)
		f.Add([]byte(seed), false, true)
	}
	f.Fuzz(func(t *testing.T, data []byte, dataframe, params bool) {
		requests, err := mlmodel.RowsOfExample(data, dataframe, params)
		if err != nil {
			return
		}
		for _, r := range requests {
			if !json.Valid(r) {
				t.Errorf("%s", r)
			}
		}
	})
}

// FuzzGolden reads anything as a user's golden file, and compares every answer
// with itself.
func FuzzGolden(f *testing.F) {
	for _, seed := range []string{`[{"request":{"inputs":[1]},"answer":[NaN,{"a":-Infinity}]}]`, `{"predictions":[{"request":[{"x":1}],"answer":{"predictions":[1e999]}}]}`, `[{"request":[[1]]}]`, "[\n{}]"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list, err := mlmodel.ParseGoldenFile("reading", data)
		if err != nil {
			return
		}
		g := mlmodel.Golden{SchemaVersion: 1}
		for _, p := range list {
			if p.Answer == nil {
				p.Answer = json.RawMessage("[]")
			}
			if d := mlmodel.Compare(p.Answer, p.Answer, g); d != nil {
				t.Errorf("%s differs from itself: %v", p.Answer, d)
			}
			g.Predictions = append(g.Predictions, p)
		}
		text, err := g.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := mlmodel.DecodeGolden(text); err != nil {
			t.Errorf("%v: %s", err, text)
		}
	})
}
