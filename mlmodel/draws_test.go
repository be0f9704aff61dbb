package mlmodel_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/mlmodel"
)

func open(t *testing.T, name string) *mlmodel.Model {
	t.Helper()
	m, err := mlmodel.Open(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// written opens a model directory with the signature's inputs and the example.
func written(t *testing.T, inputs, example string) *mlmodel.Model {
	t.Helper()
	dir := t.TempDir()
	text := "flavors: {}\n"
	if inputs != "" {
		text += "signature: {inputs: '" + inputs + "'}\n"
	}
	if example != "" {
		text += "saved_input_example_info: {artifact_path: input_example.json, type: dataframe}\n"
		if err := os.WriteFile(filepath.Join(dir, "input_example.json"), []byte(example), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func draw(t *testing.T, m *mlmodel.Model, n int) []mlmodel.Rows {
	t.Helper()
	rows, err := m.Draw(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// bareToken is one of the numbers that JSON lacks, where a value may stand.
var bareToken = regexp.MustCompile(`([\[,])-?Infinity`)

// asJSON returns a request in which the numbers that JSON lacks are texts.
func asJSON(t *testing.T, request []byte) []byte {
	t.Helper()
	out := bareToken.ReplaceAll(request, []byte(`$1"∞"`))
	if !json.Valid(out) {
		t.Fatalf("not JSON: %.300s", out)
	}
	return out
}

// TestDrawIsTheSameEverywhere pins what is drawn: a proof that one machine
// makes must not depend on it.
func TestDrawIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"sklearn-skops": "d662bd48a80e2cf0", "mlflow-1.30": "c3bc89c79399d41c", "mlflow-2.9": "dcbb543a70cd3534",
		"onnx-tensor": "eccf979e220f3033", "pyfunc-all-types": "452bcbe21811c9ad", "pyfunc-models-from-code": "c439399dfa910d0d",
	} {
		h, n := sha256.New(), 0
		for _, rows := range draw(t, open(t, name), 300) {
			request := rows.Request(0, rows.Len())
			asJSON(t, request)
			h.Write(request)
			n += rows.Len()
		}
		if n < 290 || n > 310 {
			t.Errorf("%s: %d rows were drawn", name, n)
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != want {
			t.Errorf("%s: rows of digest %s were drawn instead of %s", name, got, want)
		}
	}
}

// values returns all that was drawn for the first column.
func values(t *testing.T, drawn []mlmodel.Rows) map[string]int {
	t.Helper()
	seen := map[string]int{}
	for _, rows := range drawn {
		for i := range rows.Len() {
			var body struct {
				Split struct{ Data [][]json.RawMessage } `json:"dataframe_split"`
			}
			if err := json.Unmarshal(asJSON(t, rows.Request(i, i+1)), &body); err != nil {
				t.Fatal(err)
			}
			if len(body.Split.Data) != 1 {
				t.Fatalf("%d rows instead of one: %s", len(body.Split.Data), rows.Request(i, i+1))
			}
			seen[string(body.Split.Data[0][0])]++
		}
	}
	return seen
}

// TestDrawEdges names values that must be drawn, by the column's type.
func TestDrawEdges(t *testing.T) {
	t.Parallel()
	const split = `{"columns": ["x"], "data": `
	for name, c := range map[string]struct {
		inputs, data string
		want, not    []string
	}{
		"double": {`[{"type": "double", "name": "x", "required": true}]`, `[[2.5], [7.0]]`,
			[]string{"0.0", "-0.0", "null", `"∞"`, "1e+300", "5e-324", "16777217.0", "3.4028235677973366e+38", "2.5", "7.0", "2.5000000000000004", "6.999999999999999", "2.5000001192092896", "-1.0"},
			nil},
		"float": {`[{"type": "float", "name": "x", "required": true}]`, `[[2.5]]`,
			[]string{"0.0", "null", "3.4028234663852886e+38", "2.5"}, []string{"1e+300", "3.4028235677973366e+38", "16777217.0"}},
		"long": {`[{"type": "long", "name": "x", "required": true}]`, `[[3], [9]]`,
			[]string{"9223372036854775807", "-9223372036854775808", "9007199254740993", "2", "3", "4", "8", "9", "10", "-1"}, []string{"null", "3.0"}},
		"integer": {`[{"type": "integer", "name": "x", "required": true}]`, `[[3]]`, []string{"2147483647", "-2147483648"}, []string{"null", "2147483648"}},
		"boolean": {`[{"type": "boolean", "name": "x", "required": true}]`, `[[true]]`, []string{"true", "false"}, []string{"null"}},
		"string": {`[{"type": "string", "name": "x", "required": true}]`, `[["red"], ["blue"]]`,
			[]string{`""`, `"red"`, `"blue"`, `"red "`, `" red"`, `"RED"`, `"re"`, `"red\u0000"`, `"1"`, `"nan"`, `"日本"`, `"` + strings.Repeat("x", 10000) + `"`}, []string{"null"}},
		"optional string":             {`[{"type": "string", "name": "x", "required": false}]`, `[["red"]]`, []string{"null", `"red"`}, nil},
		"string missing in example":   {`[{"type": "string", "name": "x", "required": true}]`, `[["red"], [null]]`, []string{"null", `"red"`}, nil},
		"no signature, whole":         {"", `[[3], [9]]`, []string{"3", "9223372036854775807"}, []string{"3.0", "null"}},
		"no signature, with fraction": {"", `[[3.0], [null]]`, []string{"3.0", "null"}, []string{"3"}},
		"no signature, text":          {"", `[["a"]]`, []string{`"a"`, `""`}, []string{"null", "1"}},
		"no example":                  {`[{"type": "double", "name": "x", "required": true}]`, ``, []string{"0.5", "null", "1000.0"}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			example := ""
			if c.data != "" {
				example = split + c.data + "}"
			}
			seen := values(t, draw(t, written(t, c.inputs, example), 2000))
			for _, want := range c.want {
				if seen[want] == 0 {
					t.Errorf("%s was not drawn", want)
				}
			}
			for _, not := range c.not {
				if seen[not] > 0 {
					t.Errorf("%s was drawn", not)
				}
			}
		})
	}
}

// TestDrawForms looks at one row of each form of request.
func TestDrawForms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ inputs, example, want string }{
		"named":        {`[{"type": "long", "name": "a"}, {"type": "string", "name": "b"}]`, "", `{"dataframe_split":{"columns":["a","b"],"data":[[…]]}}`},
		"unnamed":      {`[{"type": "long"}, {"type": "string"}]`, "", `{"dataframe_split":{"data":[[…]]}}`},
		"single":       {`[{"type": "long"}]`, "", `{"inputs":[…]}`},
		"tensor":       {`[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 2]}}]`, "", `{"inputs":[[…]]}`},
		"named tensor": {`[{"type": "tensor", "name": "X", "tensor-spec": {"dtype": "int64", "shape": [-1, 2, 2]}}]`, "", `{"inputs":{"X":[[[…],[…]]]}}`},
		"numbered":     {"", `{"columns": [0, 1], "data": [[1, 2.5]]}`, `{"dataframe_split":{"columns":[0,1],"data":[[…]]}}`},
		"array":        {"", `{"inputs": [[1.5, 2]]}`, `{"inputs":[[…]]}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rows := draw(t, written(t, c.inputs, c.example), 50)
			if len(rows) == 0 {
				t.Fatal("nothing was drawn")
			}
			got := regexp.MustCompile(`([\[:]|\],)(\[*)[^\[\]{}:"]+(,"[^"]*")?(\]+)`).ReplaceAllString(string(rows[0].Request(0, 1)), "$1$2…$4")
			if name == "numbered" {
				got = strings.Replace(got, "[…]", "[0,1]", 1)
			}
			if got = strings.ReplaceAll(got, "][…", "],[…"); got != c.want {
				t.Errorf("%s\nof %s\ninstead of %s", got, rows[0].Request(0, 1), c.want)
			}
		})
	}
}

// TestDrawCuts draws all sides of a threshold, for comparisons of float64 and
// of float32.
func TestDrawCuts(t *testing.T) {
	t.Parallel()
	for inputs, want := range map[string][]string{
		`[{"type": "double", "name": "x"}]`: {"0.1", "0.10000000000000002", "0.09999999403953552", "0.10000000149011612", "-77.25", "-77.24999999999999"},
		`[{"type": "float", "name": "x"}]`:  {"0.10000000149011612", "0.09999999403953552", "-77.25"},
		`[{"type": "long", "name": "x"}]`:   {"0", "1", "-78", "-77"},
	} {
		m := written(t, inputs, `{"columns": ["x"], "data": [[300]]}`)
		rows, err := m.Draw(300, []mlmodel.Cut{{Column: 0, At: 0.1}, {Column: 0, At: -77.25}, {Column: 1, At: 5}, {Column: -1}})
		if err != nil {
			t.Fatal(err)
		}
		seen := values(t, rows)
		for _, v := range want {
			if seen[v] == 0 {
				t.Errorf("%s: %s was not drawn", inputs, v)
			}
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	t.Parallel()
	for name, m := range map[string]*mlmodel.Model{
		"no signature and no example": written(t, "", ""),
		"fixed number of rows":        written(t, `[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [3, 2]}}]`, ""),
		"two tensors":                 written(t, `[{"type": "tensor", "name": "a", "tensor-spec": {"dtype": "float64", "shape": [-1]}}, {"type": "tensor", "name": "b", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]`, ""),
		"a picture":                   written(t, `[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1, 5000, 5000]}}]`, ""),
	} {
		if rows := draw(t, m, 100); rows != nil {
			t.Errorf("%s: %d batches were drawn", name, len(rows))
		}
	}
	if rows := draw(t, open(t, "sklearn-skops"), 0); rows != nil {
		t.Errorf("%d batches were drawn of no rows", len(rows))
	}
}

// TestRowsOfParts cuts a request into parts.
func TestRowsOfParts(t *testing.T) {
	t.Parallel()
	rows := draw(t, open(t, "pyfunc-models-from-code"), 100)
	last := rows[len(rows)-1]
	whole, half := last.Request(0, last.Len()), last.Request(0, 1)
	if !bytes.HasPrefix(whole, half[:bytes.Index(half, []byte(`"data"`))]) || !bytes.HasSuffix(half, []byte(`]},"params":{"factor":3.0}}`)) {
		t.Errorf("%s\nis no part of\n%s", half, whole)
	}
}

// TestWideModelsAreBounded draws no more values than fit into memory.
func TestWideModelsAreBounded(t *testing.T) {
	t.Parallel()
	inputs := strings.Repeat(`{"type": "double"},`, 20_000)
	total := 0
	for _, rows := range draw(t, written(t, "["+strings.TrimSuffix(inputs, ",")+"]", ""), 2000) {
		total += rows.Len()
		if n := len(rows.Request(0, rows.Len())); n > 16<<20 {
			t.Errorf("a request of %d bytes", n)
		}
	}
	if total == 0 || total > 60 {
		t.Errorf("%d rows of 20000 values", total)
	}
}

func TestCompareRows(t *testing.T) {
	t.Parallel()
	g := mlmodel.Golden{Tolerance: 1e-9}
	single := mlmodel.Golden{Tolerance: 1e-5}
	for name, c := range map[string]struct {
		want, got string
		rules     mlmodel.Golden
		differs   string
		largest   float64
	}{
		"equal":                       {`[1.5,"a",true,null,3]`, `[1.5,"a",true,null,3]`, g, "", 0},
		"within":                      {`[1.0,2.0]`, `[1.0000000001,2.0]`, g, "", 1e-10},
		"beyond":                      {`[1.0,2.0]`, `[1.0,2.00001]`, g, "[1]", 0},
		"a huge row hides nothing":    {`[1e300,1.0,2.0]`, `[1e300,1.0,2.001]`, g, "[2]", 0},
		"terms that cancel in a row":  {`[[1.0,1e-17],[1.0,1.0]]`, `[[1.0,2e-17],[1.0,1.0]]`, g, "", 1e-14},
		"but not beside another row":  {`[[1e300,1.0],[1.0,1.0],[1.0,1.0]]`, `[[1e300,1.0],[1.0,1.1],[1.0,1.0]]`, g, "[1][1]", 0},
		"terms that cancel to nought": {`[0.0,3.0,-4.0]`, `[1e-15,3.0,-4.0]`, g, "", 1e-12},
		"below the typical answer":    {`[1e-13]`, `[2e-13]`, g, "", 5e-11},
		"float32 steps":               {`[0.085876465,1.5,2.5]`, `[0.08587742554002631,1.5,2.5]`, single, "", 1e-5},
		"classes":                     {`[1,2]`, `[1,3]`, g, "[1]", 0},
		"NaN":                         {`["NaN"]`, `["NaN"]`, g, "", 0},
		"NaN or not":                  {`["NaN"]`, `[1.0]`, g, "[0]", 0},
		"infinity":                    {`["Infinity"]`, `["-Infinity"]`, g, "[0]", 0},
		"other shape":                 {`[[1.0]]`, `[1.0]`, g, "[0]", 0},
		"no JSON":                     {`[`, `[1.0]`, g, "", 0},
	} {
		largest, d := mlmodel.CompareRows(json.RawMessage(c.want), json.RawMessage(c.got), c.rules, 2)
		if (d != nil) != (c.differs != "" || name == "no JSON") || d != nil && d.Path != c.differs {
			t.Errorf("%s: %v", name, d)
		}
		if d == nil && (largest > 1.01*c.largest || c.largest > 0 && largest < c.largest/1000) {
			t.Errorf("%s: the largest difference is %g instead of about %g", name, largest, c.largest)
		}
	}
}

// TestConverted opens directories whose manifest speaks of a converted model.
func TestConverted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		manifest, file string // file: "file", "folder", "link" or "outside"
		want           string // of the error; "": Converted is set, "-": it is not
	}{
		"converted":     {`{"schemaVersion":1,"converted":"skops"}`, "file", ""},
		"not":           {`{"schemaVersion":1}`, "file", "-"},
		"no manifest":   {"", "file", "-"},
		"missing":       {`{"schemaVersion":1,"converted":"skops"}`, "", "no such file"},
		"another form":  {`{"schemaVersion":1,"converted":"../../etc/passwd"}`, "file", "of the form"},
		"leads outside": {`{"schemaVersion":1,"converted":"skops"}`, "outside", "escapes"},
		"a folder":      {`{"schemaVersion":1,"converted":"skops"}`, "folder", "not a regular file"},
		"no JSON":       {`{`, "file", "unexpected end"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := written(t, "", "")
			release := filepath.Join(m.Dir, mlmodel.ReleaseDir)
			path := filepath.Join(release, mlmodel.ConvertedFile)
			must := func(err error) {
				if err != nil {
					t.Fatal(err)
				}
			}
			must(os.Mkdir(release, 0o755))
			switch c.file {
			case "file":
				must(os.WriteFile(path, []byte("x"), 0o644))
			case "folder":
				must(os.Mkdir(path, 0o755))
			case "outside":
				other := filepath.Join(t.TempDir(), "x")
				must(os.WriteFile(other, []byte("x"), 0o644))
				must(os.Symlink(other, path))
			}
			if c.manifest != "" {
				must(os.WriteFile(filepath.Join(release, mlmodel.ManifestFile), []byte(c.manifest), 0o644))
			}
			got, err := mlmodel.Open(m.Dir)
			switch {
			case c.want == "" || c.want == "-":
				must(err)
				if diff := cmp.Diff(map[bool]string{true: path}[c.want == ""], got.Converted); diff != "" {
					t.Error(diff)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("%v instead of %s", err, c.want)
			}
		})
	}
}

// FuzzDraw draws for anything that is a signature or an example: requests that
// are JSON but for infinities, of as many rows as they say.
func FuzzDraw(f *testing.F) {
	for _, seed := range []string{
		`[{"type": "double", "name": "x", "required": true}]`, `[{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[-1,3]}}]`,
		`[{"type": "object", "properties": {"a": {"type": "array", "items": {"type": "map", "values": {"type": "any"}}}}}]`,
		`[{"type":"sparkml_vector","name":"v"},{"type":"datetime","name":"t"}]`, `[{"name": 3, "type": "binary"}]`, `[{"type": "boolean"}]`,
	} {
		f.Add(seed, []byte(`{"dataframe_split": {"columns": ["x"], "data": [[1e308], [-1e308], [null]]}}`))
		f.Add(seed, []byte(`{"inputs": [[1, 2, 3]]}`))
	}
	f.Fuzz(func(t *testing.T, inputs string, example []byte) {
		s, err := mlmodel.ParseSignature(inputs, "", "")
		if err != nil || !json.Valid(example) {
			return
		}
		for _, signature := range []*mlmodel.Signature{s, nil} {
			for _, rows := range mlmodel.DrawFor(signature, example, 40) {
				asJSON(t, rows.Request(0, rows.Len()))
				asJSON(t, rows.Request(rows.Len()-1, rows.Len()))
			}
		}
	})
}
