package serving_test

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/slipway-dev/slipway/serving"
)

// TestStrict is the table of what MLflow's server silently bends: refused
// with row and column, or read exactly.
func TestStrict(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		column string // of pyfunc-all-types
		value  string
		want   string // "" : accepted; else a part of the message
	}{
		"fraction for long":             {"l", `1.7`, `Row 2, column "l": 1.7 is not a long.`},
		"whole double for long":         {"l", `2.0`, ""},
		"exponent for long":             {"l", `1e3`, ""},
		"text for long":                 {"l", `"1"`, `Row 2, column "l": "1" is not a long.`},
		"bool for long":                 {"l", `true`, `true is not a long`},
		"null for long":                 {"l", `null`, `null is not a long`},
		"2^63 for long":                 {"l", `9223372036854775808`, `is not a long`},
		"2^63-1 for long":               {"l", `9223372036854775807`, ""},
		"20 digits for long":            {"l", `100000000000000000000`, `is not a long`},
		"-0 for long":                   {"l", `-0`, ""},
		"3e9 for integer":               {"i", `3000000000`, `3000000000 is not an integer`},
		"min integer":                   {"i", `-2147483648`, ""},
		"text for double":               {"d", `"5.1"`, `"5.1" is not a double`},
		"null for double":               {"d", `null`, ""},
		"NaN for double":                {"d", `NaN`, ""},
		"Infinity for double":           {"d", `-Infinity`, ""},
		"bool for double":               {"d", `false`, `false is not a double`},
		"whole for double":              {"d", `12345678901`, ""},
		"huge for double":               {"d", `1e400`, `is beyond the range of a double`},
		"huge for float":                {"f", `1e39`, `is beyond the range of a float`},
		"text for boolean":              {"b", `"false"`, `"false" is not a boolean`},
		"null for boolean":              {"b", `null`, `null is not a boolean`},
		"one for boolean":               {"b", `1`, `1 is not a boolean`},
		"number for string":             {"s", `5`, `5 is not a string`},
		"null for string":               {"s", `null`, ""},
		"escaped string":                {"s", `"\u00e9\n\"\ud83d\ude00"`, ""},
		"date":                          {"t", `"2024-05-01"`, ""},
		"time with a fraction":          {"t", `"2024-05-01T12:30:00.123456"`, ""},
		"time with a zone":              {"t", `"2024-05-01T12:30:00Z"`, `has a time zone`},
		"time with an offset":           {"t", `"2024-05-01T12:30:00+02:00"`, `has a time zone`},
		"number for time":               {"t", `1714566600000`, `is not a datetime`},
		"year 3000":                     {"t", `"3000-01-01"`, `outside the years`},
		"no time":                       {"t", `"hello"`, `"hello" is not a time like`},
		"base64":                        {"blob", `"aGVsbG8="`, ""},
		"not base64":                    {"blob", `"***"`, `is not base64`},
		"null for optional binary":      {"blob", `null`, ""},
		"null for optional double":      {"opt", `null`, ""},
		"array":                         {"arr", `[1,2]`, ""},
		"array with a fraction":         {"arr", `[1.5]`, `no long (element 0)`},
		"array with a text":             {"arr", `[1,"a"]`, `(element 1)`},
		"no array":                      {"arr", `1`, `is no array`},
		"whole numbers in a matrix":     {"mat", `[[5,6],[7]]`, ""},
		"whole number in a map":         {"m", `{"k":7}`, ""},
		"text in a map":                 {"m", `{"k":"v"}`, `(key "k")`},
		"object":                        {"obj", `{"name":"a","age":3,"tags":["x"]}`, ""},
		"object without a property":     {"obj", `{"age":1}`, `lacks the property "name"`},
		"object with an extra one":      {"obj", `{"name":"a","zip":1}`, `does not declare`},
		"object with a null property":   {"obj", `{"name":"a","age":null}`, ""},
		"null for an optional object":   {"obj", `null`, ""},
		"anything":                      {"any", `[1,{"a":[null]}]`, ""},
		"a value cut off":               {"l", `1,`, `Line 1, column`},
		"a leading zero":                {"l", `01`, `Line 1, column`},
		"a long text is not given back": {"l", `"` + strings.Repeat("secret", 100) + `"`, `secretsecretsec… is not a long`},
	}
	s := loaded(t, serving.Config{Dir: "testdata/models/pyfunc-all-types", Engines: []serving.Engine{&spy{}}})
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good := map[string]string{"b": "true", "i": "1", "l": "2", "f": "1.5", "d": "2.5", "s": `"x"`, "t": `"2024-05-01"`}
			first := record(good)
			good[test.column] = test.value
			for format, body := range map[string]string{
				"records": fmt.Sprintf(`{"dataframe_records":[%s,%s]}`, first, record(good)),
				"inputs":  fmt.Sprintf(`{"inputs":[%s,%s]}`, first, record(good)),
			} {
				got := ask(s, "POST", "/invocations", jsonHeader(), body)
				checkRefusal(t, format, got.Code, got.Body.String(), test.want)
			}
		})
	}
}

func checkRefusal(t *testing.T, what string, status int, body, want string) {
	t.Helper()
	if want == "" {
		if status != 200 {
			t.Errorf("%s: status %d: %s", what, status, body)
		}
		return
	}
	var e struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(body), &e); err != nil {
		t.Fatalf("%s: %v: %s", what, err, body)
	}
	if status != 400 || !strings.Contains(e.Message, want) || e.Code == "" || len(body) > 700 {
		t.Errorf("%s: status %d, message %q lacks %q", what, status, e.Message, want)
	}
}

func jsonHeader() http.Header { return http.Header{"Content-Type": {"application/json"}} }

func record(values map[string]string) string {
	var parts []string
	for name, value := range values {
		parts = append(parts, fmt.Sprintf("%q:%s", name, value))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

// TestFormats sends the same rows in every format and expects the same batch.
func TestFormats(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	want := []serving.Column{
		{Name: "x", Kind: serving.Float, Floats: []float64{1.5, nan}, Missing: []bool{false, true}, Type: "double"},
		{Name: "n", Kind: serving.Int, Ints: []int64{1, 2}, Type: "long"},
		{Name: "s", Kind: serving.String, Strings: []string{"a", "ü"}, Type: "string"},
	}
	dir := modelDir(t, `[{"type":"double","name":"x"},{"type":"long","name":"n"},{"type":"string","name":"s","required":false},{"type":"boolean","name":"b","required":false}]`)
	for name, c := range map[string]struct{ path, kind, body string }{
		"split":             {"/invocations", "application/json", `{"dataframe_split":{"columns":["x","n","s"],"data":[[1.5,1,"a"],[null,2,"ü"]]}}`},
		"split, data first": {"/invocations", "application/json; charset=UTF-8", `{"dataframe_split":{"data":[[1,"a",1.5,0],[2,"ü",null,0]],"index":[7,8],"columns":["n","s","x","extra"]}}`},
		"records":           {"/invocations", "application/json", `{"dataframe_records":[{"x":1.5,"n":1,"s":"a","zzz":[{}]},{"s":"\u00fc","n":2,"x":NaN}]}`},
		"inputs, records":   {"/invocations", "application/json", `{"inputs":[{"n":1,"x":1.5,"s":"a"},{"x":null,"n":2,"s":"ü"}]}`},
		"instances":         {"/invocations", "application/json", "\n{ \"instances\" : [ {\"n\":1 , \"x\":1.5,\"s\":\"a\"},{\"x\":null,\"n\":2,\"s\":\"ü\"}] }\n"},
		"inputs, columns":   {"/invocations", "application/json", `{"inputs":{"s":["a","ü"],"x":[1.5,null],"n":[1,2]}}`},
		"csv":               {"/invocations", "text/csv", "s,x,n,extra\na,1.5,1,q\nü,,2,q\n"},
		"csv, crlf, quotes": {"/predict", "text/csv; charset=utf-8", "\"x\",n,s\r\n1.50,1,\"a\"\r\nNA,2,ü\r\n"},
		"bare list":         {"/predict", "application/json", `[{"x":1.5,"n":1,"s":"a"},{"x":null,"n":2,"s":"ü"}]`},
		"other keys beside": {"/predict", "application/json", `{"id":"r-1","params":null,"inputs":[{"x":1.5,"n":1,"s":"a"},{"x":null,"n":2,"s":"ü"}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := &spy{}
			s := loaded(t, serving.Config{Dir: dir, Engines: []serving.Engine{engine}})
			got := ask(s, "POST", c.path, http.Header{"Content-Type": {c.kind}}, c.body)
			if got.Code != 200 {
				t.Fatal(got.Body)
			}
			if d := cmp.Diff(want, engine.batch.Columns, cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestForms is the table of bodies whose form is wrong.
func TestForms(t *testing.T) {
	t.Parallel()
	s := loaded(t, serving.Config{Dir: modelDir(t, `[{"type":"double","name":"x"},{"type":"long","name":"n"}]`), Engines: []serving.Engine{&spy{}}})
	for body, want := range map[string]string{
		`{"dataframe_split":{"columns":["x","n"],"data":[[1,2],[3]]}}`:   "Row 2 has 1 values for 2 columns",
		`{"dataframe_split":{"columns":["x","n"],"data":[[1,2,3]]}}`:     "Row 1 has more values",
		`{"dataframe_split":{"columns":["x","n","x"],"data":[[1,2,3]]}}`: `The column "x" is given twice`,
		`{"dataframe_split":{"columns":["x"],"data":[[1]]}}`:             "Model is missing inputs ['n']",
		`{"dataframe_split":{"data":[[1,2]]}}`:                           "Model is missing inputs ['x', 'n']",
		`{"dataframe_split":[[1,2]]}`:                                    "must be a dictionary",
		`{"dataframe_split":{"columns":["x","n"],"data":{"x":1}}}`:       "an array of rows should be",
		`{"dataframe_split":{"columns":["x","n"],"data":[]}}`:            "Model is missing inputs",
		`{"dataframe_records":{"x":1,"n":2}}`:                            "must be a list of records",
		`{"dataframe_records":[{"x":1,"n":2},{"x":1}]}`:                  "Model is missing inputs ['n'] (row 2)",
		`{"dataframe_records":[{"x":1,"n":2,"n":3}]}`:                    `Row 1 names the column "n" twice`,
		`{"dataframe_records":[{"x":1,"n":2},3]}`:                        "a record should be",
		`{"inputs":{"x":[1,2],"n":[1]}}`:                                 "not equally long",
		`{"inputs":[[1,2]]}`:                                             "Model is missing inputs",
		`{"inputs":5}`:                                                   "Model is missing inputs",
		`{"inputs":[{"x":1,"n":1}],"instances":[{"x":1,"n":1}]}`:         "exactly one of the input fields",
		`{"inputs":[[1,2]],"instances":[[1,2]]}`:                         "exactly one of the input fields",
		`{"data":[[1,2]]}`:                                               "Received dictionary with input fields: []",
		`{}`:                                                             "exactly one of the input fields",
		`[{"x":1,"n":2}]`:                                                "Received a list",
		`"x"`:                                                            "Received a text",
		``:                                                               "the body ends where",
		`{"inputs":[{"x":1,"n":2}]} x`:                                   "nothing more should be",
		`{"inputs":[{"x":1,"n":2}]`:                                      "the body ends",
		`{"inputs":[{"x":1 "n":2}]}`:                                     `there is '"' where "," or "}" should be`,
		`{"inputs":[{"x":1,}]}`:                                          `a value should be`,
		`{"inputs":[{"x":1.,"n":2}]}`:                                    `a digit should be`,
		`{"inputs":[{"x":-,"n":2}]}`:                                     `a number should be`,
		`{"inputs":[{"x":tru,"n":2}]}`:                                   `a value should be`,
		"{\"inputs\":[{\"x\":1,\n\"n\":\x01}]}":                          `Line 2, column 5`,
		"{\"inputs\":[{\"x\":\"a\nb\",\"n\":1}]}":                        `control character`,
		"\xff\xfe": "not valid UTF-8",
		`{"inputs":` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`: "deeper than 128 levels",
	} {
		got := ask(s, "POST", "/invocations", jsonHeader(), body)
		checkRefusal(t, body, got.Code, got.Body.String(), want)
	}
}

// modelDir writes a model directory with these inputs.
func modelDir(t testing.TB, inputs string) string {
	t.Helper()
	dir := t.TempDir()
	text := fmt.Sprintf("flavors:\n  python_function:\n    loader_module: test\nsignature:\n  inputs: '%s'\n", inputs)
	if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}
