//go:build e2e

package mlflow_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// logModel is what a data scientist does, with a run that MLflow's own client
// made of it.
const logModel = `
import sys, mlflow, mlflow.sklearn
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
name = sys.argv[1]
X, y = load_iris(return_X_y=True, as_frame=True)
with mlflow.start_run():
    mlflow.sklearn.log_model(LogisticRegression(max_iter=500).fit(X, y), name="model", registered_model_name=name, input_example=X.head(3))
mlflow.MlflowClient().set_registered_model_alias(name, "champion", "1")
`

// fetchModel is MLflow's own download, to compare with.
const fetchModel = `
import sys, mlflow.artifacts
print(mlflow.artifacts.download_artifacts(artifact_uri=sys.argv[1], dst_path=sys.argv[2]))
`

// run runs a Python program against the server and returns what it prints.
func run(t *testing.T, python, uri, program string, args ...string) string {
	t.Helper()
	return runWith(t, nil, python, uri, program, args...)
}

func runWith(t *testing.T, env []string, python, uri, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, append([]string{"-c", program}, args...)...)
	cmd.Env = append(os.Environ(), append(env, "MLFLOW_HTTP_REQUEST_MAX_RETRIES=2", "MLFLOW_TRACKING_URI="+uri, "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")...)
	cmd.Dir = t.TempDir()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, stderr.Bytes())
	}
	return string(out)
}

func scientist(t *testing.T) (python string) {
	t.Helper()
	return e2e.Python(t, "mlflow=="+e2e.MLflowVersion, "scikit-learn", "skops")
}

// A model that MLflow and scikit-learn logged arrives byte for byte as MLflow's
// own client fetches it.
func TestE2ERealModel(t *testing.T) {
	uri, python := e2e.MLflow(t), scientist(t)
	name := "real-" + filepath.Base(t.TempDir()) + time.Now().Format("150405.000")
	run(t, python, uri, logModel, name)
	m := client(t, mlflow.Config{URI: uri})
	v, err := m.Resolve(t.Context(), slipway.ModelRef{Name: slipway.ModelName(name), Alias: "champion"})
	if err != nil {
		t.Fatal(err)
	}
	if v, err = m.AwaitReady(t.Context(), v, time.Minute); err != nil || v.ModelID == "" || v.RunID == "" {
		t.Fatalf("%+v, %v", v, err)
	}
	files, err := m.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(t.TempDir(), "theirs")
	run(t, python, uri, fetchModel, "models:/"+name+"@champion", theirs)
	want, err := mlmodel.Inventory(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mlmodel.DigestFiles(files), mlmodel.DigestFiles(want); got != want {
		t.Errorf("our download has the digest %s, MLflow's own %s", got, want)
	}
	if len(files) < 6 {
		t.Errorf("only %d files: %+v", len(files), files)
	}
}

// A server that does not serve artifacts keeps them on its own disk: we say so
// and how to get on.
func TestE2ERealServerWithoutArtifacts(t *testing.T) {
	disk := t.TempDir()
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Args: []string{"--no-serve-artifacts", "--default-artifact-root", disk}})
	run(t, scientist(t), uri, logModel, "iris")
	m := client(t, mlflow.Config{URI: uri, Retries: -1})
	v, err := m.Resolve(t.Context(), slipway.ModelRef{Name: "iris", Alias: "champion"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "m")
	_, err = m.Download(t.Context(), v, dir, nil)
	wantError(t, err, slipway.Invalid, "own disk", "--serve-artifacts", disk)
	nothing(t, dir)
	if _, err := m.Register(t.Context(), "other", modelDir); slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(slipway.HintOf(err), "--serve-artifacts") {
		t.Errorf("an upload: %v", err)
	}
}

// basicAuth is the configuration of MLflow's basic-auth app.
const basicAuth = `[mlflow]
default_permission = READ
database_uri = sqlite:///basic_auth.db
admin_username = admin
admin_password = throwaway-pw-12345
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
`

// Users, permissions and a path prefix, as MLflow itself has them.
func TestE2ERealServerWithUsersAndPrefix(t *testing.T) {
	config := filepath.Join(t.TempDir(), "auth.ini")
	if err := os.WriteFile(config, []byte(strings.ReplaceAll(basicAuth, "sqlite:///basic_auth.db", "sqlite:///"+filepath.Join(t.TempDir(), "auth.db"))), 0o600); err != nil {
		t.Fatal(err)
	}
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Prefix: "/mlflow", Extras: []string{"mlflow[auth]==" + e2e.MLflowVersion}, Args: []string{"--app-name", "basic-auth"},
		Env: []string{"MLFLOW_AUTH_CONFIG_PATH=" + config, "MLFLOW_FLASK_SERVER_SECRET_KEY=throwaway"}})
	admin := client(t, mlflow.Config{URI: uri, Username: "admin", Password: "throwaway-pw-12345"})
	v, err := admin.Register(t.Context(), "iris", modelDir)
	if err != nil {
		t.Fatal(err)
	}
	files, err := admin.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil)
	if err != nil || len(files) < 6 {
		t.Fatalf("%v, %v", files, err)
	}
	makeUser(t, uri, "admin", "throwaway-pw-12345", "cd", "throwaway-pw-67890")
	reader := client(t, mlflow.Config{URI: uri, Username: "cd", Password: "throwaway-pw-67890", Retries: -1})
	if _, err := reader.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Errorf("a reader's download: %v", err)
	}
	wantError(t, reader.SetTag(t.Context(), "iris", "1", "k", "v"), slipway.Unauthorized, "Permission denied", "EDIT")
	for _, c := range []mlflow.Config{{}, {Username: "cd", Password: "wrong"}, {Token: "abc"}} {
		c.URI, c.Retries = uri, -1
		_, err := client(t, c).Resolve(t.Context(), iris1)
		wantError(t, err, slipway.Unauthorized, "not authenticated", "MLFLOW_TRACKING_")
	}
	_, err = client(t, mlflow.Config{URI: strings.TrimSuffix(uri, "/mlflow"), Username: "admin", Password: "throwaway-pw-12345", Retries: -1}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Invalid, "path prefix")
}

func makeUser(t *testing.T, uri, admin, password, name, secret string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(admin, password)
	run(t, scientist(t), uri, `
import sys, requests
r = requests.post(sys.argv[1] + "/api/2.0/mlflow/users/create", json={"username": sys.argv[2], "password": sys.argv[3]})
r.raise_for_status()`, u.String(), name, secret)
}

// objectStore is an S3 in a process of its own.
const objectStore = `
import sys, threading
from moto.server import ThreadedMotoServer
import boto3
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
server.start()
host, port = server.get_host_and_port()
boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}").create_bucket(Bucket="bucket")
print("PORT", port, flush=True)
sys.stdin.read()
server.stop()
`

// storeKeys are the environment of programs that use the object store.
func storeKeys(address string) []string {
	return []string{"AWS_ACCESS_KEY_ID=throwaway", "AWS_SECRET_ACCESS_KEY=throwaway", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_EC2_METADATA_DISABLED=true", "MLFLOW_S3_ENDPOINT_URL=" + address}
}

func startStore(t *testing.T) (address string) {
	t.Helper()
	cmd := exec.Command(e2e.Python(t, "moto[server]", "boto3"), "-c", objectStore)
	cmd.Env = append(os.Environ(), storeKeys("")...)
	stdin, err := cmd.StdinPipe() // it ends when this closes, or we do
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Wait() //nolint:errcheck // it has served its purpose
	})
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if port, ok := strings.CutPrefix(lines.Text(), "PORT "); ok {
			return "http://127.0.0.1:" + port
		}
	}
	t.Fatal("the object store did not start")
	return ""
}

// Artifacts in S3 behind a real MLflow: through its proxy with presigned URLs.
func TestE2ERealServerBeforeS3(t *testing.T) {
	store := startStore(t)
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Extras: []string{"boto3"}, Env: storeKeys(store), Args: []string{"--artifacts-destination", "s3://bucket/mlflow"}})
	m := client(t, mlflow.Config{URI: uri, Username: "u", Password: "p", Workspace: ""})
	dir := largeModel(t)
	v, err := m.Register(t.Context(), "iris", dir)
	if err != nil {
		t.Fatal(err)
	}
	seen, front := inFront(t, uri)
	files, err := client(t, mlflow.Config{URI: front, Username: "u", Password: "p"}).Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil)
	if err != nil {
		t.Fatal(err)
	}
	sameButMLmodel(t, files, dir)
	if signed, proxied := seen.count("/presigned/"), seen.count("/mlflow-artifacts/artifacts/"); signed != len(files) || proxied != 0 {
		t.Errorf("%d files, %d presigned URLs asked for, %d files through the proxy", len(files), signed, proxied)
	}
}

// Artifacts in S3 that MLflow only points at: through its pages' own route.
func TestE2ERealServerBesideS3(t *testing.T) {
	store := startStore(t)
	python := e2e.Python(t, "mlflow=="+e2e.MLflowVersion, "scikit-learn", "skops", "boto3")
	uri := e2e.StartMLflow(t, e2e.MLflowServer{Extras: []string{"boto3"}, Env: storeKeys(store),
		Args: []string{"--no-serve-artifacts", "--default-artifact-root", "s3://bucket/direct"}})
	runWith(t, storeKeys(store), python, uri, logModel, "iris")
	m := client(t, mlflow.Config{URI: uri, Retries: 1})
	v, err := m.Resolve(t.Context(), slipway.ModelRef{Name: "iris", Alias: "champion"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "m")
	files, err := m.Download(t.Context(), v, dir, nil)
	if err != nil {
		t.Fatalf("%v (hint: %s)", err, slipway.HintOf(err))
	}
	model, err := mlmodel.Open(dir)
	if err != nil || model.ModelID != v.ModelID || len(files) < 6 {
		t.Errorf("%+v, %+v, %v", model, files, err)
	}

	// The same files under their own address, without a logged model or run
	// that MLflow could list them by.
	direct, err := m.CreateVersion(t.Context(), "iris", mlflow.NewVersion{Source: "s3://bucket/elsewhere"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Download(t.Context(), direct, filepath.Join(t.TempDir(), "m"), nil)
	wantError(t, err, slipway.Invalid, "s3://bucket/elsewhere", "deploy the directory")

	// A run's artifacts, as before MLflow 3.
	out := runWith(t, storeKeys(store), python, uri, `
import sys, mlflow
with mlflow.start_run() as run:
    mlflow.log_artifacts(sys.argv[1], "model")
    print("LOGGED", run.info.run_id, run.info.artifact_uri)`, dir)
	var runID, root string
	if _, err := fmt.Sscanf(out[max(0, strings.Index(out, "LOGGED")):], "LOGGED %s %s", &runID, &root); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	for _, source := range []string{"runs:/" + runID + "/model", root + "/model"} {
		v, err := m.CreateVersion(t.Context(), "iris", mlflow.NewVersion{Source: source, RunID: runID})
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil)
		if err != nil {
			t.Fatalf("%s: %v (hint: %s)", source, err, slipway.HintOf(err))
		}
		if got, want := mlmodel.DigestFiles(again), mlmodel.DigestFiles(files); got != want {
			t.Errorf("%s: digest %s, want %s", source, got, want)
		}
	}
}

// largeModel is a model directory with a file of 20 MB.
func largeModel(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "large")
	if err := os.CopyFS(dir, os.DirFS(modelDir)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "big.bin"), bytes.Repeat([]byte("0123456789abcdef"), 20<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// inFront is a reverse proxy that records what reaches the server.
func inFront(t *testing.T, uri string) (*requests, string) {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	r := &requests{Handler: &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(u) }}}
	srv := httptest.NewServer(http.Handler(r))
	t.Cleanup(srv.Close)
	return r, srv.URL
}

// sameButMLmodel compares with the directory that was uploaded, in whose
// MLmodel file the upload put another identifier.
func sameButMLmodel(t *testing.T, files []mlmodel.File, dir string) {
	t.Helper()
	want, err := mlmodel.Inventory(dir)
	if err != nil {
		t.Fatal(err)
	}
	other := func(f mlmodel.File) bool { return f.Path == "MLmodel" }
	if got, want := mlmodel.DigestFiles(slices.DeleteFunc(files, other)), mlmodel.DigestFiles(slices.DeleteFunc(want, other)); got != want {
		t.Errorf("digest %s, want %s", got, want)
	}
}
