package mlflow_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

func spec(address string) mlflow.WebhookSpec {
	return mlflow.WebhookSpec{Name: "slipway", URL: address, Secret: "throwaway", Events: mlflow.PromotionEvents()}
}

// The test vector of MLflow 3.17.2: what it sent, and openssl has checked.
func TestSignatureOfTheServerInMemory(t *testing.T) {
	t.Parallel()
	const body = `{"entity": "model_version_alias", "action": "created", "timestamp": "2026-11-23T00:15:06.611714+00:00", "data": {"name": "iris-sklearn", "alias": "champion", "version": "1"}}`
	got := mlflowtest.Sign("throwaway-secret-123", "9fb327e9-9c28-42d9-9333-00b9aa9dbb92", "1795392906", []byte(body))
	if want := "v1,RUsJpshUlnuC/dBdJaRB9CUafFGEYWgYNsoKWLQb7xw="; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// A test event arrives signed, or it is said what the receiver answered.
func TestSendTest(t *testing.T) {
	t.Parallel()
	var tries atomic.Int32
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !strings.HasPrefix(r.Header.Get("X-MLflow-Signature"), "v1,"):
			t.Errorf("it is not signed: %v", r.Header)
		case r.URL.Path == "/refuses":
			http.Error(w, "another secret\x1b[2J", http.StatusUnauthorized)
		case r.URL.Path == "/fails":
			tries.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	t.Cleanup(receiver.Close)
	c := client(t, mlflow.Config{URI: serve(t, mlflowtest.Config{LooseWebhooks: true}).URL()})
	for path, says := range map[string][]string{
		"/takes": nil, "/refuses": {"answers 401 Unauthorized: another secret [2J", "same secret"}, "/fails": {"answers 503", "tried four times"},
	} {
		w, err := c.CreateWebhook(t.Context(), spec(receiver.URL+path))
		if err != nil {
			t.Fatal(err)
		}
		err = c.TestWebhook(t.Context(), w)
		if says == nil && err != nil {
			t.Errorf("%s: %v", path, err)
		} else if says != nil {
			wantError(t, err, slipway.Unavailable, says...)
		}
	}
	if tries.Load() != 4 {
		t.Errorf("a receiver that fails was tried %d times, want 4", tries.Load())
	}
}

// What MLflow 3.17.2 says of a delivery, boiled down to its cause.
func TestSendTestTellsTheCause(t *testing.T) {
	t.Parallel()
	for said, want := range map[string]mlflow.Delivery{
		`Failed to test webhook: SSLError(MaxRetryError(\"_SSRFProtectedHTTPSConnectionPool(host='127.0.0.1', port=1): Max retries exceeded with url: /planted (Caused by SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)')))\"))`: {Failure: "SSLError(SSLError(1, '[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006"},
		"Failed to test webhook: ReadTimeout: /planted?token=planted":                                                     {Failure: "ReadTimeout: /…?token=planted"},
		"Failed to test webhook: SSRFProtectionError('Webhook connection blocked: 10.0.0.7 is not a public IP address.')": {Failure: "SSRFProtectionError('Webhook connection blocked: 10.0.0.7 is not a public IP address.')"},
	} {
		c := answeringAll(t, asJSON(200, `{"result": {"success": false, "error_message": "`+said+`"}}`))
		got, err := c.SendTest(t.Context(), mlflow.Webhook{ID: "f0e1", URL: "https://cd.example/planted"})
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// Whatever MLflow says, it is one bounded line without the webhook's path.
func FuzzCauseOf(f *testing.F) {
	f.Add("Failed to test webhook: SSLError(MaxRetryError(\"url: /planted (Caused by X('y'))\"))")
	f.Add("/planted/planted\x00\xff(Caused by ")
	f.Fuzz(func(t *testing.T, said string) {
		got := mlflow.CauseOf(said, mlflow.Webhook{URL: "https://cd.example/planted"})
		if strings.Contains(got, "/planted") || len([]rune(got)) > 301 || strings.ContainsAny(got, "\n\x00\x1b") {
			t.Errorf("%q became %q", said, got)
		}
	})
}

// half is a server of two workers, only one of which can read webhooks. A
// connection stays with its worker.
func half(t testing.TB, next http.Handler) *mlflow.Client {
	t.Helper()
	var mu sync.Mutex
	workers := map[string]int{} // by the address of the connection
	return answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		if _, known := workers[r.RemoteAddr]; !known {
			workers[r.RemoteAddr] = len(workers) % 2
		}
		worker := workers[r.RemoteAddr]
		mu.Unlock()
		if worker == 0 {
			asJSON(500, unreadable)(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// Where half of the workers fail, all works all the same, and is told.
func TestWebhooksOfWhichHalfAreUnreadable(t *testing.T) {
	t.Parallel()
	c := half(t, mlflowtest.NewServer(mlflowtest.Config{}))
	w, err := c.CreateWebhook(t.Context(), spec("https://1.1.1.1/hook"))
	if err != nil {
		t.Fatal(err)
	}
	hooks, err := c.Webhooks(t.Context())
	if wantError(t, err, slipway.Unavailable, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"); len(hooks) != 1 || hooks[0].ID != w.ID {
		t.Errorf("%+v beside the error, want the one", hooks)
	}
	if _, done, err := c.EnsureWebhook(t.Context(), spec("https://1.1.1.1/hook")); err != nil || done != mlflow.WebhookUpdated {
		t.Errorf("%s, %v", done, err)
	}
	if err := c.DeleteWebhook(t.Context(), w.ID); err != nil {
		t.Error(err)
	}
}

// Where none can read them, it ends, and nothing was created twice.
func TestWebhooksThatNobodyCanRead(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := answeringAll(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet {
			t.Errorf("%s %s", r.Method, r.URL)
		}
		asked.Add(1)
		asJSON(500, unreadable)(w, r)
	})
	_, _, err := c.EnsureWebhook(t.Context(), spec("https://1.1.1.1/hook"))
	if wantError(t, err, slipway.Unavailable, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY"); asked.Load() != 32 {
		t.Errorf("asked %d times", asked.Load())
	}
}

// The secret is in no error, whatever MLflow says of the request.
func TestWebhookErrorsTellNoSecret(t *testing.T) {
	t.Parallel()
	for _, answer := range []http.HandlerFunc{asJSON(400, `{"error_code": "INVALID_PARAMETER_VALUE", "message": "Invalid webhook URL scheme: 'http'."}`), asJSON(500, "{}"), http.NotFound} {
		_, err := answeringAll(t, answer).CreateWebhook(t.Context(), spec("http://cd.example/hook"))
		if err == nil || strings.Contains(err.Error()+slipway.HintOf(err), "throwaway") {
			t.Errorf("%v", err)
		}
	}
}

func TestOnlyAdminsHaveWebhooks(t *testing.T) {
	t.Parallel()
	server := serve(t, mlflowtest.Config{Users: []mlflowtest.User{{Name: "cd", Password: "pw", ReadOnly: true}}})
	c := client(t, mlflow.Config{URI: server.URL(), Username: "cd", Password: "pw"})
	_, _, err := c.EnsureWebhook(t.Context(), spec("https://1.1.1.1/hook"))
	wantError(t, err, slipway.Unauthorized, "admin")
}
