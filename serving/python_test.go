package serving_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// scripted is an engine with processes, whose predictor answers by a function.
type scripted struct {
	answer func(ctx context.Context, b *serving.Batch) (*serving.Output, error)
	state  serving.State
	closed chan struct{}
}

func (s *scripted) Name() string               { return "scripted" }
func (s *scripted) Check(*mlmodel.Model) error { return nil }
func (s *scripted) Load(context.Context, *mlmodel.Model) (serving.Predictor, error) {
	return s, nil
}
func (s *scripted) Predict(ctx context.Context, b *serving.Batch) (*serving.Output, error) {
	return s.answer(ctx, b)
}
func (s *scripted) TakesBodies()         {}
func (s *scripted) State() serving.State { return s.state }
func (s *scripted) Close() error {
	close(s.closed)
	return nil
}

// TestJSONAnswers writes an answer that is JSON already, in each spelling, and
// none that is not JSON.
func TestJSONAnswers(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string][2]string{ // of /invocations and /predict; "": refused
		`[1.0, {"a": NaN, "b": [Infinity, -Infinity]}]`: {`[1.0, {"a": NaN, "b": [Infinity, -Infinity]}]`, `[1.0, {"a": null, "b": [null, null]}]`},
		`"NaN, \"Infinity\" -1"`:                        {`"NaN, \"Infinity\" -1"`, `"NaN, \"Infinity\" -1"`},
		`{"NaN": -1.5e-7, "Inf": true}`:                 {`{"NaN": -1.5e-7, "Inf": true}`, `{"NaN": -1.5e-7, "Inf": true}`},
		`[-Infinity]`:                                   {`[-Infinity]`, `[null]`},
		`"\"}, \"injected\": {\""`:                      {`"\"}, \"injected\": {\""`, `"\"}, \"injected\": {\""`},
		`1}, "predictions": [2`:                         {"", ""},
		`[nan]`:                                         {"", ""},
		`[NaNs]`:                                        {"", ""},
		``:                                              {"", ""},
		"\"\xff\"":                                      {"", ""},
		strings.Repeat("[", 200):                        {"", ""},
	} {
		engine := &scripted{answer: func(context.Context, *serving.Batch) (*serving.Output, error) {
			return &serving.Output{JSON: []byte(answer)}, nil
		}}
		s := loaded(t, serving.Config{Dir: modelDir(t, `[{"type":"double","name":"x"}]`), Engines: []serving.Engine{engine}, ModelName: "m"})
		for i, path := range []string{"/invocations", "/predict"} {
			got := ask(s, "POST", path, http.Header{}, `{"inputs":[{"x":1}]}`)
			whole := `{"predictions": ` + want[i]
			if want[i] == "" && got.Code != 500 || want[i] != "" && !strings.HasPrefix(got.Body.String(), whole) {
				t.Errorf("%s of %q: %d %s", path, answer, got.Code, got.Body)
			}
		}
	}
}

// TestEngineErrors gives each error of an engine its status.
func TestEngineErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		err    error
		status int
		body   string
	}{
		"raised":           {&serving.ModelError{Message: "ValueError: x"}, 400, `"error_code": "BAD_REQUEST", "message": "ValueError: x"`},
		"raised, MLflow's": {&serving.ModelError{Code: "INVALID_PARAMETER_VALUE", Class: "SCHEMA_ENFORCEMENT_FAILED", Message: "x"}, 400, `"sqlstate": "KAM01", "error_class": "SCHEMA_ENFORCEMENT_FAILED"}`},
		"raised, its own":  {&serving.ModelError{Code: "MADE_UP", Class: "MADE_UP", Message: "x"}, 400, `"error_code": "BAD_REQUEST"`},
		"raised, to debug": {fmt.Errorf("x: %w", &serving.ModelError{Message: "x", Stack: "File \"a\""}), 400, `"stack_trace": "File \"a\""}`},
		"too many wait":    {slipway.Errorf(slipway.Exhausted, "x", "y"), 503, `TEMPORARILY_UNAVAILABLE`},
		"starting again":   {slipway.Errorf(slipway.Unavailable, "x", "y"), 503, `TEMPORARILY_UNAVAILABLE`},
		"too late":         {&slipway.Error{Code: slipway.Exhausted, Err: context.DeadlineExceeded}, 504, `DEADLINE_EXCEEDED`},
		"ours":             {slipway.Errorf(slipway.Internal, "x", "secret"), 500, `its log says why`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine := &scripted{answer: func(context.Context, *serving.Batch) (*serving.Output, error) { return nil, test.err }}
			s := loaded(t, serving.Config{Dir: modelDir(t, `[{"type":"double","name":"x"}]`), Engines: []serving.Engine{engine}})
			got := ask(s, "POST", "/invocations", http.Header{}, `{"inputs":[{"x":1}]}`)
			if got.Code != test.status || !strings.Contains(got.Body.String(), test.body) || strings.Contains(got.Body.String(), "secret") {
				t.Errorf("%d %s", got.Code, got.Body)
			}
			if retry := got.Header().Get("Retry-After"); (retry == "1") != (test.status == 503) {
				t.Errorf("Retry-After %q", retry)
			}
		})
	}
}

// TestProcesses shows the processes of an engine where they matter.
func TestProcesses(t *testing.T) {
	t.Parallel()
	engine := &scripted{state: serving.State{Workers: 1, Wanted: 2, Restarts: 3, Waiting: 4}}
	s := loaded(t, serving.Config{Dir: modelDir(t, `[{"type":"double","name":"x"}]`), Engines: []serving.Engine{engine}})
	if got := ask(s, "GET", "/ready", nil, ""); got.Code != 200 {
		t.Errorf("ready: %d", got.Code)
	}
	text := ask(s, "GET", "/metrics", nil, "").Body.String()
	for _, want := range []string{"slipway_workers{", "slipway_workers_wanted{", "slipway_worker_restarts_total{", "slipway_worker_queue_requests{"} {
		if !strings.Contains(text, want) {
			t.Errorf("no metric %s", want)
		}
	}
	engine.state.Workers = 0
	if got := ask(s, "GET", "/ready", nil, ""); got.Code != 503 {
		t.Errorf("ready without a worker: %d", got.Code)
	}
}

// TestBodies hands on what a client sent to a model that declares no inputs.
func TestBodies(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]struct {
		format, body string
		rows         int
	}{
		`{"inputs": ["a", {"b":NaN}]}`:                                    {"inputs", `["a", {"b":NaN}]`, 2},
		`{"instances": {"a":[1,2]}}`:                                      {"instances", `{"a":[1,2]}`, 1},
		`{"dataframe_records":[{"a":1}],"params":{"k":1}}`:                {"dataframe_records", `[{"a":1}]`, 1},
		`{"dataframe_split": {"columns":["a"],"data":[[1]],"index":[5]}}`: {"dataframe_split", `{"columns":["a"],"data":[[1]],"index":[5]}`, 1},
		`{"messages":[{"role":"user","content":"hi"}]}`:                   {"whole", `{"messages":[{"role":"user","content":"hi"}]}`, 1},
	} {
		var got serving.Batch
		engine := &scripted{answer: func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
			got = serving.Batch{Rows: b.Rows, Format: b.Format, Body: append([]byte{}, b.Body...)}
			return &serving.Output{JSON: []byte("[]")}, nil
		}}
		s := loaded(t, serving.Config{Dir: modelDir(t, ""), Engines: []serving.Engine{engine}})
		reply := ask(s, "POST", "/invocations", http.Header{}, body)
		if reply.Code != 200 || got.Format != want.format || string(got.Body) != want.body || got.Rows != want.rows {
			t.Errorf("%s: %d %s, %+v %s", body, reply.Code, reply.Body, got, got.Body)
		}
	}
}

// TestRequestID gives the predictor the id that the reply names.
func TestRequestID(t *testing.T) {
	t.Parallel()
	var id string
	engine := &scripted{answer: func(ctx context.Context, _ *serving.Batch) (*serving.Output, error) {
		id = serving.RequestID(ctx)
		return &serving.Output{JSON: []byte("[]")}, nil
	}}
	s := loaded(t, serving.Config{Dir: modelDir(t, `[{"type":"double","name":"x"}]`), Engines: []serving.Engine{engine}})
	for _, header := range []http.Header{{"X-Request-Id": {"mine"}}, {}} {
		got := ask(s, "POST", "/invocations", header, `{"inputs":[{"x":1}]}`)
		if id == "" || id != got.Header().Get("X-Request-Id") || header.Get("X-Request-Id") == "mine" && id != "mine" {
			t.Errorf("the predictor knows %q, the reply says %q", id, got.Header().Get("X-Request-Id"))
		}
	}
}

// TestOnce tells the predictor which questions are golden predictions: those it
// must not ask again when they break something.
func TestOnce(t *testing.T) {
	t.Parallel()
	var once []bool
	engine := &scripted{answer: func(ctx context.Context, _ *serving.Batch) (*serving.Output, error) {
		once = append(once, serving.Once(ctx))
		return &serving.Output{JSON: []byte("[1.0]")}, nil
	}}
	dir := modelDir(t, `[{"type":"double","name":"x"}]`)
	put(t, filepath.Join(dir, mlmodel.ReleaseDir, mlmodel.GoldenFile), `{"schemaVersion":1,"predictions":[{"request":{"inputs":[{"x":1}]},"answer":[1.0]}]}`)
	s := loaded(t, serving.Config{Dir: dir, Engines: []serving.Engine{engine}})
	ask(s, "POST", "/invocations", http.Header{}, `{"inputs":[{"x":1}]}`)
	if want := []bool{true, false}; !slices.Equal(once, want) {
		t.Errorf("got %v, want %v", once, want)
	}
}

// TestRunCloses ends an engine's processes with the server: after a drain, and
// when a golden prediction differs.
func TestRunCloses(t *testing.T) {
	t.Parallel()
	for name, golden := range map[string]string{"drained": "", "golden prediction differs": `{"schemaVersion":1,"predictions":[{"request":{"inputs":[{"x":1}]},"answer":[2]}]}`} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := modelDir(t, `[{"type":"double","name":"x"}]`)
			if golden != "" {
				put(t, filepath.Join(dir, mlmodel.ReleaseDir, mlmodel.GoldenFile), golden)
			}
			engine := &scripted{closed: make(chan struct{}), answer: func(context.Context, *serving.Batch) (*serving.Output, error) {
				return &serving.Output{JSON: []byte("[1]")}, nil
			}}
			ctx, stop := context.WithCancel(t.Context())
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			err = serving.New(serving.Config{Dir: dir, Engines: []serving.Engine{engine}, Ready: stop}).Run(ctx, l)
			stop()
			if (err != nil) != (golden != "") {
				t.Error(err)
			}
			select {
			case <-engine.closed:
			default:
				t.Error("the predictor is not closed")
			}
		})
	}
}

func put(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
