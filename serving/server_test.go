package serving_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// double is an engine whose model doubles its column x, or does what a test
// asks for.
type double struct {
	predict func(context.Context, *serving.Batch) (*serving.Output, error)
}

func (d double) Name() string               { return "double" }
func (d double) Check(*mlmodel.Model) error { return nil }
func (d double) Load(context.Context, *mlmodel.Model) (serving.Predictor, error) {
	return d, nil
}

func (d double) Predict(ctx context.Context, b *serving.Batch) (*serving.Output, error) {
	if d.predict != nil {
		return d.predict(ctx, b)
	}
	o := &serving.Output{Shape: []int{b.Rows}}
	for _, x := range b.Columns[0].Floats {
		o.Floats = append(o.Floats, 2*x)
	}
	return o, nil
}

const oneColumn = `[{"type":"double","name":"x"}]`

// running is a server on loopback.
type running struct {
	url  string
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, c serving.Config) running {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := running{url: "http://" + l.Addr().String(), stop: cancel, done: make(chan error, 1)}
	go func() { r.done <- serving.New(c).Run(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		<-r.done
	})
	return r
}

// awaitReady polls /ready until it answers 200.
func (r running) awaitReady(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		if status, _ := get(t, r.url+"/ready"); status == 200 {
			return
		}
	}
	t.Fatal("the server does not become ready")
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func post(t *testing.T, url, body string) (*http.Response, string) {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(reply)
}

// writeGolden puts golden predictions, and who the model is, into a directory.
func writeGolden(t *testing.T, dir string, g mlmodel.Golden) {
	t.Helper()
	data, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := json.Marshal(mlmodel.Manifest{SchemaVersion: 1, Engine: "double", Model: slipway.ModelVersion{Name: "twice", Version: "7"}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, mlmodel.ReleaseDir, mlmodel.GoldenFile), data)
	write(t, filepath.Join(dir, mlmodel.ReleaseDir, mlmodel.ManifestFile), manifest)
}

func write(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestServerAnswers(t *testing.T) {
	t.Parallel()
	dir := modelDir(t, oneColumn)
	writeGolden(t, dir, mlmodel.Golden{SchemaVersion: 1, Predictions: []mlmodel.Prediction{{Request: json.RawMessage(`{"inputs":[{"x":1}]}`), Answer: json.RawMessage(`[2.0]`)}}})
	r := start(t, serving.Config{Dir: dir, Engines: []serving.Engine{double{}}})
	r.awaitReady(t)

	resp, reply := post(t, r.url+"/invocations", `{"dataframe_records":[{"x":1.5},{"x":null}]}`)
	if reply != `{"predictions": [3.0, NaN]}` || resp.Header.Get("X-Model-Name") != "twice" || resp.Header.Get("X-Model-Version") != "7" {
		t.Errorf("/invocations: %s %v", reply, resp.Header)
	}
	_, reply = post(t, r.url+"/predict", `[{"x":1.5},{"x":null}]`)
	if reply != `{"predictions": [3.0, null], "model": "twice", "version": "7"}` {
		t.Errorf("/predict: %s", reply)
	}
	for path, want := range map[string]string{
		"/health": "\n", "/ping": "\n", "/ready": "ready\n", "/version": "3.17.2", "/": "POST /predict",
		"/predict": `-d '{"dataframe_split":{"columns":["x"],"data":[[`,
		"/metrics": `model_infer_request_success_total{model_name="twice",model_version="7",model="twice",version="7"} 2`,
	} {
		if status, body := get(t, r.url+path); status != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("drain: %v", err)
	}
	r.done <- nil
}

// TestCommandToCopy runs what GET /predict answers as far as the shell's
// quoting goes: the body it shows is a request that is answered.
func TestCommandToCopy(t *testing.T) {
	t.Parallel()
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{}}})
	page := ask(s, "GET", "/predict", nil, "").Body.String()
	lines := strings.Split(strings.TrimSpace(page), "\n")
	if got := ask(s, "POST", "/predict", jsonHeader(), lines[len(lines)-1]); got.Code != 200 {
		t.Errorf("%s: %s", page, got.Body)
	}
}

func TestGoldenGate(t *testing.T) {
	t.Parallel()
	request := json.RawMessage(`{"inputs":[{"x":1.5}]}`)
	tests := map[string]struct {
		golden  mlmodel.Golden
		predict func(context.Context, *serving.Batch) (*serving.Output, error)
		want    []string
	}{
		"another answer": {mlmodel.Golden{SchemaVersion: 1, By: "scikit-learn 1.5.2", Predictions: []mlmodel.Prediction{
			{Request: request, Answer: json.RawMessage(`[3.0]`)}, {Request: request, Answer: json.RawMessage(`[4.0]`)}}}, nil,
			[]string{`golden prediction 2 differs: request {"inputs":[{"x":1.5}]}: at [0]: expected 4.0 (scikit-learn 1.5.2), got 3.0`}},
		"NaN": {mlmodel.Golden{SchemaVersion: 1, Predictions: []mlmodel.Prediction{{Request: request, Answer: json.RawMessage(`["NaN"]`)}}}, nil,
			[]string{`expected "NaN", got 3.0`}},
		"a panic": {mlmodel.Golden{SchemaVersion: 1, Predictions: []mlmodel.Prediction{{Request: request, Answer: json.RawMessage(`[3.0]`)}}},
			func(context.Context, *serving.Batch) (*serving.Output, error) { panic("at the disco") },
			[]string{"does not answer golden prediction 1", "at the disco"}},
		"a newer form": {mlmodel.Golden{SchemaVersion: 2}, nil, []string{"form 2"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := modelDir(t, oneColumn)
			writeGolden(t, dir, test.golden)
			r := start(t, serving.Config{Dir: dir, Engines: []serving.Engine{double{test.predict}}})
			err := <-r.done
			r.done <- nil
			for _, want := range test.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("%v lacks %q", err, want)
				}
			}
		})
	}
}

func TestEngineChoice(t *testing.T) {
	t.Parallel()
	refuses := refuser{errors.New("tree_ is not known")}
	bare, image := modelDir(t, oneColumn), modelDir(t, oneColumn)
	writeGolden(t, image, mlmodel.Golden{SchemaVersion: 1})
	for name, test := range map[string]struct {
		dir     string
		engines []serving.Engine
		want    string
	}{
		"first that can":    {bare, []serving.Engine{refuses, double{}}, ""},
		"none of two can":   {bare, []serving.Engine{refuses, refuses}, "no engine serves this model of flavour \"python_function\": refuser: tree_ is not known; refuser"},
		"no engine":         {bare, nil, "there is none"},
		"none can":          {bare, []serving.Engine{refuses}, "tree_ is not known"},
		"the image's":       {image, []serving.Engine{refuses, double{}}, ""},
		"the image's lacks": {image, []serving.Engine{refuses}, `the image asks for the engine "double", and this model server has refuser`},
		"no model":          {t.TempDir(), nil, "MLmodel"},
	} {
		err := serving.LoadForTest(serving.New(serving.Config{Dir: test.dir, Engines: test.engines}))
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

type refuser struct{ err error }

func (r refuser) Name() string               { return "refuser" }
func (r refuser) Check(*mlmodel.Model) error { return r.err }
func (r refuser) Load(context.Context, *mlmodel.Model) (serving.Predictor, error) {
	return nil, r.err
}

// TestDrain stops a server that has a request in flight and a client with an
// open connection: nothing is lost.
func TestDrain(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	engine := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		if b.Columns[0].Floats[0] == 42 {
			once.Do(func() { close(entered) })
			<-release
		}
		return &serving.Output{Shape: []int{b.Rows}, Floats: b.Columns[0].Floats}, nil
	}}
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{engine}, DrainDelay: 300 * time.Millisecond})
	r.awaitReady(t)
	slow := make(chan string, 1)
	go func() {
		_, reply := post(t, r.url+"/invocations", `{"inputs":[{"x":42}]}`)
		slow <- reply
	}()
	<-entered
	r.stop()
	deadline := time.Now().Add(5 * time.Second)
	for status := 0; status != http.StatusServiceUnavailable; status, _ = get(t, r.url+"/ready") {
		if time.Now().After(deadline) {
			t.Fatal("still ready after the order to stop")
		}
	}
	resp, reply := post(t, r.url+"/invocations", `{"inputs":[{"x":1}]}`)
	if reply != `{"predictions": [1.0]}` || !resp.Close {
		t.Errorf("while draining: %s, closes %v", reply, resp.Close)
	}
	if status, _ := get(t, r.url+"/health"); status != 200 {
		t.Errorf("/health is %d while draining", status)
	}
	close(release)
	if reply := <-slow; reply != `{"predictions": [42.0]}` {
		t.Errorf("in flight: %s", reply)
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
}

// TestDrainLosesNothing stops a server under load from clients that keep their
// connections: every request until the end of the drain delay is answered, and
// every reply asks for another connection.
func TestDrainLosesNothing(t *testing.T) {
	t.Parallel()
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{}}, DrainDelay: 3 * time.Second})
	r.awaitReady(t)
	var group sync.WaitGroup
	for range 4 {
		group.Add(1)
		go func() {
			defer group.Done()
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			for draining := 0; draining < 5; {
				resp, err := client.Post(r.url+"/invocations", "application/json", strings.NewReader(`{"inputs":[{"x":1}]}`))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 {
					t.Errorf("%d %v", resp.StatusCode, err)
				}
				resp.Body.Close()
				if resp.Close {
					draining++
				} else if draining > 0 {
					t.Error("a reply kept its connection while draining")
				}
				if draining == 0 {
					r.stop()
				}
			}
		}()
	}
	group.Wait()
	<-r.done
	r.done <- nil
}

// TestStopWhileLoading does not wait for a model that takes for ever to load.
func TestStopWhileLoading(t *testing.T) {
	t.Parallel()
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{forever{}}, DrainDelay: 20 * time.Second})
	if status, _ := get(t, r.url+"/health"); status != 200 {
		t.Errorf("/health is %d while loading", status)
	}
	begin := time.Now()
	r.stop()
	if err := <-r.done; err != nil || time.Since(begin) > 10*time.Second {
		t.Errorf("%v after %s", err, time.Since(begin))
	}
	r.done <- nil
}

// forever is an engine that does not come to an end.
type forever struct{ double }

func (forever) Load(context.Context, *mlmodel.Model) (serving.Predictor, error) { select {} }

// TestDrainEnds gives up on a request that never ends.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	t.Cleanup(func() { close(release) })
	engine := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		close(entered)
		<-release
		return nil, errors.New("late")
	}}
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{engine}, StopWithin: 200 * time.Millisecond})
	r.awaitReady(t)
	go func() {
		if resp, err := http.Post(r.url+"/invocations", "application/json", strings.NewReader(`{"inputs":[{"x":1}]}`)); err == nil {
			resp.Body.Close()
		}
	}()
	<-entered
	r.stop()
	err := <-r.done
	r.done <- nil
	if slipway.CodeOf(err) != slipway.Exhausted || !strings.Contains(err.Error(), "1 requests were not finished") {
		t.Errorf("%v", err)
	}
}

func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Log: slog.New(slog.NewJSONHandler(&log, nil)),
		Engines: []serving.Engine{double{func(context.Context, *serving.Batch) (*serving.Output, error) { panic("inner secret") }}}})
	header := jsonHeader()
	header.Set("X-Request-Id", "r-17")
	got := ask(s, "POST", "/invocations", header, `{"inputs":[{"x":1}]}`)
	if got.Code != 500 || strings.Contains(got.Body.String(), "secret") || !strings.Contains(got.Body.String(), "INTERNAL_ERROR") {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	if got.Header().Get("X-Request-Id") != "r-17" {
		t.Errorf("request id %q", got.Header().Get("X-Request-Id"))
	}
	for _, want := range []string{`"request":"r-17"`, "inner secret", "server_test.go", `"level":"ERROR"`} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, &log)
		}
	}
	if page := ask(s, "GET", "/metrics", nil, "").Body.String(); !strings.Contains(page, `slipway_engine_panics_total{model_name=`) || !strings.Contains(page, "} 1\n") {
		t.Error(page)
	}
}

// TestWrongOutput keeps an engine's mistake from a client.
func TestWrongOutput(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]*serving.Output{
		"none": nil, "no shape": {}, "two rows": {Shape: []int{2}, Floats: []float64{1, 2}}, "too few": {Shape: []int{1, 2}, Floats: []float64{1}},
		"of another kind": {Shape: []int{1}, Kind: serving.Int, Floats: []float64{1}}, "an empty list": {List: []serving.Output{}}, "no columns": {Columns: true},
		"one column short": {Columns: true, List: []serving.Output{{Name: "a", Shape: []int{1}, Floats: []float64{1}}, {Name: "b"}}},
	} {
		s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{func(context.Context, *serving.Batch) (*serving.Output, error) {
			return output, nil
		}}}})
		if got := ask(s, "POST", "/invocations", jsonHeader(), `{"inputs":[{"x":1}]}`); got.Code != 500 {
			t.Errorf("%s: %d %s", name, got.Code, got.Body)
		}
	}
}

// TestOutputs writes every form of an answer.
func TestOutputs(t *testing.T) {
	t.Parallel()
	one := []int{1}
	for want, output := range map[string]serving.Output{
		`[[0.25, 0.75], [1.0, 0.0]]`: {Shape: []int{2, 2}, Floats: []float64{0.25, 0.75, 1, 0}},
		`[[[1, 2]], [[3, 4]]]`:       {Shape: []int{2, 1, 2}, Kind: serving.Int, Ints: []int64{1, 2, 3, 4}},
		`[0.1]`:                      {Shape: one, Kind: serving.Float32, Floats: []float64{float64(float32(0.1))}},
		`["a\"\u0001\nü", "\\"]`:     {Shape: []int{2}, Kind: serving.String, Strings: []string{"a\"\x01\nü", "\\"}},
		"[\"\ufffd\"]":               {Shape: one, Kind: serving.String, Strings: []string{"\xff"}},
		`[true, false]`:              {Shape: []int{2}, Kind: serving.Bool, Bools: []bool{true, false}},
		`["2024-05-01T12:30:00"]`:    {Shape: one, Kind: serving.Time, Ints: []int64{1714566600000000000}},
		`["aGk="]`:                   {Shape: one, Kind: serving.Bytes, Strings: []string{"hi"}},
		`["NaN", "Infinity", 1e+16]`: {Shape: []int{3}, Floats: []float64{math.NaN(), math.Inf(1), 1e16}},
		`[[[0.5]], [[1.0]]]`:         {List: []serving.Output{{Shape: []int{1, 1}, Floats: []float64{0.5}}, {Shape: []int{1, 1}, Floats: []float64{1}}}},
		`{"label": [1], "p": [0.5]}`: {List: []serving.Output{{Name: "label", Shape: one, Kind: serving.Int, Ints: []int64{1}}, {Name: "p", Shape: one, Floats: []float64{0.5}}}},
		`[{"n": 1, "s": "x"}, {"n": 2, "s": "y"}]`: {Columns: true, List: []serving.Output{
			{Name: "n", Shape: []int{2}, Kind: serving.Int, Ints: []int64{1, 2}}, {Name: "s", Shape: []int{2}, Kind: serving.String, Strings: []string{"x", "y"}}}},
	} {
		if got := string(serving.AppendOutput(&output)); got != want {
			t.Errorf("%s instead of %s", got, want)
		}
	}
}

// TestRoutes is the table of paths and methods.
func TestRoutes(t *testing.T) {
	t.Parallel()
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{}}})
	for request, want := range map[string]int{
		"GET /invocations": 405, "PUT /predict": 405, "POST /health": 405, "DELETE /metrics": 405, "HEAD /health": 200,
		"GET /nothing": 404, "GET /invocations/": 404, "POST //predict": 404,
	} {
		method, path, _ := strings.Cut(request, " ")
		got := ask(s, method, path, nil, "")
		if got.Code != want {
			t.Errorf("%s: %d instead of %d", request, got.Code, want)
		}
		if want == 405 && got.Header().Get("Allow") == "" {
			t.Errorf("%s: no Allow", request)
		}
		if want >= 400 && !json.Valid(got.Body.Bytes()) {
			t.Errorf("%s: %s", request, got.Body)
		}
	}
}

func TestNotLoaded(t *testing.T) {
	t.Parallel()
	s := serving.New(serving.Config{Dir: "nowhere"})
	for request, want := range map[string]int{"GET /health": 200, "GET /ready": 503, "POST /predict": 503, "GET /predict": 503, "GET /metrics": 200} {
		method, path, _ := strings.Cut(request, " ")
		got := ask(s, method, path, jsonHeader(), `[]`)
		if got.Code != want || want == 503 && path == "/predict" && got.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %d %v", request, got.Code, got.Header())
		}
	}
}
