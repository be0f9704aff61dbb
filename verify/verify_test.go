package verify_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/verify"
)

const image = slipway.Digest("sha256:4be1aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa07c")

func TestAGoodReleasePasses(t *testing.T) {
	t.Parallel()
	first, second := newReplica(t), newReplica(t)
	front := newReplica(t)
	var events []slipway.Event
	cfg := quick(verify.Config{Front: front.URL, Sink: func(e slipway.Event) { events = append(events, e) }})
	got := verify.Replicas(t.Context(), cfg, observation(first, second), release(), golden())
	want := slipway.Verdict{Passed: true, Replicas: []slipway.ReplicaCheck{
		{Replica: "replica-1", Image: image, Health: slipway.HealthChecks, Ready: true, Predictions: 3},
		{Replica: "replica-2", Image: image, Health: slipway.HealthChecks, Ready: true, Predictions: 3},
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(slipway.Verdict{}, "At")); diff != "" {
		t.Errorf("verdict (-want +got):\n%s", diff)
	}
	if got.At.IsZero() || got.Predictions() != 6 {
		t.Errorf("verdict at %s with %d predictions", got.At, got.Predictions())
	}
	for _, r := range []*replica{first, second} {
		if n := r.count("/health"); n != slipway.HealthChecks {
			t.Errorf("%d health checks, want %d", n, slipway.HealthChecks)
		}
	}
	if front.count("/invocations") < 2 {
		t.Errorf("the front door was asked %d times", front.count("/invocations"))
	}
	wantEvents(t, events)
}

func wantEvents(t *testing.T, events []slipway.Event) {
	t.Helper()
	var indicators []string
	last := int64(0)
	for _, e := range events {
		if e.Indicator != "" {
			indicators = append(indicators, e.Indicator)
		}
		if e.Kind == slipway.Progress {
			if e.Done != last+1 || e.Total != 66 {
				t.Errorf("progress %d of %d after %d", e.Done, e.Total, last)
			}
			last = e.Done
		}
		if e.Step != "verify" || e.Release != "01R" || e.Environment != "production" || e.At.IsZero() {
			t.Errorf("event %+v", e)
		}
	}
	if diff := cmp.Diff([]string{"Health check passed", "Prediction tests successful"}, indicators); diff != "" {
		t.Errorf("indicators (-want +got):\n%s", diff)
	}
	if last != 66 {
		t.Errorf("progress ended at %d", last)
	}
}

func TestWhatIsWrongWithAReplica(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		answers  http.HandlerFunc // nil: as it should be
		path     string
		kind     string
		says     string
		evidence string
		heals    bool
	}{
		{"wrong class", text(`{"predictions": ["virginica"]}`), "/invocations", "golden-differs", "golden prediction 1 differs",
			"request   {\"inputs\":[[1]]}\nexpected  [\"versicolor\"]   (scikit-learn 1.5.2)\ngot       \"virginica\"   at [0], where \"versicolor\" is expected", false},
		{"NaN", text(`{"predictions": [NaN]}`), "/invocations", "golden-differs", "golden prediction 1 differs", `"NaN"`, false},
		{"too few", text(`{"predictions": []}`), "/invocations", "golden-differs", "golden prediction 1 differs", "got       []", false},
		{"no predictions", text(`{}`), "/invocations", "not-json", "golden prediction 1 has no readable answer", "got       {}", false},
		{"half JSON", text(`{"predictions": ["versi`), "/invocations", "not-json", "golden prediction 1 has no readable answer", "versi", false},
		{"null", text(`null`), "/invocations", "not-json", "golden prediction 1 has no readable answer", "null", false},
		{"HTML", typed("text/html", "<h1>\x1b[2JIt works</h1>"), "/invocations", "not-json", `golden prediction 1 was answered with the content type "text/html"`, "<h1>[2JIt works", false},
		{"refused", status(400, `{"error_code": "BAD_REQUEST"}`), "/invocations", "prediction-refused", "golden prediction 1 was refused", "400 {\"error_code\": \"BAD_REQUEST\"}", false},
		{"crashed inside", status(500, "boom"), "/invocations", "prediction-refused", "golden prediction 1 was refused", "500 boom", false},
		{"sends elsewhere", redirect, "/invocations", "prediction-refused", "golden prediction 1 was refused", "302", false},
		{"hangs", hang, "/invocations", "slow", "golden prediction 1 did not come within 2s", "POST /invocations", false},
		{"breaks off", hangUp, "/invocations", "unreachable", "it does not answer", "EOF", true},
		{"huge", huge, "/invocations", "too-large", "an answer is larger than 16 MiB", "POST /invocations", false},
		{"another version", version("2"), "/invocations", "other-model", "another model answers", "expected iris 3, got iris 2", false},
		{"not ready", status(503, "loading"), "/ready", "not-ready", "it is not ready", "GET /ready answered 503 loading", false},
		{"started again", status(503, `{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The model is being loaded; try again in a second."}`),
			"/invocations", "prediction-refused", "golden prediction 1 was refused", "being loaded", true},
		{"started again, says /ready", status(503, "the model is being loaded\n"), "/ready", "not-ready", "it is not ready", "being loaded", true},
		{"on its way out", status(503, "draining\n"), "/ready", "not-ready", "it is not ready", "GET /ready answered 503 draining", true},
		{"unhealthy", status(500, "sick"), "/health", "unhealthy", "health check 1 of 30 failed", "GET /health answered 500 sick", false},
		{"unhealthy later", afterwards(17), "/health", "unhealthy", "health check 18 of 30 failed", "500", false},
		{"health hangs", hang, "/health", "slow", "no answer within 2s", "GET /health", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			bad := newReplica(t)
			bad.wrong.Store(tt.path, tt.answers)
			cfg := quick(verify.Config{})
			if tt.kind == "slow" {
				cfg.Timeout = 2 * time.Second
			}
			got := verify.Replicas(t.Context(), cfg, observation(newReplica(t), bad), release(), golden())
			p := got.Problem
			if got.Passed || p == nil {
				t.Fatalf("verdict %+v", got)
			}
			if p.Kind != tt.kind || p.Message != "replica-2: "+tt.says || !strings.Contains(p.Evidence, tt.evidence) || p.Heals != tt.heals {
				t.Errorf("problem %+v,\nwant %s, %q with %q", p, tt.kind, tt.says, tt.evidence)
			}
			if strings.ContainsAny(p.Evidence, "\x1b\x07") || len(p.Evidence) > 4<<10 {
				t.Errorf("evidence of %d bytes: %q", len(p.Evidence), p.Evidence)
			}
			if p.Heals != !p.HealBy.IsZero() {
				t.Errorf("heals %v by %s", p.Heals, p.HealBy)
			}
		})
	}
}

func TestAReplicaThatIsGoneMayComeBack(t *testing.T) {
	t.Parallel()
	gone := newReplica(t)
	gone.Close()
	got := verify.Replicas(t.Context(), quick(verify.Config{}), observation(gone), release(), golden())
	if got.Passed || got.Problem == nil || !got.Problem.Heals || got.Problem.Kind != "unreachable" {
		t.Errorf("verdict %+v, %+v", got, got.Problem)
	}
}

// The first wrong answer ends the rest.
func TestAWrongAnswerDoesNotWaitForASlowReplica(t *testing.T) {
	t.Parallel()
	slow, bad := newReplica(t), newReplica(t)
	slow.wrong.Store("/invocations", http.HandlerFunc(hang))
	bad.wrong.Store("/invocations", text(`{"predictions": ["virginica"]}`))
	start := time.Now()
	got := verify.Replicas(t.Context(), quick(verify.Config{Timeout: time.Minute}), observation(slow, bad), release(), golden())
	if got.Problem == nil || got.Problem.Kind != "golden-differs" {
		t.Errorf("problem %+v", got.Problem)
	}
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
	if p := got.Replicas[0].Problem; p == nil || p.Kind != "stopped" || !p.Heals {
		t.Errorf("the slow replica: %+v", p)
	}
}

func TestFrontDoor(t *testing.T) {
	t.Parallel()
	old := newReplica(t)
	old.wrong.Store("/ready", version("2"))
	mixed := newReplica(t)
	mixed.wrong.Store("/invocations", afterwards(1))
	for name, front := range map[string]*replica{"the old version": old, "another one now and then": mixed} {
		got := verify.Replicas(t.Context(), quick(verify.Config{Front: front.URL}), observation(newReplica(t)), release(), golden())
		if got.Passed || got.Problem == nil || !strings.HasPrefix(got.Problem.Message, "at the front door, "+front.URL) {
			t.Errorf("%s: %+v %+v", name, got, got.Problem)
		}
	}
}

func TestNothingToAsk(t *testing.T) {
	t.Parallel()
	starting := observation(newReplica(t), newReplica(t))
	starting.Replicas[1].State, starting.Replicas[1].Serving = slipway.Starting, false
	beside := observation(newReplica(t), newReplica(t))
	beside.Replicas[1].Image = "sha256:" + slipway.Digest(strings.Repeat("0", 64))
	nowhere := observation(newReplica(t))
	nowhere.Replicas[0].URL = ""
	tests := map[string]struct {
		seen slipway.Observation
		kind string
	}{
		"nothing at all":     {slipway.Observation{}, "not-settled"},
		"one is starting":    {starting, "not-settled"},
		"another one serves": {beside, "other-serves"},
		"without address":    {nowhere, "unreachable"},
	}
	for name, tt := range tests {
		got := verify.Replicas(t.Context(), quick(verify.Config{}), tt.seen, release(), golden())
		if got.Passed || got.Problem == nil || got.Problem.Kind != tt.kind {
			t.Errorf("%s: %+v, %+v", name, got, got.Problem)
		}
	}
}

func TestAnUncheckedReleaseHasNoPredictions(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	var indicators []string
	cfg := quick(verify.Config{Front: r.URL, Sink: func(e slipway.Event) {
		if e.Indicator != "" {
			indicators = append(indicators, e.Indicator)
		}
	}})
	got := verify.Replicas(t.Context(), cfg, observation(r), release(), mlmodel.Golden{})
	if !got.Passed || r.count("/invocations") != 0 {
		t.Errorf("verdict %+v after %d predictions", got, r.count("/invocations"))
	}
	if diff := cmp.Diff([]string{verify.HealthPassed}, indicators); diff != "" {
		t.Errorf("indicators (-want +got):\n%s", diff)
	}
}

func TestAnInterruptedVerificationIsNoFailureOfTheRelease(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.wrong.Store("/invocations", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		cancel(errors.New("the user pressed Ctrl-C"))
		<-ctx.Done()
		panic(http.ErrAbortHandler)
	}))
	got := verify.Replicas(ctx, quick(verify.Config{}), observation(r), release(), golden())
	if got.Passed || got.Problem == nil || !got.Problem.Heals || !strings.Contains(got.Problem.Message, "Ctrl-C") {
		t.Errorf("verdict %+v, %+v", got, got.Problem)
	}
}

func TestVerifierLooksUpTheGoldenPredictions(t *testing.T) {
	t.Parallel()
	r := newReplica(t)
	tests := []struct {
		err    error
		passed bool
		heals  bool
	}{
		{nil, true, false},
		{slipway.Errorf(slipway.Unavailable, "pulling", "out of reach"), false, true},
		{slipway.Errorf(slipway.Corrupt, "pulling", "digest"), false, false},
	}
	for _, tt := range tests {
		v := verify.Verifier{Config: quick(verify.Config{}), Golden: func(_ context.Context, got slipway.Release) (mlmodel.Golden, error) {
			if got.ID != release().ID {
				t.Errorf("asked for %s", got.ID)
			}
			return golden(), tt.err
		}}
		got := v.Verify(t.Context(), observation(r), release())
		if got.Passed != tt.passed || (got.Problem != nil && got.Problem.Heals) != tt.heals {
			t.Errorf("with %v: %+v %+v", tt.err, got, got.Problem)
		}
	}
}

// replica is a model server that answers as the golden predictions say, but
// for the paths in wrong.
type replica struct {
	*httptest.Server
	wrong table[http.HandlerFunc]
	asked table[*atomic.Int64]
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	r := &replica{}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *replica) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.asked.LoadOrStore(req.URL.Path, new(atomic.Int64)).Add(1)
	w.Header().Set("X-Model-Name", "iris")
	w.Header().Set("X-Model-Version", "3")
	if wrong, ok := r.wrong.Load(req.URL.Path); ok && wrong != nil {
		wrong(w, req)
		return
	}
	if req.URL.Path != "/invocations" {
		return
	}
	body, err := io.ReadAll(req.Body)
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	for _, p := range golden().Predictions {
		if err == nil && string(body) == string(p.Request) {
			fmt.Fprintf(w, `{"predictions": %s}`, strings.ReplaceAll(string(p.Answer), `"NaN"`, "NaN"))
			return
		}
	}
	w.WriteHeader(http.StatusBadRequest)
}

func (r *replica) count(path string) int {
	n, ok := r.asked.Load(path)
	if !ok {
		return 0
	}
	return int(n.Load())
}

func observation(replicas ...*replica) slipway.Observation {
	o := slipway.Observation{Desired: image, Want: len(replicas)}
	for i, r := range replicas {
		o.Replicas = append(o.Replicas, slipway.Replica{
			Name: fmt.Sprintf("replica-%d", i+1), Image: image, State: slipway.Ready, Serving: true, URL: r.URL,
		})
	}
	return o
}

func release() slipway.Release {
	return slipway.Release{
		ID: "01R", Environment: "production",
		Model: slipway.ModelVersion{Name: "iris", Version: "3"},
		Image: slipway.Image{Digest: image},
	}
}

func golden() mlmodel.Golden {
	return mlmodel.Golden{By: "scikit-learn 1.5.2", Tolerance: 1e-9, Predictions: []mlmodel.Prediction{
		{Request: json.RawMessage(`{"inputs":[[1]]}`), Answer: json.RawMessage(`["versicolor"]`)},
		{Request: json.RawMessage(`{"inputs":[[2]]}`), Answer: json.RawMessage(`["setosa"]`)},
		{Request: json.RawMessage(`{"inputs":[["NaN"]]}`), Answer: json.RawMessage(`["NaN", 0.1]`)},
	}}
}

// quick shortens the waiting, not the work.
func quick(c verify.Config) verify.Config {
	c.Spacing = 100 * time.Microsecond
	return c
}

func text(body string) http.HandlerFunc { return typed("application/json", body) }

func typed(kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", kind)
		fmt.Fprint(w, body)
	}
}

func status(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func version(v string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Model-Version", v)
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"predictions": ["versicolor"]}`)
	}
}

// afterwards fails after n good answers.
func afterwards(n int64) http.HandlerFunc {
	var asked atomic.Int64
	return func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) > n {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"predictions": ["versicolor"]}`)
	}
}

func redirect(w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "http://203.0.113.1/", http.StatusFound)
}

func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body) // or the server does not see the client leave
	<-r.Context().Done()
}

func hangUp(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

func huge(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for range 20 {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return
		}
	}
}

// What stands between the verifier and a replica may fail instead of it, and
// says so by its error. That is nothing that the release has done.
func TestWhatStandsBetweenMayHeal(t *testing.T) {
	t.Parallel()
	for kind, failure := range map[string]error{
		"unreachable": (&slipway.Error{Code: slipway.Unavailable, Err: context.DeadlineExceeded}).WithHint("wait"),
		"not-allowed": slipway.Errorf(slipway.Unauthorized, "asking", "the right to get pods/proxy is missing").WithHint("bind it"),
	} {
		client := &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) { return nil, failure })}
		got := verify.Replicas(t.Context(), quick(verify.Config{HTTP: client}), observation(newReplica(t)), release(), golden())
		p := got.Problem
		if p == nil || p.Kind != kind || !p.Heals || p.Hint == "" || !strings.Contains(p.Evidence, failure.Error()) {
			t.Errorf("%v gave %+v", failure, p)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
