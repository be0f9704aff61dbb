package mlmodel_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/mlmodel"
)

func requests(t *testing.T, m *mlmodel.Model) []string {
	t.Helper()
	list, err := m.Requests(5)
	if err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, r := range list {
		if !json.Valid(r) {
			t.Errorf("not JSON: %s", r)
		}
		texts = append(texts, string(r))
	}
	return texts
}

// TestRequests pins the golden requests of models with and without examples:
// they must be the same on every machine.
func TestRequests(t *testing.T) {
	t.Parallel()
	iris := []string{
		`{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[5.1,3.5,1]]}}`,
		`{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[4.9,3.0,2]]}}`,
		`{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[5.253,3.0,1]]}}`,
		`{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[5.194,3.71,2]]}}`,
		`{"dataframe_split":{"columns":["sepal_length","sepal_width","n"],"data":[[5.559,3.815,1]]}}`,
	}
	for name, want := range map[string][]string{
		"sklearn-skops": iris,
		"pyfunc-models-from-code": {
			`{"dataframe_split":{"columns":["x"],"data":[[1.0]]},"params":{"factor":3.0}}`,
			`{"dataframe_split":{"columns":["x"],"data":[[2.0]]},"params":{"factor":3.0}}`,
			`{"dataframe_split":{"columns":["x"],"data":[[5.0]]},"params":{"factor":3.0}}`,
			`{"dataframe_split":{"columns":["x"],"data":[[7.0]]},"params":{"factor":3.0}}`,
			`{"dataframe_split":{"columns":["x"],"data":[[9.0]]},"params":{"factor":3.0}}`,
		},
		"onnx-tensor": {
			`{"inputs":{"X":[[5.099999904632568,3.5,1.0]]}}`, `{"inputs":{"X":[[4.900000095367432,3.0,2.0]]}}`,
			`{"inputs":{"X":[[5.253,3.605,1.0]]}}`, `{"inputs":{"X":[[5.194,3.0,2.0]]}}`, `{"inputs":{"X":[[5.559,3.815,1.0]]}}`,
		},
		"mlflow-1.30": {
			`{"inputs":[[5.1,3.5]]}`, `{"inputs":[[4.9,3.0]]}`, `{"inputs":[[5.253,3.605]]}`, `{"inputs":[[5.194,3.0]]}`, `{"inputs":[[5.559,3.815]]}`,
		},
		"mlflow-2.9": {
			`{"dataframe_split":{"columns":[0,1],"data":[[3,null]]}}`, `{"dataframe_split":{"columns":[0,1],"data":[[4,0.5]]}}`,
			`{"dataframe_split":{"columns":[0,1],"data":[[3,0.515]]}}`, `{"dataframe_split":{"columns":[0,1],"data":[[4,null]]}}`, `{"dataframe_split":{"columns":[0,1],"data":[[4,0.56]]}}`,
		},
		"pyfunc-type-hint": {
			`{"inputs":[{"role":"user","n":1,"opt":null}]}`, `{"inputs":[{"n":1,"opt":"b","role":"c"}]}`, `{"inputs":[{"n":2,"opt":"c","role":"d"}]}`,
			`{"inputs":[{"n":3,"opt":"d","role":"e"}]}`, `{"inputs":[{"n":4,"opt":"e","role":"f"}]}`,
		},
	} {
		m, err := mlmodel.Open(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want, requests(t, m)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
		if d := cmp.Diff(requests(t, m), requests(t, m)); d != "" {
			t.Errorf("%s: not the same twice: %s", name, d)
		}
	}
}

// TestMadeDoubles: inside arrays, maps and objects MLflow refuses doubles
// without a decimal point.
func TestMadeDoubles(t *testing.T) {
	t.Parallel()
	m, err := mlmodel.Open("testdata/pyfunc-all-types")
	if err != nil {
		t.Fatal(err)
	}
	list := requests(t, m)
	if len(list) != 5 {
		t.Fatalf("%d requests", len(list))
	}
	for _, r := range list {
		var body struct {
			Split struct {
				Columns []string            `json:"columns"`
				Data    [][]json.RawMessage `json:"data"`
			} `json:"dataframe_split"`
		}
		if err := json.Unmarshal([]byte(r), &body); err != nil {
			t.Fatal(err)
		}
		for i, name := range body.Split.Columns {
			value := string(body.Split.Data[0][i])
			if (name == "mat" || name == "m") && !strings.Contains(value, ".") {
				t.Errorf("%s: %s", name, value)
			}
		}
	}
}

// TestExampleForms reads the example of a model in each form MLflow writes.
func TestExampleForms(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		info, input, serving string
		want                 []string
	}{
		"split":                 {"type: dataframe, pandas_orient: split", `{"columns":["x"],"index":[0,1],"data":[[1.0],[2]]}`, "", []string{`{"dataframe_split":{"columns":["x"],"data":[[1.0]]}}`, `{"dataframe_split":{"columns":["x"],"data":[[2]]}}`}},
		"split without columns": {"type: dataframe, pandas_orient: split", `{"data":[[1.0,2]]}`, "", []string{`{"dataframe_split":{"data":[[1.0,2]]}}`}},
		"array":                 {"type: ndarray", `[[1.0,2.0],[3.0,4.0]]`, "", []string{`{"inputs":[[1.0,2.0]]}`, `{"inputs":[[3.0,4.0]]}`}},
		"named arrays":          {"type: ndarray", `{"X":[[1.0],[2.0]],"Y":[3,4]}`, "", []string{`{"inputs":{"X":[[1.0]],"Y":[3]}}`, `{"inputs":{"X":[[2.0]],"Y":[4]}}`}},
		"instances":             {"type: ndarray, format: tf-serving", `{"instances":[[1.0],[2.0]]}`, "", []string{`{"instances":[[1.0]]}`, `{"instances":[[2.0]]}`}},
		"an object":             {"type: json_object", `{"q":"hi","n":1}`, "", []string{`{"inputs":{"q":"hi","n":1}}`}},
		"a text":                {"type: json_object", `"hi"`, "", []string{`{"inputs":"hi"}`}},
		"params":                {"type: dataframe, pandas_orient: split, params: 'true'", `{"inputs":{"columns":["x"],"data":[[1.0]]},"params":{"k":2}}`, "", []string{`{"dataframe_split":{"columns":["x"],"data":[[1.0]]},"params":{"k":2}}`}},
		"params, array":         {"type: ndarray, params: 'true'", `{"inputs":[[1.0]],"params":{"k":2}}`, "", []string{`{"inputs":[[1.0]],"params":{"k":2}}`}},
		"sparse":                {"type: sparse_matrix_csr", `{"data":[1],"indices":[0],"indptr":[0,1],"shape":[1,1]}`, "", nil},
		"serving first":         {"type: dataframe, pandas_orient: split", `{"columns":["x"],"data":[[9.0]]}`, `{"dataframe_records":[{"x":1.0},{"x":NaN}]}`, []string{`{"dataframe_records":[{"x":1.0}]}`, `{"dataframe_records":[{"x":null}]}`}},
		"NaN in a text":         {"type: json_object", `[{"q":"not a NaN","v":NaN}]`, "", []string{`{"inputs":[{"q":"not a NaN","v":null}]}`}},
		"a conversation":        {"type: json_object", `{"messages":[{"role":"user"}]}`, `{"messages":[{"role":"user"}]}`, []string{`{"messages":[{"role":"user"}]}`}},
		"no file":               {"type: dataframe", "", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			info := "artifact_path: input_example.json, " + test.info
			if test.serving != "" {
				info += ", serving_input_path: serving_input_example.json"
			}
			for file, text := range map[string]string{"MLmodel": fmt.Sprintf("saved_input_example_info: {%s}\n", info), "input_example.json": test.input, "serving_input_example.json": test.serving} {
				if text == "" {
					continue
				}
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			m, err := mlmodel.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(test.want, requests(t, m)); d != "" {
				t.Error(d)
			}
		})
	}
}
