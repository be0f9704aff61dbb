package mlflow_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

func TestProbe(t *testing.T) {
	t.Parallel()
	got, err := client(t, mlflow.Config{URI: serve(t, mlflowtest.Config{}).URL()}).Probe(t.Context())
	if err != nil || got.Version != mlflowtest.Version || got.Time.IsZero() {
		t.Errorf("%+v, %v, want MLflow %s and its time", got, err, mlflowtest.Version)
	}
}

// A server that says it is well and answers nothing else is not.
func TestProbeAsksTheRegistry(t *testing.T) {
	t.Parallel()
	c := answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/version") || strings.HasSuffix(r.URL.Path, "/health") {
			_, _ = io.WriteString(w, "3.17.2")
			return
		}
		http.Error(w, "Invalid Host header - possible DNS rebinding attack detected", http.StatusForbidden)
	})
	_, err := c.Probe(t.Context())
	wantError(t, err, slipway.Unauthorized, "Invalid Host header", "--allowed-hosts")
}

// What a server says of its version is foreign text.
func TestProbeOfAStrangeServer(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]string{
		"3.17.2\n": "3.17.2", "3.0.0rc1": "3.0.0rc1", "": "", "<html>": "", "\x1b[2J3.1": "", strings.Repeat("1.", 100) + "1": "",
	} {
		c := answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/version") {
				_, _ = io.WriteString(w, said)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, "{}")
		})
		if got, err := c.Probe(t.Context()); err != nil || got.Version != want {
			t.Errorf("%.20q: version %q, %v, want %q", said, got.Version, err, want)
		}
	}
}

func TestMayTagLeavesNoTag(t *testing.T) {
	t.Parallel()
	server := serve(t, mlflowtest.Config{})
	c := client(t, mlflow.Config{URI: server.URL()})
	v, err := c.Register(t.Context(), "iris", "../examples/demo/models/iris-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.MayTag(t.Context(), v.ModelVersion); err != nil {
		t.Fatal(err)
	}
	server.Break(mlflowtest.Fault{Path: "set-tag", Status: http.StatusForbidden, Body: "Permission denied", Header: http.Header{"Content-Type": {"text/html"}}})
	wantError(t, c.MayTag(t.Context(), v.ModelVersion), slipway.Unauthorized, "Permission denied", "EDIT")
	now, err := c.Resolve(t.Context(), iris1)
	if err != nil || len(now.Tags) > 0 {
		t.Errorf("tags %v, %v, want none", now.Tags, err)
	}
}

// answeringAll is a client of a server that answers everything so.
func answeringAll(t testing.TB, h http.HandlerFunc) *mlflow.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return client(t, mlflow.Config{URI: server.URL, Retries: -1})
}

// asJSON answers with a status and JSON, as MLflow does.
func asJSON(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// Answers of MLflow 3.17.2.
const (
	oneWebhook = `{"webhooks": [{"webhook_id": "f0e1", "name": "slipway", "url": "https://cd.example/hook", "status": "ACTIVE",
		"events": [{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}, {"entity": "PROMPT", "action": "CREATED"}]}]}`
	unreadable = `{"error_code": "INTERNAL_ERROR", "message": "", "sqlstate": "XXM00", "error_class": "CLIENT_INTERNAL_ERROR"}`
)

func TestWebhooks(t *testing.T) {
	t.Parallel()
	hooks, err := answeringAll(t, asJSON(200, oneWebhook)).Webhooks(t.Context())
	want := []mlflow.Webhook{{ID: "f0e1", Name: "slipway", URL: "https://cd.example/hook", Active: true,
		Events: []string{"MODEL_VERSION_ALIAS.CREATED", "PROMPT.CREATED"}}}
	if diff := cmp.Diff(want, hooks); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if !hooks[0].Hears() || (mlflow.Webhook{Events: []string{"MODEL_VERSION.CREATED"}}).Hears() {
		t.Error("a webhook hears of promotions if it is sent MODEL_VERSION_ALIAS.CREATED, and only then")
	}
	if hooks, err := answeringAll(t, asJSON(200, "{}")).Webhooks(t.Context()); err != nil || len(hooks) > 0 {
		t.Errorf("%v, %v, want none", hooks, err)
	}
}

func TestWebhooksThatCannotBeListed(t *testing.T) {
	t.Parallel()
	page := func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "Permission denied", http.StatusForbidden) }
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		code   slipway.Code
		says   string
	}{
		"not an admin":   {page, slipway.Unauthorized, "admin"},
		"an old MLflow":  {http.NotFound, slipway.Invalid, "no webhooks"},
		"no key":         {asJSON(500, unreadable), slipway.Unavailable, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"},
		"another defect": {asJSON(500, `{"error_code": "INTERNAL_ERROR", "message": "no such table"}`), slipway.Unavailable, "no such table"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answeringAll(t, tt.answer).Webhooks(t.Context())
			wantError(t, err, tt.code, tt.says)
		})
	}
}

// Without a key each worker has one of its own: who happens to ask the right
// one, again and again over one connection, never learns of it.
func TestWebhooksAreAskedOfSeveralWorkers(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	workers := map[string]int{} // by the address of the connection
	c := answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if _, known := workers[r.RemoteAddr]; !known {
			workers[r.RemoteAddr] = len(workers) % 2
		}
		worker := workers[r.RemoteAddr]
		mu.Unlock()
		if worker == 1 {
			asJSON(500, unreadable)(w, r)
			return
		}
		asJSON(200, oneWebhook)(w, r)
	})
	_, err := c.Webhooks(t.Context())
	wantError(t, err, slipway.Unavailable, "now and then", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")
}

func TestTestWebhook(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		result string
		says   []string // nothing: it arrives
	}{
		"it arrives":      {`{"success": true, "response_status": 200, "response_body": "ok"}`, nil},
		"it is refused":   {`{"success": false, "response_status": 401, "response_body": "no signature of ours"}`, []string{"answers 401 Unauthorized", "secret"}},
		"private address": {`{"success": false, "error_message": "Webhook URL must not resolve to a non-public IP address. 'cd' resolves to 10.0.0.7."}`, []string{"private", "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS"}},
		"plain http":      {`{"success": false, "error_message": "Invalid webhook URL scheme: 'http'. Allowed schemes are: https."}`, []string{"https", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES"}},
		"nobody listens":  {`{"success": false, "error_message": "Connection refused"}`, []string{"does not arrive", "Connection refused"}},
		"the real words": {`{"success": false, "error_message": "Failed to test webhook: ConnectionError(MaxRetryError(\"_SSRFProtectedHTTPSConnectionPool(host='cd.example', port=443): Max retries exceeded with url: /hook?key=planted (Caused by NewConnectionError('<HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno 111] Connection refused'))\"))"}`,
			[]string{"does not arrive: NewConnectionError", "Connection refused"}},
		"without a cause": {`{"success": false, "error_message": "Failed to test webhook: HTTPSConnectionPool(host='cd.example', port=443): Max retries exceeded with url: /hook?key=planted"}`,
			[]string{"cd.example", "exceeded with url: …"}},
		"quotes and brackets": {`{"success": false, "error_message": "Failed to test webhook: HTTPSConnectionPool(host='cd.example', port=443): Max retries exceeded with url: /hook?key='(it)planted"}`, []string{"exceeded with url: …"}},
		"a whole address":     {`{"success": false, "error_message": "Invalid webhook URL: 'https://cd.example/hook?key=planted'"}`, []string{"Invalid webhook URL"}},
		"a path alone":        {`{"success": false, "error_message": "ReadTimeout: /hook?key=planted"}`, []string{"ReadTimeout: /…"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			c := answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
				var body struct {
					Event struct{ Entity, Action string }
				}
				err := json.NewDecoder(r.Body).Decode(&body)
				if r.Method != http.MethodPost || r.URL.Path != "/api/2.0/mlflow/webhooks/f0e1/test" || err != nil || body.Event.Entity != "MODEL_VERSION_ALIAS" {
					t.Errorf("%s %s %+v, %v", r.Method, r.URL.Path, body, err)
				}
				asked.Add(1)
				asJSON(200, `{"result": `+tt.result+`}`)(w, r)
			})
			err := c.TestWebhook(t.Context(), mlflow.Webhook{ID: "f0e1", Name: "slipway", URL: "https://cd.example/hook?key=planted"})
			if text := fmt.Sprint(err, slipway.HintOf(err)); strings.Contains(text, "planted") || strings.Contains(text, "/hook") {
				t.Errorf("the receiver's address is shown: %s", text)
			}
			if asked.Load() != 1 {
				t.Errorf("it was sent %d times", asked.Load())
			}
			if tt.says == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, slipway.Unavailable, tt.says...)
		})
	}
}

// MLflow waits for a receiver that drops packets. That is not MLflow's silence,
// whoever it is that waits no longer.
func TestTestWebhookOfAReceiverThatSaysNothing(t *testing.T) {
	t.Parallel()
	hook := mlflow.Webhook{ID: "f0e1", Name: "slipway"}
	ctx, cancel := context.WithCancelCause(t.Context())
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that we leave
		cancel(errors.New("no answer within 30s"))
		<-r.Context().Done()
	}))
	t.Cleanup(hangs.Close)
	err := client(t, mlflow.Config{URI: hangs.URL, Retries: -1}).TestWebhook(ctx, hook)
	wantError(t, err, slipway.Unavailable, "its receiver does not answer", "no answer within 30s", "MLflow's machine reaches the receiver")
	err = client(t, mlflow.Config{URI: hangs.URL, Retries: -1, Timeout: time.Millisecond}).TestWebhook(t.Context(), hook)
	wantError(t, err, slipway.Unavailable, "its receiver does not answer", "no answer within 1ms", "MLflow's machine reaches the receiver")
}
