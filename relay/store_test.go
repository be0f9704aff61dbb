package relay_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithCancel(context.Background())
}

// A full disk takes nothing in: MLflow is told to come back, and once there is
// room again it is taken.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := open(t, w.watching(t, iris))
	t.Cleanup(func() { shut(t, r) })
	if err := r.LimitPages(1); err != nil {
		t.Fatal(err)
	}
	send := func(i int) *httptest.ResponseRecorder {
		id := fmt.Sprintf("%0100d", i) // long, so that it is full soon
		return ask(r, delivery(id, secret, time.Now(), moved("iris", "champion", "1")))
	}
	last := 0
	for rec := send(last); rec.Code == http.StatusOK; rec = send(last) {
		if last++; last > 10000 {
			t.Fatal("the disk is never full")
		}
	}
	if rec := send(last); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("full: %d with Retry-After %q", rec.Code, rec.Header().Get("Retry-After"))
	}
	if err := r.LimitPages(1 << 20); err != nil {
		t.Fatal(err)
	}
	if rec := send(last); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), "accepted") {
		t.Errorf("with room again: %d %s", rec.Code, rec.Body)
	}
	if rec := ask(r, httptest.NewRequest(http.MethodGet, "/ready", nil)); rec.Code != http.StatusOK {
		t.Errorf("ready with room again: %d", rec.Code)
	}
}

// A start that could not be stored is not made.
func TestNothingStartsThatCannotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		r, _ := running(t, w.watching(t, iris))
		pass(time.Second)
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		w.promote(iris, "1")
		pass(5 * time.Minute)
		if w.started() != "" {
			t.Errorf("started %q", w.started())
		}
		rec := ask(r, delivery("a", secret, time.Now(), moved("iris", "champion", "1")))
		if rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
			t.Errorf("a delivery: %d", rec.Code)
		}
	})
}

func TestTwoRelaysWithOneDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := w.watching(t, iris)
	r := open(t, c)
	if _, err := relay.Open(t.Context(), c); slipway.CodeOf(err) != slipway.Conflict || slipway.HintOf(err) == "" {
		t.Errorf("the second: %v, want a conflict with a hint", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, c)
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}

func TestDamagedDatabase(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := w.watching(t, iris)
	if err := os.WriteFile(c.Database, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := relay.Open(t.Context(), c); slipway.CodeOf(err) != slipway.Corrupt || !strings.Contains(slipway.HintOf(err), "move the file away") {
		t.Errorf("%v (%s), want corrupt with a hint", err, slipway.HintOf(err))
	}
}
