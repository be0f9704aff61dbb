package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// webhooked is a world whose MLflow may send to this machine, with a webhook
// to the receiver. It returns slipway.
func webhooked(t *testing.T, receiver http.HandlerFunc) func(args ...string) (int, string) {
	t.Helper()
	w := loosely(t)
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	slipway := func(args ...string) (int, string) { return w.slipway(t.Context(), nil, args...) }
	if code, said := slipway("webhook", "create", "--url", server.URL+"/webhook"); code != 0 || !strings.Contains(said, "whoever is between MLflow and") || !strings.Contains(said, "is private") {
		t.Fatalf("%d: %s", code, said)
	}
	return slipway
}

// loosely is a world whose MLflow may send to this machine.
func loosely(t *testing.T) *world {
	t.Helper()
	models := mlflowtest.NewServer(mlflowtest.Config{LooseWebhooks: true})
	uri, err := models.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = models.Close() })
	return &world{vars: map[string]string{"HOME": t.TempDir(), "MLFLOW_TRACKING_URI": uri, "SLIPWAY_WEBHOOK_SECRET": "throwaway-secret-123"}}
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

// hanging is a model registry that has no answer of one webhook's receiver.
type hanging struct {
	modelRegistry
	webhookRegistry
	deaf string
}

func (h hanging) SendTest(ctx context.Context, w mlflow.Webhook) (mlflow.Delivery, error) {
	if w.Name == h.deaf {
		return mlflow.Delivery{}, slipway.Errorf(slipway.Unavailable, "testing the webhook "+w.Name, "its receiver does not answer").WithHint("see whether MLflow reaches it")
	}
	return h.webhookRegistry.SendTest(ctx, w)
}

// Each of several webhooks is tested, whatever becomes of another one.
func TestWebhookTestOfSeveral(t *testing.T) {
	t.Parallel()
	w := loosely(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuses" {
			http.Error(w, "no", http.StatusUnauthorized)
		}
	}))
	t.Cleanup(server.Close)
	for _, name := range []string{"slipway", "slipway-deaf", "slipway-refuses", "other"} {
		if code, said := w.slipway(t.Context(), nil, "webhook", "create", "--url", server.URL+"/"+strings.TrimPrefix(name, "slipway-"), "--name", name); code != 0 {
			t.Fatalf("%d: %s", code, said)
		}
	}
	deaf := func(to *ports) {
		if models := to.models; to.target == nil {
			to.models = func() (modelRegistry, error) {
				registry, err := models()
				hooks, _ := registry.(webhookRegistry)
				return hanging{registry, hooks, "slipway-deaf"}, err
			}
		}
	}
	for name, tt := range map[string]struct {
		wrap  func(*ports)
		args  []string
		code  int
		says  []string
		quiet string
	}{
		"all of ours":             {nil, nil, 1, []string{"slipway: a test event arrived", "slipway-deaf: a test event arrived", "answers 401", "fix: let webhook and receiver"}, "other:"},
		"one hangs":               {deaf, nil, 1, []string{"slipway: a test event arrived", "2 of 3 do not arrive", "fix: "}, "other:"},
		"one hangs, for programs": {deaf, []string{"-o", "json"}, 1, []string{`"failure": "testing the webhook slipway-deaf: its receiver does not answer"`, `"status": 401`, `"arrived": true`}, "other"},
		"another's, by name":      {deaf, []string{"other"}, 0, []string{"other: a test event arrived"}, "slipway: a test"},
	} {
		code, said := w.slipway(t.Context(), tt.wrap, append([]string{"webhook", "test"}, tt.args...)...)
		if code != tt.code || strings.Contains(said, tt.quiet) {
			t.Errorf("%s: exit code %d, want %d\n%s", name, code, tt.code, said)
		}
		for _, want := range tt.says {
			if !strings.Contains(said, want) {
				t.Errorf("%s: it says nothing of %q:\n%s", name, want, said)
			}
		}
	}
}

// Who is no admin of MLflow is told so by each of the commands.
func TestWebhooksAreForAdmins(t *testing.T) {
	t.Parallel()
	models := mlflowtest.NewServer(mlflowtest.Config{Users: []mlflowtest.User{{Name: "cd", Password: "pw-of-cd", ReadOnly: true}}})
	uri, err := models.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = models.Close() })
	w := &world{vars: map[string]string{
		"HOME": t.TempDir(), "MLFLOW_TRACKING_URI": uri, "MLFLOW_TRACKING_USERNAME": "cd", "MLFLOW_TRACKING_PASSWORD": "pw-of-cd", "SLIPWAY_WEBHOOK_SECRET": "throwaway-secret-123",
	}}
	for _, args := range [][]string{{"list"}, {"test"}, {"create", "--url", "https://1.1.1.1/webhook"}, {"delete", "slipway", "--yes"}} {
		code, said := w.slipway(t.Context(), nil, append([]string{"webhook"}, args...)...)
		if code != 1 || !strings.Contains(said, "only MLflow's admins may see webhooks") || !strings.Contains(said, "fix: run this as an admin of MLflow") {
			t.Errorf("webhook %v: exit code %d\n%s", args, code, said)
		}
	}
}

// A secret that was not written whole leaves no file.
func TestSecretsAreWrittenWhole(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path) // writing to what is open for reading fails, as on a full disk
	if err != nil {
		t.Fatal(err)
	}
	if err := fillSecret(f, "secret"); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
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
