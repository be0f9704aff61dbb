//go:build e2e

package serving_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// enforcement is one request to a model with these inputs.
type enforcement struct {
	Inputs string `json:"inputs"`
	Params string `json:"params,omitempty"`
	Body   string `json:"body"`
	Type   string `json:"type,omitempty"`
}

// enforced is what MLflow's model would get.
type enforced struct {
	Status  int                        `json:"status"`
	Code    string                     `json:"code"`
	Message string                     `json:"message"`
	Columns map[string]json.RawMessage `json:"columns"`
}

// enforceWithMLflow asks MLflow's scoring server in process.
func enforceWithMLflow(t *testing.T, cases []enforcement) []enforced {
	t.Helper()
	var lines bytes.Buffer
	for _, c := range cases {
		if err := json.NewEncoder(&lines).Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(e2e.Python(t, "mlflow=="+e2e.MLflowVersion, "scikit-learn", "skops"), "testdata/enforce.py")
	cmd.Stdin, cmd.Stderr = &lines, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var list []enforced
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var e enforced
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%v: %s", err, s.Bytes())
		}
		list = append(list, e)
	}
	if len(list) != len(cases) {
		t.Fatalf("%d answers to %d cases", len(list), len(cases))
	}
	return list
}

// values are what clients send, rightly or not.
var values = []string{
	"0", "1", "-7", "1.7", "-1.7", "2.0", "1e3", "127", "3000000000", "-2147483649", "9007199254740993", "9223372036854775807", "9223372036854775808", "100000000000000000000",
	"1e308", "1e39", "1e400", "-1e400", "0.1", "5e-324", "null", "NaN", "Infinity", "true", "false",
	`""`, `"a"`, `"5.1"`, `"1"`, `" 5 "`, `"true"`, `"false"`, `"nan"`, `"inf"`, `"1e5"`, `"ü"`, `"2024-05-01"`, `"2024-05-01T12:30:00"`, `"2024-05-01 12:30:00.5"`, `"2024-05-01T12:30:00Z"`, `"aGk="`, `"***"`, `"aGk"`,
	"[]", "[1]", "{}",
}

// knownDifference says why the two differ on purpose, or "". Within another
// value nothing is bent, and what fits the signature is answered.
func knownDifference(name string) string {
	kind, rest, _ := strings.Cut(name, " ")
	if kind == "nested" {
		return knownNested(rest)
	}
	switch {
	case strings.HasPrefix(rest, "[") || strings.HasPrefix(rest, "{"):
		return "lists and objects where one value is declared are refused; MLflow hands some of them on"
	case kind == "datetime" && rest == `"1" inputs`:
		return "numpy reads the year 1, which it cannot hold, and wraps around"
	}
	return ""
}

func knownNested(rest string) string {
	typ, rest, _ := strings.Cut(rest, " ")
	_, value, _ := strings.Cut(rest, " ")
	value, _, _ = strings.Cut(value, " ")
	has := func(part string) bool { return strings.Contains(value, part) }
	switch {
	case strings.HasSuffix(typ, `"items":{"type":"float"}`), strings.HasSuffix(typ, `"items":{"type":"integer"}`):
		return "MLflow takes no array of 32 bits out of JSON, not even [0, 1]"
	case has("null"):
		return "MLflow makes NaN, None, false or an error of a null, by type and format"
	case value == `["a",1]`, has("[[") && !strings.Contains(typ, `"array","items":{"type":"array"`), value == "{}":
		return "MLflow makes texts, truth values or NaN of values of another kind"
	case value == "[[1.0],[2.0,3.0]]" && strings.HasSuffix(rest, "inputs"):
		return "MLflow fails on rows that are not equally long, in inputs only"
	}
	return ""
}

// TestE2EEnforcement compares --schema=mlflow with MLflow over every scalar type,
// value and format.
func TestE2EEnforcement(t *testing.T) {
	var cases []enforcement
	var names []string
	for _, kind := range []string{"boolean", "integer", "long", "float", "double", "string", "binary", "datetime"} {
		inputs := fmt.Sprintf(`[{"type":%q,"name":"x"},{"type":"long","name":"n"}]`, kind)
		for _, v := range values {
			for format, body := range map[string]string{
				"records": fmt.Sprintf(`{"dataframe_records":[{"x":%s,"n":1}]}`, v),
				"split":   fmt.Sprintf(`{"dataframe_split":{"columns":["n","x"],"data":[[1,%s]]}}`, v),
				"inputs":  fmt.Sprintf(`{"inputs":[{"x":%s,"n":1}]}`, v),
			} {
				cases = append(cases, enforcement{Inputs: inputs, Body: body})
				names = append(names, kind+" "+v+" "+format)
			}
		}
	}
	compared := compareEnforcement(t, names, cases)
	t.Logf("%d requests compared", compared)
}

// TestE2ENestedEnforcement does so for types within types.
func TestE2ENestedEnforcement(t *testing.T) {
	var cases []enforcement
	var names []string
	for _, kind := range []string{
		`"type":"array","items":{"type":"long"}`, `"type":"array","items":{"type":"double"}`, `"type":"array","items":{"type":"string"}`,
		`"type":"array","items":{"type":"boolean"}`, `"type":"array","items":{"type":"integer"}`, `"type":"array","items":{"type":"float"}`,
		`"type":"array","items":{"type":"array","items":{"type":"double"}}`, `"type":"map","values":{"type":"double"}`, `"type":"map","values":{"type":"string"}`,
		`"type":"object","properties":{"name":{"type":"string","required":true},"age":{"type":"long","required":false}}`, `"type":"any"`,
	} {
		for _, required := range []string{"true", "false"} {
			inputs := fmt.Sprintf(`[{%s,"name":"x","required":%s},{"type":"long","name":"n"}]`, kind, required)
			for _, v := range []string{
				"null", "5", "1.5", "true", `"x"`, "[]", "[1,2]", "[0,1]", "[1.5]", "[1.0,2.0]", "[1,2.5]", `["a"]`, `["a",1]`, "[true]", "[null]", "[1,null]", "[3000000000]", "[1e39]",
				"[[1.0],[2.0,3.0]]", "[[5,6]]", "[[1],[0]]", "[[]]", "{}", `{"k":7}`, `{"k":1.5}`, `{"k":1}`, `{"k":"v"}`, `{"k":null}`,
				`{"name":"a"}`, `{"name":"a","age":3}`, `{"name":"a","age":null}`, `{"name":"a","age":3.5}`, `{"age":1}`, `{"name":null}`, `{"name":5}`, `{"name":"a","zip":1}`,
			} {
				for format, body := range map[string]string{
					"records": fmt.Sprintf(`{"dataframe_records":[{"x":%s,"n":1}]}`, v),
					"inputs":  fmt.Sprintf(`{"inputs":[{"x":%s,"n":1}]}`, v),
				} {
					cases = append(cases, enforcement{Inputs: inputs, Body: body})
					names = append(names, "nested "+kind+" "+required+" "+v+" "+format)
				}
			}
		}
	}
	compared := compareEnforcement(t, names, cases)
	t.Logf("%d requests compared", compared)
}

func compareEnforcement(t *testing.T, names []string, cases []enforcement) (compared int) {
	t.Helper()
	for i, want := range enforceWithMLflow(t, cases) {
		c := cases[i]
		engine := &spy{}
		s := loaded(t, serving.Config{Dir: modelDir(t, c.Inputs), Engines: []serving.Engine{engine}, Schema: serving.LikeMLflow})
		got := ask(s, "POST", "/invocations", jsonHeader(), c.Body)
		difference := ""
		switch {
		case got.Code != want.Status:
			difference = fmt.Sprintf("status %d, MLflow's is %d: ours %s, MLflow's %v %s", got.Code, want.Status, got.Body, columnsText(want), want.Message)
		case want.Status != 200 && !strings.Contains(got.Body.String(), want.Code):
			difference = fmt.Sprintf("ours %s, MLflow's code is %s: %s", got.Body, want.Code, want.Message)
		case want.Status == 200:
			difference = compareColumns(t, engine.batch, want)
		}
		if difference != "" && knownDifference(names[i]) == "" {
			t.Errorf("%s: %s", names[i], difference)
		}
		if bent := strictBends(t, c, want); bent != "" && !strictKnown(names[i]) {
			t.Errorf("strict: %s: %s", names[i], bent)
		}
		compared++
	}
	return compared
}

// strictBends asks in the strict mode: what both take must reach the model the same.
func strictBends(t *testing.T, c enforcement, want enforced) string {
	t.Helper()
	engine := &spy{}
	s := loaded(t, serving.Config{Dir: modelDir(t, c.Inputs), Engines: []serving.Engine{engine}})
	if got := ask(s, "POST", "/invocations", jsonHeader(), c.Body); got.Code != 200 || want.Status != 200 {
		return ""
	}
	return compareColumns(t, engine.batch, want)
}

// strictKnown are the values that MLflow itself bends and the strict mode
// reads as they are meant: a missing text is missing (not "None" or "nan"),
// and binary values are base64 in every format (not only in dataframes).
func strictKnown(name string) bool {
	return name == "string null inputs" || name == "string NaN inputs" || strings.HasPrefix(name, "binary ") && strings.HasSuffix(name, " inputs")
}

func columnsText(e enforced) string {
	var parts []string
	for name, column := range e.Columns {
		parts = append(parts, name+": "+string(column))
	}
	return strings.Join(parts, ", ")
}

func compareColumns(t *testing.T, b *serving.Batch, want enforced) string {
	t.Helper()
	if len(b.Columns) != len(want.Columns) {
		return fmt.Sprintf("%d columns, MLflow's %s", len(b.Columns), columnsText(want))
	}
	for _, c := range b.Columns {
		got := columnJSON(t, c, b.Rows)
		if c.Kind == serving.String {
			want.Columns[c.Name] = asTexts(t, want.Columns[c.Name])
		}
		if d := mlmodel.Compare(want.Columns[c.Name], []byte(got), mlmodel.Golden{}); d != nil {
			return fmt.Sprintf("column %s: %v", c.Name, d)
		}
	}
	return ""
}

// asTexts writes the values of a column of texts as str() of Python does: a
// batch holds texts where MLflow's model would get a number. NaN is missing.
func asTexts(t *testing.T, column json.RawMessage) json.RawMessage {
	t.Helper()
	var list []json.RawMessage
	if err := json.Unmarshal(column, &list); err != nil {
		t.Fatal(err)
	}
	for i, v := range list {
		switch text := string(v); {
		case text == `"NaN"`:
			list[i] = json.RawMessage("null")
		case text == `"Infinity"`, text == `"-Infinity"`:
			list[i] = json.RawMessage(strings.Replace(text, "Infinity", "inf", 1))
		case text == "true", text == "false":
			list[i] = json.RawMessage(`"` + strings.ToUpper(text[:1]) + text[1:] + `"`)
		case text[0] == '-' || text[0] >= '0' && text[0] <= '9':
			list[i] = json.RawMessage(`"` + text + `"`)
		}
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// columnJSON writes a column as enforce.py does.
func columnJSON(t *testing.T, c serving.Column, rows int) string {
	t.Helper()
	var cells []string
	for i := range rows {
		one := serving.Column{Name: c.Name, Kind: c.Kind}
		switch c.Kind {
		case serving.Float, serving.Float32:
			one.Floats = c.Floats[i : i+1]
		case serving.Int, serving.Time:
			one.Ints = c.Ints[i : i+1]
		case serving.Bool:
			one.Bools = c.Bools[i : i+1]
		case serving.String, serving.Bytes:
			one.Strings = c.Strings[i : i+1]
		case serving.Any:
			one.Values = c.Values[i : i+1]
		}
		if c.Missing != nil && c.Missing[i] {
			one.Missing = []bool{true}
		}
		text := cell(t, one)
		if text == `"NaT"` {
			text = "null"
		}
		cells = append(cells, text)
	}
	return "[" + strings.Join(cells, ",") + "]"
}

// TestE2EGoldenRequestsFitMLflow sends the golden requests of every model to
// MLflow: it takes them all, and its model gets what ours gets.
func TestE2EGoldenRequestsFitMLflow(t *testing.T) {
	dirs, err := filepath.Glob("../mlmodel/testdata/*")
	if err != nil || len(dirs) < 10 {
		t.Fatal(dirs, err)
	}
	var cases []enforcement
	var names []string
	for _, dir := range dirs {
		if filepath.Base(dir) == "pyfunc-type-hint" {
			continue // MLflow reads these requests by the function's type hint: the capture th_ok
		}
		m := open(t, dir)
		inputs := rawInputs(t, dir)
		requests, err := m.Requests(5)
		if err != nil || len(requests) < 5 {
			t.Errorf("%s: %d requests, %v", dir, len(requests), err)
		}
		for i, r := range requests {
			cases = append(cases, enforcement{Inputs: inputs, Body: string(r)})
			names = append(names, fmt.Sprintf("%s %d", filepath.Base(dir), i))
		}
	}
	for i, got := range enforceWithMLflow(t, cases) {
		if got.Status != 200 {
			t.Errorf("%s: %s: %s", names[i], cases[i].Body, got.Message)
		}
	}
}

// rawInputs is the inputs' JSON of a model directory's MLmodel.
func rawInputs(t *testing.T, dir string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "MLmodel"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "inputs: '")
	text, _, _ := strings.Cut(rest, "'\n")
	return strings.Join(strings.Fields(text), " ")
}
