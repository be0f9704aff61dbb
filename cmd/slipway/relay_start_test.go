package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/relay"
)

// hosts are a GitHub with an App of ours on each repository, and an Azure
// DevOps. They tell who asked them to start what.
func hosts(t *testing.T) (address string, got chan string) {
	t.Helper()
	got = make(chan string, 100)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /repos/ada/{repository}/installation", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"id": %d}`, len(r.PathValue("repository")))
	})
	mux.HandleFunc("POST /app/installations/{id}/access_tokens", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusCreated)
		fmt.Fprintf(w, `{"token": "ghs_%s", "expires_at": %q}`, r.PathValue("id"), time.Now().Add(time.Hour).Format(time.RFC3339))
	})
	mux.HandleFunc("POST /repos/ada/{repository}/dispatches", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Payload map[string]string `json:"client_payload"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got <- strings.Join([]string{r.URL.Path, r.Header.Get("Authorization"), body.Payload["model"], body.Payload["environment"]}, " ")
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /ada/{project}/_apis/pipelines/12/runs", func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Parameters map[string]string `json:"templateParameters"`
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		got <- strings.Join([]string{r.URL.Path, r.Header.Get("Authorization"), body.Parameters["model"], body.Parameters["environment"]}, " ")
		fmt.Fprint(w, `{"id": 7, "_links": {"web": {"href": "https://dev.azure.com/ada/_build/results?buildId=7"}}}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server.URL, got
}

// relaying runs a relay with these models and returns what it said and how it
// ended, after meanwhile.
func (w *world) relaying(t *testing.T, text string, meanwhile func(address string), flags ...string) (code int, out string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "slipway.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Minute)
	defer stop()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		code, out = w.slipway(ctx, nil, append([]string{"relay", "--config", file, "--listen", address, "--poll", "1h", "--database", filepath.Join(dir, "relay.db")}, flags...)...)
	}()
	if meanwhile != nil {
		awaitReady(t, address)
		meanwhile(address)
		stop()
	}
	<-ended
	return code, out
}

// next is what comes next.
func next[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(2 * time.Minute):
		t.Fatal("nothing comes")
	}
	return v
}

// pemInOneLine is a key as an env file takes it.
func pemInOneLine(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	return strings.ReplaceAll(string(block), "\n", `\n`)
}

// Each model has what it is started by: a repository for all, another one and a
// pipeline for two of them. A GitHub App signs in, and a PAT.
func TestRelayStartsEachByItsOwn(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	address, got := hosts(t)
	for _, alias := range []string{"second", "third"} {
		if err := w.client.SetAlias(t.Context(), "iris", alias, "1"); err != nil {
			t.Fatal(err)
		}
	}
	w.vars["SLIPWAY_WEBHOOK_SECRET"], w.vars["GITHUB_API_URL"], w.vars["SLIPWAY_AZURE_DEVOPS_URL"] = "secret-0123456", address, address
	w.vars["SLIPWAY_GITHUB_APP_ID"], w.vars["SLIPWAY_GITHUB_APP_KEY"], w.vars["AZURE_DEVOPS_EXT_PAT"] = "Iv1.abc", pemInOneLine(t), "pat"
	text := `relay: {start: "github://ada/models"}
models:
  - {model: models:/iris@champion, image: x/y, target: "local://127.0.0.1:20001"}
  - {model: models:/iris@second, image: x/y, target: "local://127.0.0.1:20002", start: "github://ada/other"}
  - {model: models:/iris@third, image: x/y, target: "local://127.0.0.1:20003", start: "azuredevops://ada/My%20Models/12"}
`
	var all []string
	code, out := w.relaying(t, text, func(relay string) {
		for range 3 {
			all = append(all, next(t, got))
		}
		awaitPage(t, "http://"+relay+"/", "https://dev.azure.com/ada/_build/results?buildId=7")
	})
	if code != exitLive || strings.Contains(out, "ghs_") || strings.Contains(out, "PRIVATE KEY") {
		t.Errorf("it ended with %d\n%s", code, out)
	}
	slices.Sort(all)
	want := []string{
		"/ada/My Models/_apis/pipelines/12/runs Basic OnBhdA== models:/iris@third production",
		"/repos/ada/models/dispatches Bearer ghs_6 models:/iris@champion production",
		"/repos/ada/other/dispatches Bearer ghs_5 models:/iris@second production",
	}
	if diff := cmp.Diff(want, all); diff != "" {
		t.Error(diff)
	}
}

// A relay that reaches no cluster starts what is promoted, once, and says why it
// does not see more. What it is to release itself it has to reach.
func TestRelayWithoutACluster(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	api, got := dispatches(t)
	w.vars["SLIPWAY_WEBHOOK_SECRET"], w.vars["GH_TOKEN"], w.vars["GITHUB_API_URL"] = "secret-0123456", "gh-token", api
	text := `relay: {start: "github://ada/models"}
models:
  - model: models:/iris@champion
    image: x/y
    environments:
      - {name: staging, target: kubernetes://staging/iris}
      - {name: production, target: kubernetes://production/iris}
`
	code, out := w.relaying(t, text, func(address string) {
		next(t, got)
		next(t, got)
		awaitPage(t, "http://"+address+"/", "the target cannot be asked", "set KUBECONFIG")
	})
	if code != exitLive || strings.Count(out, `"msg":"cannot ask the target"`) != 2 {
		t.Errorf("it ended with %d\n%s", code, out)
	}
	code, out = w.relaying(t, text, nil, "--run")
	if code != exitUsage || !strings.Contains(out, "fix: set KUBECONFIG") {
		t.Errorf("with --run it ended with %d\n%s", code, out)
	}
}

// lookedUp is a model registry that is asked for what is promoted, and for
// nothing else.
type lookedUp struct {
	modelRegistry
	err error
}

func (l lookedUp) Promoted(context.Context, slipway.ModelRef) (mlflow.Version, error) {
	if l.err != nil {
		return mlflow.Version{}, l.err
	}
	return mlflow.Version{ModelVersion: slipway.ModelVersion{Name: "iris", Version: "3"}}, nil
}

func TestWhatIsPromoted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		err  error
		want slipway.Version
		code slipway.Code
	}{
		{"something", nil, "3", ""},
		{"nothing", slipway.Errorf(slipway.NotFound, "", "no such alias"), "", ""},
		{"nobody knows", slipway.Errorf(slipway.Unavailable, "", "away"), "", slipway.Unavailable},
	} {
		x := relay.Watched{Model: slipway.ModelRef{Name: "iris", Alias: "champion"}, Environment: "production"}
		w := &relayWorld{}
		w.put(x, &journey{ports: &ports{models: func() (modelRegistry, error) { return lookedUp{err: tt.err}, nil }}})
		if got, err := w.Promoted(t.Context(), x); got != tt.want || slipway.CodeOf(err) != tt.code {
			t.Errorf("%s: %q, %v", tt.name, got, err)
		}
	}
}

// A release gets the relay's environment without the relay's own secrets.
func TestReleasesGetNoSecretsOfTheRelay(t *testing.T) {
	secrets := []string{"SLIPWAY_WEBHOOK_SECRET", "SLIPWAY_GITHUB_APP_ID", "SLIPWAY_GITHUB_APP_KEY", "GH_TOKEN", "AZURE_DEVOPS_EXT_PAT"}
	for _, name := range secrets {
		t.Setenv(name, "x")
	}
	t.Setenv("MLFLOW_TRACKING_TOKEN", "y")
	r, err := newRunStarter(relayCommand{MLflow: "https://mlflow.example"}, "slipway.yaml", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range secrets {
		if slices.Contains(r.environ, name+"=x") {
			t.Errorf("it gets %s", name)
		}
	}
	for _, line := range []string{"MLFLOW_TRACKING_TOKEN=y", "MLFLOW_TRACKING_URI=https://mlflow.example"} {
		if !slices.Contains(r.environ, line) {
			t.Errorf("it does not get %s", line)
		}
	}
}
