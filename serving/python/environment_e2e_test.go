//go:build e2e

package python_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/python"
)

// requirements are those of all models of testdata/models, with mlflow-skinny
// for mlflow and without libraries for graphics cards.
var requirements = []string{"mlflow-skinny==3.17.2", "numpy==2.4.6", "pandas==3.1.1", "scikit-learn==1.9.1", "scipy==1.17.1", "skops==0.16.0",
	"cloudpickle==3.1.2", "lightgbm==4.7.0", "onnx==1.23.2", "onnxruntime==1.32.0", "statsmodels==0.15.0", "xgboost-cpu==3.2.0", "pydantic"}

// environment returns a Python without packages, and the folder of packages
// for it, as in an image.
func environment(t testing.TB) (interpreter, site string) {
	t.Helper()
	venv := e2e.Python(t, requirements...)
	interpreter, err := filepath.EvalSymlinks(venv)
	if err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(filepath.Dir(venv), "../lib/python3.*/site-packages"))
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	return interpreter, found[0]
}

// config is a configuration with an environment, and its log.
func config(t testing.TB) (python.Config, *logged) {
	t.Helper()
	interpreter, site := environment(t)
	log := &logged{}
	return python.Config{Interpreter: interpreter, Site: []string{site}, Env: []string{"PATH=/usr/bin:/bin"}, Workers: 1, Log: slog.New(slog.NewJSONHandler(log, nil))}, log
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log has the text.
func (l *logged) await(t *testing.T, text string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(l.String(), text); {
		if time.Now().After(deadline) {
			t.Errorf("not in the log: %s", text)
			return
		}
		runtime.Gosched()
	}
}

// load loads a model and closes it with the test.
func load(t testing.TB, c python.Config, dir string) (*mlmodel.Model, *python.Predictor) {
	t.Helper()
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	p, err := python.New(c).Load(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	closer := p.(*python.Predictor)
	t.Cleanup(func() {
		if err := closer.Close(); err != nil {
			t.Error(err)
		}
	})
	return m, closer
}

// serve serves a model over HTTP and returns the address, once it is ready.
func serve(t testing.TB, c serving.Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan error, 1)
	c.Ready = func() { close(ready) }
	ctx, stop := context.WithCancel(context.Background())
	go func() { ended <- serving.New(c).Run(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatal(err)
	}
	return "http://" + l.Addr().String()
}

// post asks for a prediction.
func post(t testing.TB, url string, header http.Header, body string) (status int, reply string) {
	t.Helper()
	return do(t, http.MethodPost, url, header, body)
}

func do(t testing.TB, method, url string, header http.Header, body string) (status int, reply string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header = header
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// custom makes a model directory of Python source: what mlflow calls a custom
// loader. The source defines _load_pyfunc(path).
func custom(t testing.TB, inputs, source string) string {
	t.Helper()
	dir := t.TempDir()
	signature := ""
	if inputs != "" {
		signature = "signature:\n  inputs: '" + inputs + "'\n"
	}
	mlmodelFile := "flavors:\n  python_function:\n    loader_module: custom\n    code: code\n    python_version: 3.11.7\n" + signature
	err := errors.Join(os.MkdirAll(filepath.Join(dir, "code"), 0o755),
		os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(mlmodelFile), 0o644),
		os.WriteFile(filepath.Join(dir, "code", "custom.py"), []byte(source), 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
