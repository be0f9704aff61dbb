//go:build e2e

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
)

// A real MLflow tells of a promotion by alias by its own webhook, and of one by
// stage not at all.
func TestE2ERelayHearsRealMLflow(t *testing.T) {
	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.vars["MLFLOW_TRACKING_URI"] = e2e.StartMLflow(t, e2e.MLflowServer{Env: []string{
		"MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true", "MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https", "MLFLOW_WEBHOOK_CACHE_TTL=1",
		"MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY=MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}})
	if w.client, err = mlflow.New(mlflow.Config{URI: w.vars["MLFLOW_TRACKING_URI"]}); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"iris-1", "iris-2"} {
		if _, err := w.client.Register(t.Context(), "iris", w.vars["MODELS"]+"/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	api, got := dispatches(t)
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	w.vars["SLIPWAY_WEBHOOK_SECRET"], w.vars["GH_TOKEN"], w.vars["GITHUB_API_URL"] = "an-end-to-end-secret", "gh-token", api
	if code, out := w.slipway(t.Context(), nil, "webhook", "create", "--url", "http://"+address+"/webhook"); code != exitLive {
		t.Fatalf("making the webhook: %d\n%s", code, out)
	}
	configured := func(model string) string {
		file := filepath.Join(t.TempDir(), "slipway.yaml")
		text := "relay: {start: github://ada/models}\nmodels:\n  - {model: \"" + model + "\", image: x/y, target: \"local://" + w.vars["ADDRESS"] + "\"}\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	relaying := func(poll, model string, meanwhile func()) {
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan string, 1)
		go func() {
			code, out := w.slipway(ctx, nil, "relay", "--config", configured(model), "--listen", address, "--poll", poll, "--database", filepath.Join(t.TempDir(), "relay.db"))
			ended <- fmt.Sprint(code, " ", out)
		}()
		awaitReady(t, address)
		meanwhile()
		stop()
		if out := <-ended; !strings.HasPrefix(out, "0 ") {
			t.Errorf("it ended with %s", out)
		}
	}
	relaying("1h", "models:/iris@champion", func() { // no poll comes in time
		began := time.Now()
		if err := w.client.SetAlias(t.Context(), "iris", "champion", "2"); err != nil {
			t.Fatal(err)
		}
		payload := <-got
		t.Logf("from the promotion to the dispatch: %v", time.Since(began))
		expect(t, payload, "2")
		if code, out := w.slipway(t.Context(), nil, "webhook", "test"); code != exitLive {
			t.Errorf("testing the webhook: %d\n%s", code, out)
		}
	})
	relaying("1s", "models:/iris/Production", func() {
		if err := w.client.Transition(t.Context(), "iris", "1", "Production"); err != nil {
			t.Fatal(err)
		}
		if payload := <-got; payload["model"] != "models:/iris/Production" || payload["version"] != "1" {
			t.Errorf("%v", payload)
		}
	})
}
