package mlflow_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// counted answers with the statuses in turn, the last one for ever after, and
// counts the requests.
func counted(t *testing.T, header http.Header, statuses ...int) (*mlflow.Client, *atomic.Int64) {
	t.Helper()
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i := int(n.Add(1)) - 1
		for k, v := range header {
			w.Header()[k] = v
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(statuses[min(i, len(statuses)-1)])
		w.Write([]byte(`{"model_version":{"name":"iris","version":"1"}}`))
	}))
	t.Cleanup(srv.Close)
	return client(t, mlflow.Config{URI: srv.URL, Retries: 2}), &n
}

func TestRepeating(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		statuses []int
		requests int64
		code     slipway.Code
	}{
		"500 once":     {[]int{500, 200}, 2, ""},
		"503 twice":    {[]int{503, 503, 200}, 3, ""},
		"500 for ever": {[]int{500}, 3, slipway.Unavailable},
		"429 for ever": {[]int{429}, 3, slipway.Unavailable},
		"408 once":     {[]int{408, 200}, 2, ""},
		"400":          {[]int{400}, 1, slipway.Invalid},
		"401":          {[]int{401}, 1, slipway.Unauthorized},
		"403":          {[]int{403}, 1, slipway.Unauthorized},
		"501":          {[]int{501}, 1, slipway.Invalid},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, n := counted(t, nil, test.statuses...)
			_, err := m.Resolve(t.Context(), iris1)
			if slipway.CodeOf(err) != test.code || n.Load() != test.requests {
				t.Errorf("%d requests and %v, want %d and %q", n.Load(), err, test.requests, test.code)
			}
		})
	}
}

// What creates something is sent again only when it certainly had no effect.
func TestCreationIsNotRepeatedBlindly(t *testing.T) {
	t.Parallel()
	for status, requests := range map[int]int64{500: 1, 502: 1, 504: 1, 429: 2, 503: 2} {
		m, n := counted(t, nil, status, 200)
		_, err := m.CreateVersion(t.Context(), "iris", mlflow.NewVersion{Source: "s3://b/p"})
		if n.Load() != requests || requests == 1 && err == nil {
			t.Errorf("after a %d: %d requests, want %d (%v)", status, n.Load(), requests, err)
		}
	}
	m, n := counted(t, nil, 500, 200)
	if err := m.SetTag(t.Context(), "iris", "1", "k", "v"); err != nil || n.Load() != 2 {
		t.Errorf("a tag after a 500: %d requests, %v", n.Load(), err)
	}
}

func TestRetryAfterIsHonoured(t *testing.T) {
	t.Parallel()
	m, n := counted(t, http.Header{"Retry-After": {"1"}}, 429, 200)
	began := time.Now()
	if _, err := m.Resolve(t.Context(), iris1); err != nil {
		t.Fatal(err)
	}
	if waited := time.Since(began); n.Load() != 2 || waited < time.Second {
		t.Errorf("came back after %s, %d requests", waited, n.Load())
	}
}

func TestLongRetryAfterIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	m, n := counted(t, http.Header{"Retry-After": {"3600"}}, 429)
	_, err := m.Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Unavailable, "1h0m0s")
	if n.Load() != 1 {
		t.Errorf("%d requests", n.Load())
	}
}

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for s, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-3": 0, "soon": 0, "1e3": 0, "99999999999999999999": 0,
		"Mon, 23 Nov 2026 12:00:30 GMT": 30 * time.Second,
		"Mon, 23 Nov 2026 11:00:00 GMT": 0,
	} {
		if got := mlflow.ParseRetryAfter(s, now); got != want {
			t.Errorf("%q gives %s, want %s", s, got, want)
		}
	}
}

// Waiting ends with the context, and the cause is kept.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	srv := serve(t, mlflowtest.Config{})
	srv.Break(mlflowtest.Fault{Hang: true})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := client(t, mlflow.Config{URI: srv.URL()}).Resolve(ctx, iris1)
	wantError(t, err, slipway.Unavailable, context.DeadlineExceeded.Error())
}

// A registration that stays pending, or fails, is told apart.
func TestAwaitReady(t *testing.T) {
	t.Parallel()
	srv := serve(t, mlflowtest.Config{})
	if _, err := srv.AddVersion("iris", "mlflowtest/suite/testdata/model"); err != nil {
		t.Fatal(err)
	}
	m := client(t, mlflow.Config{URI: srv.URL()})
	v, err := m.Resolve(t.Context(), iris1)
	if err != nil {
		t.Fatal(err)
	}
	status := func(s, message string) {
		if err := srv.SetStatus("iris", "1", s, message); err != nil {
			t.Fatal(err)
		}
	}
	status(mlflow.PendingStatus, "")
	_, err = m.AwaitReady(t.Context(), v, 300*time.Millisecond)
	wantError(t, err, slipway.Unavailable, "PENDING_REGISTRATION after 300ms")

	srv.Break(mlflowtest.Fault{Path: "model-versions/get", Skip: 1, Times: 1, Delay: time.Millisecond, Then: func() {
		if err := srv.SetStatus("iris", "1", mlflow.ReadyStatus, ""); err != nil {
			t.Error(err)
		}
	}})
	if ready, err := m.AwaitReady(t.Context(), v, time.Minute); err != nil || ready.Status != mlflow.ReadyStatus {
		t.Errorf("got %+v, %v", ready, err)
	}

	status(mlflow.FailedStatus, "no space")
	_, err = m.AwaitReady(t.Context(), v, time.Minute)
	wantError(t, err, slipway.Invalid, "no space")
	status("CONFUSED", "")
	_, err = m.AwaitReady(t.Context(), v, time.Minute)
	wantError(t, err, slipway.Invalid, "CONFUSED")
	if err := srv.SetStatus("iris", "1", mlflow.PendingStatus, ""); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = m.AwaitReady(ctx, v, time.Hour)
	wantError(t, err, slipway.Unavailable, "deadline")
	if !strings.Contains(err.Error(), "waiting for iris 1") {
		t.Errorf("%v does not say what was waited for", err)
	}
}
