package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

const secret = "throwaway-secret-123"

// world is a model registry and its targets, as a relay sees them, and a host
// that starts releases.
type world struct {
	mu       sync.Mutex
	promoted map[string]slipway.Version // by model reference
	outlook  map[string]relay.Outlook   // by model reference; default due
	down     error                      // of the model registry
	looks    int

	runs   []relay.Start                   // that the host took
	answer func(relay.Start) (bool, error) // whether it takes one, and what it says
	blind  error                           // what Find says
	finds  []time.Time                     // when it was called
}

func newWorld() *world {
	return &world{promoted: map[string]slipway.Version{}, outlook: map[string]relay.Outlook{}}
}

func (w *world) Promoted(_ context.Context, x relay.Watched) (slipway.Version, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	return w.promoted[x.Model.String()], w.down
}

func (w *world) Outlook(_ context.Context, x relay.Watched, _ slipway.Version) relay.Outlook {
	w.mu.Lock()
	defer w.mu.Unlock()
	if o, ok := w.outlook[x.Model.String()]; ok {
		return o
	}
	return relay.Outlook{Prospect: relay.Due}
}

func (w *world) Start(_ context.Context, s relay.Start) (string, error) {
	w.mu.Lock()
	answer := w.answer
	w.mu.Unlock()
	taken, err := true, error(nil)
	if answer != nil {
		taken, err = answer(s)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if taken {
		w.runs = append(w.runs, s)
	}
	return "https://ci.example/" + s.ID, err
}

func (w *world) Find(_ context.Context, s relay.Start) (string, bool, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.finds = append(w.finds, time.Now())
	if w.blind != nil {
		return "", false, w.blind
	}
	for _, run := range w.runs {
		if run.ID == s.ID {
			return "https://ci.example/" + s.ID, true, nil
		}
	}
	return "", false, nil
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *world) promote(model string, v slipway.Version) { w.set(func() { w.promoted[model] = v }) }

// started returns the versions that the host runs, in order.
func (w *world) started() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []string
	for _, run := range w.runs {
		all = append(all, string(run.Version))
	}
	return strings.Join(all, " ")
}

const iris = "models:/iris@champion"

func reference(t testing.TB, s string) slipway.ModelRef {
	t.Helper()
	ref, err := slipway.ParseModelRef(s)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

// watching is a configuration with these models in production.
func (w *world) watching(t testing.TB, models ...string) relay.Config {
	t.Helper()
	c := relay.Config{Database: filepath.Join(t.TempDir(), "relay.db"), World: w, Secrets: []string{secret}}
	for _, m := range models {
		c.Watch = append(c.Watch, relay.Watched{Model: reference(t, m), Environment: "production", Starter: w})
	}
	return c
}

func open(t testing.TB, c relay.Config) *relay.Relay {
	t.Helper()
	r, err := relay.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func shut(t testing.TB, r *relay.Relay) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// running opens a relay and runs it until stop is called.
func running(t testing.TB, c relay.Config) (r *relay.Relay, stop func()) {
	t.Helper()
	r = open(t, c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			<-done
			shut(t, r)
		})
	}
	t.Cleanup(stop)
	return r, stop
}

// delivery is a webhook as MLflow sends it.
func delivery(id, secret string, at time.Time, body string) *http.Request {
	req := httptest.NewRequest(http.MethodPost, "/webhook", strings.NewReader(body))
	stamp := strconv.FormatInt(at.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("X-MLflow-Delivery-Id", id)
	req.Header.Set("X-MLflow-Timestamp", stamp)
	if secret != "" {
		req.Header.Set("X-MLflow-Signature", relay.Sign(secret, id, stamp, []byte(body)))
	}
	return req
}

func moved(name, alias string, v slipway.Version) string {
	return fmt.Sprintf(`{"entity": "model_version_alias", "action": "created", "timestamp": "2026-11-23T00:15:06.611714+00:00", "data": {"name": %q, "alias": %q, "version": %q}}`, name, alias, v)
}

func ask(r http.Handler, req *http.Request) *httptest.ResponseRecorder {
	rec := httptest.NewRecorder()
	r.ServeHTTP(rec, req)
	return rec
}
