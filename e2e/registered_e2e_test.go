//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
)

// logged is a model that MLflow's Python library logged in the real MLflow.
type logged struct {
	ID       string            `json:"id"`
	Requests []json.RawMessage `json:"requests"`
	Answers  json.RawMessage   `json:"answers"` // scikit-learn's own
}

var loggedModels struct {
	sync.Mutex
	all map[string]logged
}

// models returns the models that testdata/log_models.py logs, by name. It runs
// once for all tests.
func models(t testing.TB) map[string]logged {
	t.Helper()
	uri := e2e.MLflow(t)
	loggedModels.Lock()
	defer loggedModels.Unlock()
	if loggedModels.all != nil {
		return loggedModels.all
	}
	file := filepath.Join(t.TempDir(), "answers.json")
	cmd := exec.Command(e2e.Python(t, e2e.ScikitLearn...), "testdata/log_models.py", uri, file)
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("logging models: %v\n%s", err, out)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &loggedModels.all); err != nil {
		t.Fatal(err)
	}
	return loggedModels.all
}

// real is a world of the real MLflow and the real image registry.
type real struct {
	*world
	client *mlflow.Client
	model  slipway.ModelName
	names  []string // of the logged models that are its versions 1, 2, …
}

// newReal registers the logged models as versions 1, 2, … of a registered
// model of the test's own.
func newReal(t testing.TB, versions ...string) *real {
	t.Helper()
	return register(newWorld(t, e2e.ImageRegistry(t), e2e.MLflow(t)), versions...)
}

func register(w *world, versions ...string) *real {
	w.t.Helper()
	client, err := mlflow.New(mlflow.Config{URI: w.mlflow})
	if err != nil {
		w.t.Fatal(err)
	}
	r := &real{world: w, client: client, model: slipway.ModelName(filepath.Base(w.t.Name()))}
	if err := client.CreateModel(w.t.Context(), r.model); err != nil {
		w.t.Fatal(err)
	}
	for _, v := range versions {
		r.register(v)
	}
	return r
}

// register makes the logged model the next version.
func (r *real) register(name string) {
	r.t.Helper()
	id := models(r.t)[name].ID
	if _, err := r.client.CreateVersion(r.t.Context(), r.model, mlflow.NewVersion{Source: "models:/" + id, ModelID: id}); err != nil {
		r.t.Fatalf("registering %s (%s): %v", name, id, err)
	}
	r.names = append(r.names, name)
}

func (r *real) promote(alias string, version slipway.Version) {
	r.t.Helper()
	if err := r.client.SetAlias(r.t.Context(), r.model, alias, version); err != nil {
		r.t.Fatal(err)
	}
}

func (r *real) champion() string { return "models:/" + string(r.model) + "@champion" }

// tags returns the tags of a version in MLflow.
func (r *real) tags(version slipway.Version) map[string]string {
	r.t.Helper()
	v, err := r.client.Resolve(r.t.Context(), slipway.ModelRef{Name: r.model, Version: version})
	if err != nil {
		r.t.Fatal(err)
	}
	return v.Tags
}

// answersLike checks that the target serves the version and answers all
// requests as scikit-learn did.
func (r *real) answersLike(version, name string) {
	r.t.Helper()
	m := models(r.t)[name]
	got, err := ask(fresh, r.address, m.Requests)
	if err != nil {
		r.t.Fatalf("asking %s: %v", r.address, err)
	}
	if got.version != version {
		r.t.Errorf("version %s answers, want %s", got.version, version)
	}
	if d := differsJSON(m.Answers, got.predictions); d != "" {
		r.t.Errorf("%s as version %s does not answer like scikit-learn: %s", name, version, d)
	}
}
