package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// webhooked is a world whose MLflow may send to this machine, with a webhook
// to the receiver. It returns slipway.
func webhooked(t *testing.T, receiver http.HandlerFunc) func(args ...string) (int, string) {
	t.Helper()
	models := mlflowtest.NewServer(mlflowtest.Config{LooseWebhooks: true})
	uri, err := models.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = models.Close() })
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	w := &world{vars: map[string]string{"HOME": t.TempDir(), "MLFLOW_TRACKING_URI": uri, "SLIPWAY_WEBHOOK_SECRET": "throwaway-secret-123"}}
	slipway := func(args ...string) (int, string) { return w.slipway(t.Context(), nil, args...) }
	if code, said := slipway("webhook", "create", "--url", server.URL+"/webhook"); code != 0 || !strings.Contains(said, "whoever is between MLflow and") || !strings.Contains(said, "is private") {
		t.Fatalf("%d: %s", code, said)
	}
	return slipway
}

func TestWebhookTest(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		receiver http.HandlerFunc
		code     int
		says     []string
	}{
		"it arrives": {func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("a test\n")) }, 0,
			[]string{"slipway: a test event arrived at http://127.0.0.1:", "it answers 200: a test"}},
		"another secret": {func(w http.ResponseWriter, r *http.Request) { http.Error(w, "signature", http.StatusUnauthorized) }, 1,
			[]string{"its receiver answers 401 Unauthorized: signature", "fix: let webhook and receiver have the same secret"}},
		"another path": {http.NotFound, 1, []string{"answers 404 Not Found", "fix: look at the path"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, said := webhooked(t, tt.receiver)("webhook", "test")
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(said, want) {
					t.Errorf("it says nothing of %q:\n%s", want, said)
				}
			}
		})
	}
}

// Names are not unique in MLflow: who has two is asked which one.
func TestWebhookDeleteOfTwo(t *testing.T) {
	t.Parallel()
	slipway := webhooked(t, func(http.ResponseWriter, *http.Request) {})
	if code, said := slipway("webhook", "create", "--url", "http://127.0.0.1:1/other"); code != 0 {
		t.Fatalf("%d: %s", code, said)
	}
	if code, said := slipway("webhook", "delete", "slipway", "--yes"); code != 1 || !strings.Contains(said, "2 are called slipway") {
		t.Errorf("%d: %s", code, said)
	}
}

// Without a key, a worker of MLflow shows itself only once there is a secret.
func TestWebhookCreateWithoutAKey(t *testing.T) {
	t.Parallel()
	models := mlflowtest.NewServer(mlflowtest.Config{})
	asked := 0
	half := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked%2 == 0 && r.Method == http.MethodGet && asked > 2 {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte(`{"error_code": "INTERNAL_ERROR", "message": ""}`))
			return
		}
		models.ServeHTTP(w, r)
	}))
	t.Cleanup(half.Close)
	w := &world{vars: map[string]string{"HOME": t.TempDir(), "MLFLOW_TRACKING_URI": half.URL, "SLIPWAY_WEBHOOK_SECRET": "throwaway-secret-123"}}
	code, said := w.slipway(context.WithoutCancel(t.Context()), nil, "webhook", "create", "--url", "https://1.1.1.1/webhook")
	if code != 0 || !strings.Contains(said, "created slipway") || !strings.Contains(said, "cannot read the webhooks' secrets") {
		t.Errorf("%d: %s", code, said)
	}
	if code, said := w.slipway(t.Context(), nil, "webhook", "list"); code != 0 || !strings.Contains(said, "https://1.1.1.1") || !strings.Contains(said, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY") {
		t.Errorf("%d: %s", code, said)
	}
}
