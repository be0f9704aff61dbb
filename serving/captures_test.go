package serving_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// capture is one request to a real MLflow and its reply.
type capture struct {
	name, method, path string
	header             http.Header
	body               string
	status             int
	reply              string
}

// readCaptures reads testdata/captures.txt: the request's lines begin with
// "> ", but for those after the first of its body.
func readCaptures(t *testing.T) []capture {
	t.Helper()
	data, err := os.ReadFile("testdata/captures.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []capture
	for _, part := range strings.Split(string(data), "\n-- ")[1:] {
		name, rest, _ := strings.Cut(part, " --\n")
		request, reply, _ := strings.Cut(rest, "\n\nHTTP/1.1 ")
		c := capture{name: name, header: http.Header{}}
		lines := strings.Split(request, "\n")
		c.method, c.path, _ = strings.Cut(strings.TrimPrefix(lines[0], "> "), " ")
		for i, line := range lines[1:] {
			if strings.TrimSpace(line) == ">" {
				c.body = strings.TrimPrefix(strings.Join(lines[i+2:], "\n"), "> ")
				break
			}
			key, value, _ := strings.Cut(strings.TrimPrefix(line, "> "), ": ")
			c.header.Set(key, value)
		}
		head, body, _ := strings.Cut(reply, "\n\n")
		if _, err := fmt.Sscanf(head, "%d", &c.status); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.reply = strings.TrimSpace(body)
		list = append(list, c)
	}
	return list
}

var models = map[string]string{"sv": "sklearn-skops", "ty": "pyfunc-all-types", "ox": "onnx-tensor", "th": "pyfunc-type-hint", "cd": "pyfunc-models-from-code"}

// TestCaptures asks what a real MLflow was asked, in its own schema mode, and
// expects its status, error code and class, and predictions.
func TestCaptures(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, c := range readCaptures(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			model, spy := models[c.name[:2]], &spy{}
			engine := serving.Engine(spy)
			if model == "sklearn-skops" {
				engine = sklearn.New()
			}
			s := loaded(t, serving.Config{Dir: filepath.Join("testdata/models", model), Engines: []serving.Engine{engine}, Schema: serving.LikeMLflow})
			got := ask(s, c.method, c.path, c.header, c.body)
			if got.Code != c.status && !better[c.name] {
				t.Fatalf("status %d, MLflow's is %d: %s", got.Code, c.status, got.Body)
			}
			switch {
			case c.status == 200 && spy.batch != nil:
				spy.compare(t, c.reply)
			case c.status == 200:
				comparePredictions(t, got.Body.Bytes(), c.reply)
			case c.status == 400:
				compareErrors(t, got.Body.Bytes(), c.reply)
			}
		})
		seen++
	}
	if seen != 83 {
		t.Errorf("%d captures instead of 83", seen)
	}
}

// better are requests that MLflow's server fails on and this one answers.
var better = map[string]bool{
	"sv_root": true, // GET / tells what there is
}

func ask(h http.Handler, method, path string, header http.Header, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header = header
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func comparePredictions(t *testing.T, got []byte, want string) {
	t.Helper()
	if !strings.HasPrefix(want, "{") { // health and version
		return
	}
	a, err := mlmodel.Answer(got)
	if err != nil {
		t.Fatal(err)
	}
	b, err := mlmodel.Answer([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if d := mlmodel.Compare(b, a, mlmodel.Golden{}); d != nil {
		t.Error(d)
	}
}

func compareErrors(t *testing.T, got []byte, want string) {
	t.Helper()
	type shape struct {
		Code  string `json:"error_code"`
		State string `json:"sqlstate"`
		Class string `json:"error_class"`
	}
	var g, w shape
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("-MLflow +ours:\n%s\nours: %s\nMLflow: %.600s", d, got, want)
	}
}

// spy is an engine that keeps the batch it was asked with.
type spy struct {
	batch *serving.Batch
}

func (s *spy) Name() string               { return "spy" }
func (s *spy) Check(*mlmodel.Model) error { return nil }
func (s *spy) Load(context.Context, *mlmodel.Model) (serving.Predictor, error) {
	return s, nil
}

// Predict answers with the numbers of the rows.
func (s *spy) Predict(_ context.Context, b *serving.Batch) (*serving.Output, error) {
	s.batch = cloneBatch(b)
	o := &serving.Output{Shape: []int{b.Rows}, Kind: serving.Int}
	for i := range b.Rows {
		o.Ints = append(o.Ints, int64(i))
	}
	return o, nil
}

func cloneBatch(b *serving.Batch) *serving.Batch {
	c := *b
	c.Columns, c.Tensors = nil, nil
	for _, col := range b.Columns {
		col.Floats, col.Ints, col.Bools = append([]float64(nil), col.Floats...), append([]int64(nil), col.Ints...), append([]bool(nil), col.Bools...)
		col.Strings, col.Values, col.Missing = append([]string(nil), col.Strings...), append([]any(nil), col.Values...), append([]bool(nil), col.Missing...)
		c.Columns = append(c.Columns, col)
	}
	for _, ten := range b.Tensors {
		ten.Floats, ten.Ints = append([]float64(nil), ten.Floats...), append([]int64(nil), ten.Ints...)
		c.Tensors = append(c.Tensors, ten)
	}
	return &c
}

// compare checks the batch against the reply of MLflow's model, which gives
// the row back as it got it.
func (s *spy) compare(t *testing.T, reply string) {
	t.Helper()
	answer, err := mlmodel.Answer([]byte(reply))
	if err != nil {
		return // a reply without "predictions" repeats nothing
	}
	var rows []map[string]json.RawMessage
	if json.Unmarshal(answer, &rows) != nil || len(rows) == 0 || rows[0]["_types"] == nil {
		return
	}
	row := rows[0]
	params := string(row["_params"])
	for _, c := range s.batch.Columns {
		want, echoed := row[c.Name]
		if !echoed {
			if c.Kind != serving.Bytes { // the model does not give bytes back
				t.Errorf("MLflow's model got no column %s", c.Name)
			}
			continue
		}
		got := []byte(cell(t, c))
		if c.Kind == serving.String && want[0] != '"' && want[0] != 'n' {
			want = json.RawMessage(`"` + string(want) + `"`) // a number where a text is declared: see bendString
		}
		if d := mlmodel.Compare(want, got, mlmodel.Golden{}); d != nil {
			t.Errorf("%s: %v", c.Name, d)
		}
	}
	if len(s.batch.Columns) < len(row)-2 {
		t.Errorf("%d columns instead of %d", len(s.batch.Columns), len(row)-2)
	}
	if want := fmt.Sprintf("'temperature': %s, 'top_k': %v,", pythonFloat(s.batch.Params["temperature"]), s.batch.Params["top_k"]); !strings.Contains(params, want) {
		t.Errorf("params %s, MLflow's are %s", want, params)
	}
}

func pythonFloat(v any) string {
	text := fmt.Sprint(v)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return text
}

// cell writes the first row of a column as JSON.
func cell(t *testing.T, c serving.Column) string {
	t.Helper()
	if c.Missing != nil && c.Missing[0] {
		switch c.Kind {
		case serving.Float:
			return `"NaN"`
		case serving.Time:
			return `"NaT"`
		}
		return "null"
	}
	var o serving.Output
	switch o = (serving.Output{Kind: c.Kind, Shape: []int{1}, Floats: c.Floats, Ints: c.Ints, Bools: c.Bools, Strings: c.Strings}); c.Kind {
	case serving.Any:
		text, err := json.Marshal(c.Values[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	text := string(serving.AppendOutput(&o))
	return strings.TrimSuffix(strings.TrimPrefix(text, "["), "]")
}

// loaded returns a server that has loaded its model.
func loaded(t testing.TB, c serving.Config) *serving.Server {
	t.Helper()
	s := serving.New(c)
	if err := serving.LoadForTest(s); err != nil {
		t.Fatal(err)
	}
	return s
}
