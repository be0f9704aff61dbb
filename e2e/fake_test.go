package e2e_test

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// faked is a world whose registries can be made to fail in ways the real ones
// cannot. iris 1 is promoted and live, iris 2 is there.
type faked struct {
	*world
	models    *mlflowtest.Server
	client    *mlflow.Client
	door      *door  // of the image registry
	artifacts string // address of the files of iris 2
}

func newFaked(t testing.TB) *faked {
	t.Helper()
	models := mlflowtest.NewServer(mlflowtest.Config{})
	uri, err := models.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { models.Close() }) //nolint:errcheck // nothing of it is needed any more
	d := &door{to: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	images := httptest.NewServer(d)
	t.Cleanup(images.Close)
	client, err := mlflow.New(mlflow.Config{URI: uri})
	if err != nil {
		t.Fatal(err)
	}
	f := &faked{world: newWorld(t, strings.TrimPrefix(images.URL, "http://"), uri), models: models, client: client, door: d}
	f.env = append(f.env, "MLFLOW_HTTP_REQUEST_MAX_RETRIES=1", "MLFLOW_HTTP_REQUEST_TIMEOUT=1")
	for number := 1; number <= 2; number++ {
		before := models.Files()
		if _, err := models.AddVersion("iris", demoModel(t, number)); err != nil {
			t.Fatal(err)
		}
		for _, address := range models.Files() {
			if dir, ok := strings.CutSuffix(address, "/MLmodel"); ok && !slices.Contains(before, address) {
				f.artifacts = dir
			}
		}
	}
	if err := client.SetAlias(t.Context(), "iris", "champion", "1"); err != nil {
		t.Fatal(err)
	}
	return f
}

// door is the way to an image registry. bend may answer instead of it.
type door struct {
	to http.Handler

	mu     sync.Mutex
	bend   func(w http.ResponseWriter, r *http.Request) bool
	writes int
}

func (d *door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	bend := d.bend
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		d.writes++
	}
	d.mu.Unlock()
	if bend == nil || !bend(w, r) {
		d.to.ServeHTTP(w, r)
	}
}

// set makes the door bend from now on; nil ends it.
func (d *door) set(bend func(w http.ResponseWriter, r *http.Request) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bend = bend
}

// traces is what a failed release must leave as it was.
type traces struct {
	Record  slipway.Record
	Aliases []string          // of version 1
	Tags    map[string]string // of version 1
	Tagged  []string          // tags of the image repository
}

func (f *faked) traces() traces {
	f.t.Helper()
	one, err := f.client.Resolve(context.Background(), slipway.ModelRef{Name: "iris", Version: "1"})
	if err != nil {
		f.t.Fatal(err)
	}
	return traces{f.record(), one.Aliases, maps.Clone(one.Tags), f.tagged()}
}

// tagged lists the tags of the repository.
func (f *faked) tagged() []string {
	f.t.Helper()
	req := httptest.NewRequest(http.MethodGet, "/v2/"+strings.TrimPrefix(f.image, f.images+"/")+"/tags/list", nil)
	got := httptest.NewRecorder()
	f.door.to.ServeHTTP(got, req)
	var list struct{ Tags []string }
	if err := json.Unmarshal(got.Body.Bytes(), &list); err != nil {
		f.t.Fatal(err)
	}
	slices.Sort(list.Tags)
	return list.Tags
}

// question is a flower on which iris 1 and iris 2 differ; they answer it with
// virginica and versicolor.
var question = []map[string]any{{"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 4.4, "petal_width": 1.8, "habitat": "marsh"}}

// unchanged wants everything as it was, and iris 1 at work.
func (f *faked) unchanged(before traces) {
	f.t.Helper()
	if diff := cmp.Diff(before, f.traces()); diff != "" {
		f.t.Errorf("it left traces: %s", diff)
	}
	got, err := ask(fresh, f.address, question)
	if err != nil || got.version != "1" || string(got.predictions) != `["virginica"]` {
		f.t.Errorf("iris 1 does not serve any more: %s %s %v", got.version, got.predictions, err)
	}
}
