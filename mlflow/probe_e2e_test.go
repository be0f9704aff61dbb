//go:build e2e

package mlflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
)

// What a user with READ may do, what an admin may, and what a server is that
// takes no Host header but its own.
func TestE2EProbeOfUsers(t *testing.T) {
	config := filepath.Join(t.TempDir(), "auth.ini")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(basicAuth, "sqlite:///basic_auth.db", "sqlite:///"+filepath.Join(t.TempDir(), "auth.db"))), 0o600); err != nil {
		t.Fatal(err)
	}
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Extras: []string{"mlflow[auth]==" + e2e.MLflowVersion}, Args: []string{"--app-name", "basic-auth"},
		Env: []string{"MLFLOW_AUTH_CONFIG_PATH=" + config, "MLFLOW_FLASK_SERVER_SECRET_KEY=throwaway"}})
	admin := client(t, mlflow.Config{URI: uri, Username: "admin", Password: "throwaway-pw-12345"})
	v, err := admin.Register(t.Context(), "iris", modelDir)
	if err != nil {
		t.Fatal(err)
	}
	makeUser(t, uri, "admin", "throwaway-pw-12345", "cd", "throwaway-pw-67890")
	reader := client(t, mlflow.Config{URI: uri, Username: "cd", Password: "throwaway-pw-67890", Retries: -1})
	if p, err := reader.Probe(t.Context()); err != nil || p.Version != e2e.MLflowVersion || p.Time.IsZero() {
		t.Errorf("%+v, %v", p, err)
	}
	wantError(t, reader.MayTag(t.Context(), v.ModelVersion), slipway.Unauthorized, "Permission denied", "EDIT")
	_, err = reader.Webhooks(t.Context())
	wantError(t, err, slipway.Unauthorized, "admin")
	_, err = client(t, mlflow.Config{URI: uri, Username: "cd", Password: "wrong", Retries: -1}).Probe(t.Context())
	wantError(t, err, slipway.Unauthorized, "not authenticated")

	if err := admin.MayTag(t.Context(), v.ModelVersion); err != nil {
		t.Error(err)
	}
	now, err := admin.Resolve(t.Context(), iris1)
	if err != nil || len(now.Tags) > 0 {
		t.Errorf("tags %v, %v, want none", now.Tags, err)
	}
	if hooks, err := admin.Webhooks(t.Context()); err != nil || len(hooks) > 0 {
		t.Errorf("webhooks %v, %v", hooks, err)
	}
}

// A webhook that a receiver takes, one that it refuses, and one that MLflow
// does not deliver.
func TestE2EWebhooksAreTested(t *testing.T) {
	took := make(chan string, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/refuses" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
		body, _ := io.ReadAll(r.Body)
		took <- string(body)
	}))
	t.Cleanup(receiver.Close)
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Env: []string{
		"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https", "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}})
	for name, address := range map[string]string{"slipway-takes": receiver.URL + "/takes", "slipway-refuses": receiver.URL + "/refuses", "slipway-nobody": "http://127.0.0.1:9/hook"} {
		createWebhook(t, uri, name, address, "throwaway")
	}
	c := client(t, mlflow.Config{URI: uri})
	hooks, err := c.Webhooks(t.Context())
	if err != nil || len(hooks) != 3 {
		t.Fatalf("%+v, %v", hooks, err)
	}
	for _, h := range hooks {
		if !h.Hears() || !h.Active {
			t.Errorf("%+v", h)
		}
		err := c.TestWebhook(t.Context(), h)
		switch h.Name {
		case "slipway-takes":
			if err != nil || !strings.Contains(<-took, "model_version_alias") {
				t.Errorf("%s: %v", h.Name, err)
			}
		case "slipway-refuses":
			wantError(t, err, slipway.Unavailable, "answers 401")
		case "slipway-nobody":
			wantError(t, err, slipway.Unavailable, "does not arrive")
		}
	}
}

// Several workers without a key: what one of them stored, the others cannot read.
func TestE2EWebhooksWithoutAKey(t *testing.T) {
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Args: []string{"--workers", "3"}})
	createWebhook(t, uri, "slipway", "https://1.1.1.1/hook", "throwaway")
	c := client(t, mlflow.Config{URI: uri})
	var err error
	for deadline := time.Now().Add(time.Minute); err == nil && time.Now().Before(deadline); { // the first worker answers before the others have started
		_, err = c.Webhooks(t.Context())
	}
	wantError(t, err, slipway.Unavailable, "MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY")
}

func createWebhook(t *testing.T, uri, name, address, secret string) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"name": name, "url": address, "secret": secret, "status": "ACTIVE",
		"events": []map[string]string{{"entity": "MODEL_VERSION_ALIAS", "action": "CREATED"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := post(t.Context(), uri+"/api/2.0/mlflow/webhooks", body); err != nil {
		t.Fatal(err)
	}
}

func post(ctx context.Context, address string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(res.Body)
		return fmt.Errorf("%s: %s", res.Status, text)
	}
	return nil
}
