//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway/e2e"
)

// logToBlob is what a data scientist does where MLflow points at Blob storage:
// MLflow's own client uploads the model there.
const logToBlob = `
import os, mlflow, mlflow.sklearn
from azure.storage.blob import BlobServiceClient
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
BlobServiceClient.from_connection_string(os.environ["AZURE_STORAGE_CONNECTION_STRING"]).create_container("models")
X, y = load_iris(return_X_y=True, as_frame=True)
with mlflow.start_run():
    mlflow.sklearn.log_model(LogisticRegression(max_iter=500).fit(X, y), name="model", registered_model_name="iris", input_example=X.head(3), serialization_format="skops")
mlflow.MlflowClient().set_registered_model_alias("iris", "champion", "1")
`

// A real MLflow that hands out no files, beside a real emulator of Blob
// storage: the model comes from there, with a key of our own.
func TestE2EModelFromBlobStorage(t *testing.T) {
	store := e2e.StartAzurite(t, false)
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Extras: []string{"azure-storage-blob==12.31.1"},
		Args: []string{"--no-serve-artifacts", "--default-artifact-root", "wasbs://models@" + store.Account + ".blob.core.windows.net/root"}})
	cmd := exec.CommandContext(t.Context(), e2e.Python(t, append([]string{"azure-storage-blob==12.31.1"}, e2e.ScikitLearn...)...), "-c", logToBlob)
	cmd.Dir = t.TempDir()
	cmd.Env = append(os.Environ(), "MLFLOW_TRACKING_URI="+uri, "AZURE_STORAGE_CONNECTION_STRING="+store.Connection(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("logging the model: %v\n%s", err, out)
	}

	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	w.vars["MLFLOW_TRACKING_URI"] = uri
	w.vars["AZURE_STORAGE_CONNECTION_STRING"] = store.Connection()
	w.vars["SLIPWAY_RELEASE"] = filepath.Join(w.vars["HOME"], "release.json")
	w.vars["XDG_CACHE_HOME"] = t.TempDir()
	for _, step := range [][]string{{"extract", "models:/iris@champion"}, {"validate"}} {
		if code, said := w.slipway(t.Context(), nil, step...); code != exitLive {
			t.Fatalf("exit code %d:\n%s", code, said)
		}
	}
	dirs, err := filepath.Glob(filepath.Join(w.vars["XDG_CACHE_HOME"], "slipway", "models", "*", "MLmodel"))
	if err != nil || len(dirs) != 1 {
		t.Errorf("%d models arrived: %v", len(dirs), err)
	}

	w.vars["AZURE_STORAGE_CONNECTION_STRING"] = strings.Replace(store.Connection(), store.Key, "d3Jvbmc=", 1)
	w.vars["XDG_CACHE_HOME"] = t.TempDir()
	code, said := w.slipway(t.Context(), nil, "validate")
	if code != exitFailed || !strings.Contains(said, "fix: check AZURE_STORAGE_CONNECTION_STRING") || strings.Contains(said, "d3Jvbmc=") {
		t.Errorf("exit code %d:\n%s", code, said)
	}
}

// From a client secret to live pods of a real cluster, whose API server takes
// tokens that end all the time. No kubeconfig is there.
func TestE2EReleaseWithAnAzureIdentity(t *testing.T) {
	c := e2e.Cluster(t)
	namespace := c.Namespace(t)
	c.Place(t, namespace, "iris", 1)
	c.Kubectl(t, "-n", namespace, "create", "serviceaccount", "entra")
	c.Kubectl(t, "-n", namespace, "create", "rolebinding", "entra", "--clusterrole=admin", "--serviceaccount="+namespace+":entra")
	api, authority := apiOf(t, c)
	var minted atomic.Int32
	t.Cleanup(func() { // the script runs beside this
		if n := minted.Load(); n < 10 {
			t.Errorf("%d tokens were taken, although each ended at once", n)
		}
	})
	images := e2e.ImageRegistry(t)
	server := buildServer(t)
	testscript.Run(t, testscript.Params{
		Files: []string{"testdata/azure/cluster.e2e"}, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			if err := setUp(env, server); err != nil {
				return err
			}
			if err := setUpAzure(env); err != nil {
				return err
			}
			a := env.Values[azureKey{}].(*fakeAzure)
			a.api, a.apiCA = api, authority
			a.user = func() (string, int) {
				minted.Add(1)
				return strings.TrimSpace(c.Kubectl(t, "-n", namespace, "create", "token", "entra", "--duration=10m")), 301
			}
			env.Setenv("TARGET", "kubernetes://"+namespace+"/iris")
			env.Setenv("REGISTRY", images)
			if u, err := url.Parse(api); err == nil {
				env.Setenv("NO_PROXY", u.Hostname())
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": exits, "register": register, "promote": promote},
	})
}

// apiOf returns where the API server is, and who signed its certificate.
func apiOf(t *testing.T, c *e2e.KubeCluster) (server string, authority []byte) {
	t.Helper()
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	text := c.Kubectl(t, "config", "view", "--raw", "--minify", "--flatten", "-o", "json")
	if err := json.NewDecoder(bytes.NewReader([]byte(text))).Decode(&config); err != nil || len(config.Clusters) != 1 {
		t.Fatalf("%v in the kubeconfig, %d clusters", err, len(config.Clusters))
	}
	return config.Clusters[0].Cluster.Server, config.Clusters[0].Cluster.CA
}
