//go:build e2e

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
)

// realWorld is a world whose registries are a real MLflow and a real
// distribution.
func realWorld(t *testing.T) *world {
	t.Helper()
	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.vars["MLFLOW_TRACKING_URI"], w.vars["IMAGES"] = e2e.MLflow(t), e2e.ImageRegistry(t)
	if w.client, err = mlflow.New(mlflow.Config{URI: w.vars["MLFLOW_TRACKING_URI"]}); err != nil {
		t.Fatal(err)
	}
	return w
}

func TestE2EDeployFromRealMLflowToRealImageRegistry(t *testing.T) {
	w := realWorld(t)
	for _, dir := range []string{"iris-1", "iris-2"} {
		if _, err := w.client.Register(t.Context(), "cli-iris", w.vars["MODELS"]+"/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	to := []string{"--image", w.vars["IMAGES"] + "/cli/iris", "--to", "local://" + w.vars["ADDRESS"]}
	for _, step := range []struct{ alias, stage, reference, want string }{
		{"1", "", "models:/cli-iris@champion", "cli-iris 1 is live"},
		{"1", "", "models:/cli-iris@champion", "nothing to do"},
		{"1", "2", "models:/cli-iris/Production", "cli-iris 2 is live"},
		{"1", "2", "models:/cli-iris/1", "cli-iris 1 is live"},
	} {
		if err := w.client.SetAlias(t.Context(), "cli-iris", "champion", "1"); err != nil {
			t.Fatal(err)
		}
		if step.stage != "" {
			if err := w.client.Transition(t.Context(), "cli-iris", "2", "Production"); err != nil {
				t.Fatal(err)
			}
		}
		code, text := w.slipway(t.Context(), nil, append([]string{"deploy", step.reference}, to...)...)
		if code != exitLive || !strings.Contains(text, step.want) {
			t.Fatalf("%s: exit code %d, want %q in\n%s", step.reference, code, step.want, text)
		}
	}
	version, err := w.client.Resolve(t.Context(), mustRef(t, "models:/cli-iris/1"))
	if err != nil {
		t.Fatal(err)
	}
	if version.Tags[tagStatus] != "live" || !strings.Contains(version.Tags[tagImage], "@sha256:") {
		t.Errorf("tags in MLflow: %v", version.Tags)
	}
}

func mustRef(t *testing.T, text string) slipway.ModelRef {
	t.Helper()
	ref, err := slipway.ParseModelRef(text)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestE2EDemoOnRealMLflow(t *testing.T) {
	w := realWorld(t)
	delete(w.vars, "SLIPWAY_OUTPUT")
	code, text := w.slipway(t.Context(), nil, "demo", "--once", "-o", "json", "--mlflow", w.vars["MLFLOW_TRACKING_URI"])
	if code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	var got demoResult
	result := text[strings.Index(text, "\n{")+1:] // the story goes on behind it
	if err := json.NewDecoder(strings.NewReader(result)).Decode(&got); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	if got.Requests.Lost != 0 || got.Requests.Sent == 0 || got.Requests.ByVersion["3"] != 0 || len(got.Left) != 1 {
		t.Errorf("got %+v, left %v", got.Requests, got.Left)
	}
}
