package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
)

// environment is a getenv over a map.
type environment map[string]string

func (e environment) get(name string) string { return e[name] }

// TestOptions is the table flag × environment × default.
func TestOptions(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		args  []string
		env   environment
		check func(options) bool
	}{
		"defaults": {nil, nil, func(o options) bool {
			return o.model == "/model" && o.addr == ":8000" && o.drainDelay == 5*time.Second && o.schema == "strict" && o.terminationLog == "/dev/termination-log"
		}},
		"environment": {nil, environment{"SLIPWAY_MODEL": "m", "SLIPWAY_ADDR": "127.0.0.1:0", "SLIPWAY_DRAIN_DELAY": "0s", "SLIPWAY_TERMINATION_LOG": "t", "SLIPWAY_ADDR_FILE": "a", "SLIPWAY_SCHEMA": "mlflow"}, func(o options) bool {
			return o == options{model: "m", addr: "127.0.0.1:0", terminationLog: "t", addrFile: "a", schema: "mlflow", python: pythonOptions{timeout: time.Minute}}
		}},
		"flags": {[]string{"--model", "m", "-drain-delay=1s", "--schema", "mlflow"}, nil, func(o options) bool { return o.model == "m" && o.drainDelay == time.Second && o.schema == "mlflow" }},
		"python": {[]string{"--workers", "2", "--batch-wait", "2ms", "--worker-memory", "512M", "--debug"}, environment{"SLIPWAY_PYTHON": "python3.11", "SLIPWAY_TIMEOUT": "5s", "SLIPWAY_SITE_PACKAGES": "/a:/b"}, func(o options) bool {
			return o.python == pythonOptions{interpreter: "python3.11", site: "/a:/b", workers: 2, batchWait: 2 * time.Millisecond, timeout: 5 * time.Second, memory: 512 << 20, debug: true}
		}},
		"memory, as Kubernetes has it": {[]string{"--worker-memory", "2Gi"}, nil, func(o options) bool { return o.python.memory == 2<<30 }},
		"memory, bytes":                {[]string{"--worker-memory", "1048576"}, nil, func(o options) bool { return o.python.memory == 1<<20 }},
		"flags go first":               {[]string{"--model", "flag"}, environment{"SLIPWAY_MODEL": "env"}, func(o options) bool { return o.model == "flag" }},
		"version":                      {[]string{"-version"}, nil, func(o options) bool { return o.version }},
	} {
		o, err := parse(test.args, test.env.get, io.Discard)
		if err != nil || !test.check(o) {
			t.Errorf("%s: %+v, %v", name, o, err)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		args []string
		env  environment
		says string
	}{
		{[]string{"--modle", "m"}, nil, "not defined: -modle"},
		{[]string{"serve"}, nil, `unexpected argument "serve"`},
		{[]string{"--schema", "loose"}, nil, "strict or mlflow"},
		{[]string{"--drain-delay", "1m"}, nil, "0 to 25 seconds"},
		{[]string{"--workers", "-1"}, nil, "-workers is 0 to 64"},
		{[]string{"--timeout", "0s"}, nil, "-timeout"},
		{[]string{"--worker-memory", "lots"}, nil, `no size such as 512M`},
		{[]string{"--worker-memory", "9T"}, nil, `no size such as 512M`},
		{nil, environment{"SLIPWAY_DRAIN_DELAY": "soon"}, "SLIPWAY_DRAIN_DELAY"},
	} {
		var stderr bytes.Buffer
		if code := run(context.Background(), test.args, test.env.get, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), test.says) {
			t.Errorf("%v %v: %d, %s", test.args, test.env, code, &stderr)
		}
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	var stdout bytes.Buffer
	if code := run(context.Background(), []string{"--version"}, environment{}.get, &stdout, io.Discard); code != 0 || !strings.HasPrefix(stdout.String(), "modelserver ") {
		t.Errorf("%d %s", code, &stdout)
	}
}

// TestRun serves a real model from start to drain.
func TestRun(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "addr")
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan int, 1)
	env := environment{"MODEL_NAME": "iris", "MODEL_VERSION": "3", "GOGC": "100"}
	go func() {
		done <- run(ctx, []string{"--model", "testdata/iris", "--addr", "127.0.0.1:0", "--addr-file", file, "--drain-delay", "0s", "--termination-log", filepath.Join(dir, "log")}, env.get, io.Discard, io.Discard)
	}()
	url := "http://" + awaitAddress(t, file)
	for deadline := time.Now().Add(10 * time.Second); ; {
		if resp, err := http.Get(url + "/ready"); err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				break
			}
		}
		if time.Now().After(deadline) {
			t.Fatal("never ready")
		}
	}
	resp, err := http.Post(url+"/predict", "application/json", strings.NewReader(`[{"sepal_length":6.2,"sepal_width":3.4,"n":3}]`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	reply, err := io.ReadAll(resp.Body)
	if err != nil || string(reply) != `{"predictions": [1], "model": "iris", "version": "3"}` {
		t.Errorf("%s, %v", reply, err)
	}
	stop()
	if code := <-done; code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(dir, "log")); !os.IsNotExist(err) {
		t.Errorf("a termination log after a clean end: %v", err)
	}
}

func awaitAddress(t *testing.T, file string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if data, err := os.ReadFile(file); err == nil {
			return strings.TrimSpace(string(data))
		}
	}
	t.Fatal("no address was written")
	return ""
}

// TestTerminationLog ends with 1 and says why, for every reason there is not to
// become ready.
func TestTerminationLog(t *testing.T) {
	t.Parallel()
	wrong := copyModel(t)
	g := mlmodel.Golden{SchemaVersion: 1, By: "scikit-learn 1.9.1", Predictions: []mlmodel.Prediction{{
		Request: json.RawMessage(`{"inputs":[{"sepal_length":6.2,"sepal_width":3.4,"n":3}]}`), Answer: json.RawMessage(`[0]`)}}}
	data, err := g.Encode()
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(wrong, mlmodel.ReleaseDir, mlmodel.GoldenFile), data)
	other := copyModel(t)
	put(t, filepath.Join(other, mlmodel.ReleaseDir, mlmodel.ManifestFile), []byte(`{"schemaVersion":1,"engine":"julia"}`))
	broken := copyModel(t)
	put(t, filepath.Join(broken, "model.skops"), []byte("PK"))

	for name, test := range map[string]struct {
		model, addr string
		want        mlmodel.Termination // the message: how it begins
	}{
		"wrong golden prediction": {wrong, "127.0.0.1:0", mlmodel.Termination{
			Kind: "golden-differs", Message: "golden prediction 1 differs", Hint: "slipway explain",
			Evidence: "request   {\"inputs\":[{\"sepal_length\":6.2,\"sepal_width\":3.4,\"n\":3}]}\nexpected  0   (scikit-learn 1.9.1)\ngot       1   at [0]",
		}},
		"another engine": {other, "127.0.0.1:0", mlmodel.Termination{
			Kind: "crashed", Message: `choosing the engine: the image asks for the engine "julia", and this model server has sklearn`,
			Hint: "build the image with"}},
		"broken weights": {broken, "127.0.0.1:0", mlmodel.Termination{Kind: "crashed", Message: "reading the skops file"}},
		"no model":       {t.TempDir(), "127.0.0.1:0", mlmodel.Termination{Kind: "crashed", Message: "reading MLmodel"}},
		"no address":     {wrong, "127.0.0.1:99999", mlmodel.Termination{Kind: "crashed", Message: "listening on 127.0.0.1:99999"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "termination-log")
			code := run(context.Background(), []string{"--model", test.model, "--addr", test.addr, "--termination-log", log}, environment{}.get, io.Discard, io.Discard)
			text, err := os.ReadFile(log)
			got, ok := mlmodel.DecodeTermination(text)
			if err != nil || code != 1 || !ok || got.Kind != test.want.Kind || got.Evidence != test.want.Evidence ||
				!strings.HasPrefix(got.Message, test.want.Message) || !strings.HasPrefix(got.Hint, test.want.Hint) {
				t.Errorf("%d %q, want %+v, %v", code, text, test.want, err)
			}
		})
	}
}

func copyModel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/iris")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func put(t *testing.T, file string, data []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o644); err != nil {
		t.Fatal(err)
	}
}
