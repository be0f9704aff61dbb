package relay_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
)

// A delivery that MLflow 3.17.2 sent, whose signature openssl confirmed.
const (
	sentID        = "9fb327e9-9c28-42d9-9333-00b9aa9dbb92"
	sentAt        = "1795392906"
	sentBody      = `{"entity": "model_version_alias", "action": "created", "timestamp": "2026-11-23T00:15:06.611714+00:00", "data": {"name": "iris-sklearn", "alias": "champion", "version": "1"}}`
	sentSignature = "v1,RUsJpshUlnuC/dBdJaRB9CUafFGEYWgYNsoKWLQb7xw="
)

func TestSignatureIsMLflows(t *testing.T) {
	t.Parallel()
	if got := relay.Sign(secret, sentID, sentAt, []byte(sentBody)); got != sentSignature {
		t.Errorf("%s, want %s", got, sentSignature)
	}
}

// What MLflow sent is taken once, at the time it was sent.
func TestTakesWhatMLflowSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		<-time.After(time.Until(time.Unix(1795392906, 0)))
		w := newWorld()
		r, _ := running(t, w.watching(t, "models:/iris-sklearn@champion"))
		synctest.Wait()
		w.promote("models:/iris-sklearn@champion", "1")
		for i, want := range []string{"accepted", "duplicate", "duplicate"} {
			req := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(sentBody))
			req.Header.Set("X-MLflow-Delivery-Id", sentID)
			req.Header.Set("X-MLflow-Timestamp", sentAt)
			req.Header.Set("X-MLflow-Signature", sentSignature)
			if rec := ask(r, req); rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) {
				t.Errorf("delivery %d: %d %s, want %s", i, rec.Code, rec.Body, want)
			}
			synctest.Wait()
		}
		if got := w.started(); got != "1" {
			t.Errorf("started %q, want 1 once, without a poll", got)
		}
	})
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := w.watching(t, iris)
	c.Secrets = []string{"the-new-secret", secret}
	r := open(t, c)
	t.Cleanup(func() { shut(t, r) })
	now, body := time.Now(), moved("iris", "champion", "1")
	with := func(name, value string) *http.Request {
		req := delivery("d", secret, now, body)
		req.Header.Set(name, value)
		return req
	}
	chunked := delivery("d", secret, now, body)
	chunked.Body, chunked.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", 10<<20))), -1
	for _, tt := range []struct {
		name string
		req  *http.Request
		want int
		says string
	}{
		{"signed", delivery("a", secret, now, body), 200, "accepted"},
		{"again", delivery("a", secret, now, body), 200, "duplicate"},
		{"with the new secret", delivery("b", "the-new-secret", now, body), 200, "accepted"},
		{"four minutes late", delivery("c", secret, now.Add(-4*time.Minute), body), 200, "accepted"},
		{"six minutes late", delivery("d", secret, now.Add(-6*time.Minute), body), 401, ""},
		{"six minutes early", delivery("d", secret, now.Add(6*time.Minute), body), 401, ""},
		{"unsigned", delivery("d", "", now, body), 401, ""},
		{"another secret", delivery("d", "guess", now, body), 401, ""},
		{"the signature of another", with("X-MLflow-Delivery-Id", "e"), 401, ""},
		{"no timestamp", with("X-MLflow-Timestamp", ""), 400, ""},
		{"a timestamp that is none", with("X-MLflow-Timestamp", "soon"), 400, ""},
		{"no identifier", with("X-MLflow-Delivery-Id", ""), 400, ""},
		{"a long identifier", with("X-MLflow-Delivery-Id", strings.Repeat("a", 129)), 400, ""},
		{"an identifier with blanks", with("X-MLflow-Delivery-Id", "a b"), 400, ""},
		{"10 MB", delivery("d", secret, now, strings.Repeat("x", 10<<20)), 413, ""},
		{"10 MB in chunks", chunked, 413, ""},
		{"no JSON", delivery("d", secret, now, "{"), 400, ""},
		{"no event", delivery("d", secret, now, "{}"), 400, ""},
		{"another model", delivery("f", secret, now, moved("wine", "champion", "1")), 200, "ignored"},
		{"another alias", delivery("f", secret, now, moved("iris", "challenger", "1")), 200, "ignored"},
		{"our own tag", delivery("g", secret, now, `{"entity": "model_version_tag", "action": "set", "data": {"name": "iris", "version": "1", "key": "slipway.status", "value": "live"}}`), 200, "ignored"},
		{"a version", delivery("h", secret, now, `{"entity": "model_version", "action": "created", "data": {"name": "iris", "version": "1", "source": "models:/m-1", "run_id": null, "tags": {}}}`), 200, "ignored"},
		{"an alias removed", delivery("i", secret, now, `{"entity": "model_version_alias", "action": "deleted", "data": {"name": "iris", "alias": "champion"}}`), 200, "accepted"},
		{"what is not known yet", delivery("j", secret, now, `{"entity": "budget_policy", "action": "exceeded", "data": 1}`), 200, "ignored"},
		{"a page for people", httptest.NewRequest(http.MethodGet, "/", nil), 200, "iris@champion"},
		{"metrics", httptest.NewRequest(http.MethodGet, "/metrics", nil), 200, `slipway_relay_deliveries_total{result="accepted"} 4`},
		{"health", httptest.NewRequest(http.MethodGet, "/health", nil), 200, "ok"},
		{"ready", httptest.NewRequest(http.MethodGet, "/ready", nil), 200, "ready"},
		{"GET of the webhook", httptest.NewRequest(http.MethodGet, "/webhook", nil), 405, ""},
		{"somewhere else", httptest.NewRequest(http.MethodPost, "/admin", nil), 404, ""},
	} { // in this order: what was received before counts
		rec := ask(r, tt.req)
		if rec.Code != tt.want || !strings.Contains(rec.Body.String(), tt.says) {
			t.Errorf("%s: %d %s, want %d %s", tt.name, rec.Code, rec.Body, tt.want, tt.says)
		}
	}
}

// Large deliveries take turns: one too many is to come again.
func TestLargeOnesTakeTurns(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r := open(t, w.watching(t, iris))
	t.Cleanup(func() { shut(t, r) })
	large := func(body io.Reader) *http.Request {
		req := delivery("a", "guess", time.Now(), "")
		req.Body, req.ContentLength = io.NopCloser(body), -1
		return req
	}
	var all sync.WaitGroup
	defer all.Wait()
	for range relay.MaxLarge {
		body, sent := io.Pipe()
		defer func() { _ = sent.Close() }() // never fails
		all.Go(func() { ask(r, large(body)) })
		for range 2 { // the second is taken when there is a turn
			if _, err := sent.Write(make([]byte, relay.SmallBody)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if rec := ask(r, large(strings.NewReader(strings.Repeat("x", 2*relay.SmallBody)))); rec.Code != http.StatusServiceUnavailable || rec.Header().Get("Retry-After") == "" {
		t.Errorf("one too many: %d", rec.Code)
	}
	if rec := ask(r, large(strings.NewReader("{}"))); rec.Code != http.StatusUnauthorized {
		t.Errorf("a small one: %d", rec.Code)
	}
}

func TestUnsignedOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	w := newWorld()
	c := w.watching(t, iris)
	c.Secrets = nil
	if _, err := relay.Open(t.Context(), c); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("without a secret: %v, want invalid with a hint", err)
	}
	c.Unsigned = true
	r := open(t, c)
	t.Cleanup(func() { shut(t, r) })
	if rec := ask(r, delivery("a", "", time.Now(), moved("iris", "champion", "1"))); rec.Code != http.StatusOK {
		t.Errorf("unsigned: %d %s", rec.Code, rec.Body)
	}
	if rec := ask(r, delivery("b", "", time.Now().Add(-time.Hour), moved("iris", "champion", "1"))); rec.Code != http.StatusUnauthorized {
		t.Errorf("unsigned and old: %d %s", rec.Code, rec.Body)
	}
}

// What people see is text, whatever it says.
func TestPageEscapes(t *testing.T) {
	t.Parallel()
	w := newWorld()
	r, _ := running(t, w.watching(t, "models:/<script>alert(1)<@champion"))
	ask(r, delivery("a", secret, time.Now(), moved("<script>alert(1)<", "champion", `"><b>`)))
	page := ask(r, httptest.NewRequest(http.MethodGet, "/", nil)).Body.String()
	if strings.Contains(page, "<script") || strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;script&gt;alert(1)&lt;") {
		t.Errorf("the page:\n%s", page)
	}
}

func FuzzParseEvent(f *testing.F) {
	f.Add([]byte(sentBody))
	f.Add([]byte(`{"entity": "model_version_alias", "action": "deleted", "data": {"name": "a\u00e9", "alias": "b"}}`))
	f.Add([]byte(`{"entity": "model_version_tag", "action": "set", "data": null}`))
	f.Add([]byte(`{"entity": "model_version_alias", "action": "created", "data": {"name": 1}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := relay.ParseEvent(body)
		if err != nil {
			if slipway.CodeOf(err) != slipway.Invalid || e != (relay.Event{}) {
				t.Errorf("%v with %v", err, e)
			}
			return
		}
		if len(e.Kind) > 129 || len(e.Name) > 256 || len(e.Alias) > 255 || len(e.Version) > 18 {
			t.Errorf("%+v is not bounded", e)
		}
	})
}
