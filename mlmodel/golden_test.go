package mlmodel_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	loose, single := mlmodel.Golden{Nondeterministic: true}, mlmodel.Golden{Tolerance: mlmodel.ToleranceFloat32}
	for name, test := range map[string]struct {
		want, got string
		golden    mlmodel.Golden
		path      string // "equal", or where they differ
	}{
		"equal":                    {`[1,2.5,"a",null,true]`, `[1,2.5,"a",null,true]`, mlmodel.Golden{}, "equal"},
		"within 1e-9":              {`[1000000.0]`, `[1000000.0009]`, mlmodel.Golden{}, "equal"},
		"beyond 1e-9":              {`[1000000.0]`, `[1000000.002]`, mlmodel.Golden{}, "[0]"},
		"within 1e-5":              {`[0.5]`, `[0.500004]`, single, "equal"},
		"beyond 1e-5":              {`[0.5]`, `[0.50001]`, single, "[0]"},
		"class":                    {`["a","b"]`, `["a","c"]`, mlmodel.Golden{}, "[1]"},
		"whole numbers exactly":    {`[9007199254740993]`, `[9007199254740992]`, mlmodel.Golden{}, "[0]"},
		"whole for a double":       {`[3]`, `[3.0]`, mlmodel.Golden{}, "equal"},
		"a class for another kind": {`[1]`, `["1"]`, mlmodel.Golden{}, "[0]"},
		"true is not one":          {`[true]`, `[1]`, mlmodel.Golden{}, "[0]"},
		"NaN":                      {`["NaN"]`, `[NaN]`, mlmodel.Golden{}, "equal"},
		"NaN for a number":         {`[1.0]`, `[NaN]`, mlmodel.Golden{}, "[0]"},
		"infinities":               {`["-Infinity","Infinity"]`, `[-Infinity,Infinity]`, mlmodel.Golden{}, "equal"},
		"the other infinity":       {`["-Infinity"]`, `[Infinity]`, mlmodel.Golden{}, "[0]"},
		"beyond float64":           {`[1e999]`, `[Infinity]`, mlmodel.Golden{}, "equal"},
		"what cancels out":         {`[[1.0,1e-17]]`, `[[1.0,3e-17]]`, mlmodel.Golden{}, "equal"},
		"small alone":              {`[1e-17]`, `[3e-17]`, mlmodel.Golden{}, "[0]"},
		"zero":                     {`[0.0]`, `[-0.0]`, mlmodel.Golden{}, "equal"},
		"nested":                   {`[{"p":[0.1,0.9]}]`, `[{"p":[0.1,0.8]}]`, mlmodel.Golden{}, "[0].p[1]"},
		"longer":                   {`[1]`, `[1,2]`, mlmodel.Golden{}, ""},
		"another key":              {`[{"a":1}]`, `[{"b":1}]`, mlmodel.Golden{}, "[0]"},
		"loose: another number":    {`[1.0]`, `[2.0]`, loose, "equal"},
		"loose: another text":      {`["a"]`, `["b"]`, loose, "equal"},
		"loose: another shape":     {`[[1.0]]`, `[[1.0,2.0]]`, loose, "[0]"},
		"loose: another type":      {`[1.0]`, `["a"]`, loose, "[0]"},
		"loose: not finite":        {`[1.0]`, `[NaN]`, loose, "[0]"},
		"not JSON":                 {`[1.0]`, `<html>`, mlmodel.Golden{}, ""},
	} {
		d := mlmodel.Compare(json.RawMessage(test.want), json.RawMessage(test.got), test.golden)
		switch {
		case d == nil && test.path != "equal":
			t.Errorf("%s: no difference", name)
		case d != nil && (test.path == "equal" || d.Path != test.path):
			t.Errorf("%s: %v at %q", name, d, d.Path)
		}
	}
}

func TestDifference(t *testing.T) {
	t.Parallel()
	d := mlmodel.Compare(json.RawMessage(`["versicolor"]`), json.RawMessage(`["virginica"]`), mlmodel.Golden{})
	if d.String() != `at [0]: expected "versicolor", got "virginica"` {
		t.Error(d)
	}
	d = mlmodel.Compare(json.RawMessage(`["`+strings.Repeat("ü", 1000)+`"]`), json.RawMessage(`[1]`), mlmodel.Golden{})
	if len(d.Want) > 200 {
		t.Errorf("%d bytes", len(d.Want))
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	for reply, want := range map[string]string{
		`{"predictions": [1, NaN, -Infinity, "say \"NaN\""], "model": "m"}`: `[1, "NaN", "-Infinity", "say \"NaN\""]`,
		`{"predictions": [0, 1]}`:         `[0, 1]`,
		`{"predictions": {"label": [0]}}`: `{"label": [0]}`,
	} {
		if got, err := mlmodel.Answer([]byte(reply)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", reply, got, err)
		}
	}
	for _, reply := range []string{``, `<html>`, `{"error_code":"BAD_REQUEST"}`, `[1]`} {
		if _, err := mlmodel.Answer([]byte(reply)); slipway.CodeOf(err) != slipway.Invalid {
			t.Errorf("%s: %v", reply, err)
		}
	}
}

// TestGoldenFile writes and reads golden predictions; the bytes are pinned,
// because they are part of an image's digest.
func TestGoldenFile(t *testing.T) {
	t.Parallel()
	g := mlmodel.Golden{SchemaVersion: 1, Source: slipway.Proved, By: "scikit-learn 1.5.2", Tolerance: 1e-9, Predictions: []mlmodel.Prediction{
		{Request: json.RawMessage(`{"inputs": [ {"x": 1.0, "s": "<&>"} ]}`), Answer: json.RawMessage(`[2.0]`)},
		{Request: json.RawMessage(`{"inputs":[]}`), Answer: json.RawMessage(`["NaN"]`)},
	}}
	data, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"schemaVersion":1,"source":"proved","by":"scikit-learn 1.5.2","tolerance":1e-9,"predictions":[
{"request":{"inputs":[{"x":1.0,"s":"<&>"}]},"answer":[2.0]},
{"request":{"inputs":[]},"answer":["NaN"]}
]}
`
	if d := cmp.Diff(want, string(data)); d != "" {
		t.Error(d)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, mlmodel.ReleaseDir), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, mlmodel.ReleaseDir, mlmodel.GoldenFile), data, 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := mlmodel.ReadGolden(dir)
	if err != nil || len(got.Predictions) != 2 || got.By != g.By {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := mlmodel.ReadGolden(t.TempDir()); slipway.CodeOf(err) != slipway.NotFound {
		t.Error(err)
	}
}

func TestEmptyGolden(t *testing.T) {
	t.Parallel()
	data, err := mlmodel.Golden{SchemaVersion: 1, Source: slipway.Unchecked}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if g, err := mlmodel.DecodeGolden(data); err != nil || len(g.Predictions) != 0 {
		t.Errorf("%s: %+v, %v", data, g, err)
	}
}

func TestUserGolden(t *testing.T) {
	t.Parallel()
	want := []mlmodel.Prediction{
		{Request: json.RawMessage(`{"inputs":[{"x":1}]}`), Answer: json.RawMessage(`[2]`)},
		{Request: json.RawMessage(`{"dataframe_records":[{"x":2}]}`)},
	}
	for name, text := range map[string]string{
		"a list":      `[{"request":{"inputs":[{"x":1}]},"answer":[2]},{"request":[{"x":2}]}]`,
		"an object":   `{"predictions":[{"answer":[2],"request":{"inputs":[{"x":1}]}},{"request":[{"x":2}],"answer":null}]}`,
		"whole reply": `[{"request":{"inputs":[{"x":1}]},"answer":{"predictions":[2],"model":"iris","version":"3"}},{"request":[{"x":2}]}]`,
	} {
		file := filepath.Join(t.TempDir(), "golden.json")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := mlmodel.ReadGoldenFile(file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestUserGoldenRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"[\n  {\"request\": {\"inputs\": [1]},\n  \"answer\" [1]}\n]": "line 3, column 12",
		``:              "unexpected end",
		`[]`:            "holds 0 predictions",
		`{}`:            "",
		`{"golden":[]}`: `unknown field "golden"`,
		`[1]`:           "line 1, column 2: prediction 1",
		"[{\"request\":{}},\n {\"requests\":{}}]": `line 2, column 2: prediction 2: json: unknown field "requests"`,
		`[{"answer":[1]}]`:                        `"request" must be`,
		`[{"request":"x"}]`:                       `"request" must be`,
	} {
		_, err := mlmodel.ParseGoldenFile("reading golden.json", []byte(text))
		if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(err.Error(), want) || slipway.HintOf(err) == "" {
			t.Errorf("%s: %v (%s)", text, err, slipway.HintOf(err))
		}
	}
	if _, err := mlmodel.ReadGoldenFile(filepath.Join(t.TempDir(), "none.json")); slipway.CodeOf(err) != slipway.NotFound {
		t.Error(err)
	}
}
