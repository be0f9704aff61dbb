package main

import (
	"context"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// TestMain lets the test binary be slipway: scripts run it under that name,
// and local targets start it again as their supervisor.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		main()
	}
	testscript.Main(m, map[string]func(){"slipway": main})
}

// world is a home, a model registry, an image registry and two free addresses:
// all that a slipway of a test can touch.
type world struct {
	vars   map[string]string // environment variables of the slipway
	client *mlflow.Client
	closer []func()
}

// newWorld makes a world whose files are below dir. The model server is the
// one at the path server.
func newWorld(dir, server string) (*world, error) {
	w := &world{}
	models := mlflowtest.NewServer(mlflowtest.Config{})
	uri, err := models.Start()
	if err != nil {
		return nil, err
	}
	w.later(func() { _ = models.Close() }) // nothing of it is needed any more
	images := httptest.NewServer(registry.New())
	w.later(images.Close)
	if w.client, err = mlflow.New(mlflow.Config{URI: uri}); err != nil {
		return nil, err
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return nil, err
	}
	addresses, err := freeAddresses(2)
	if err != nil {
		return nil, err
	}
	w.vars = map[string]string{
		"HOME": dir, "USER": "ada", "MLFLOW_TRACKING_URI": uri, "IMAGES": strings.TrimPrefix(images.URL, "http://"),
		"EXAMPLES": examples, "MODELS": filepath.Join(examples, "demo", "models"),
		"ADDRESS": addresses[0], "ADDRESS2": addresses[1], "SLIPWAY_SERVER": server,
	}
	w.later(w.stopTargets)
	return w, nil
}

func (w *world) later(f func()) { w.closer = append(w.closer, f) }

func (w *world) close() {
	for i := len(w.closer) - 1; i >= 0; i-- {
		w.closer[i]()
	}
}

func (w *world) getenv(name string) string { return w.vars[name] }

// stopTargets ends the supervisors that a test left, whatever became of it.
func (w *world) stopTargets() {
	p := &program{getenv: w.getenv}
	for _, target := range p.localTargets() {
		var s settings
		if s.setTarget(target) != nil {
			continue
		}
		if to, err := p.wire(s); err == nil {
			_ = to.local.Stop(context.Background()) // it may be gone already
		}
	}
}

// freeAddresses returns addresses that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only once all are known, so that they differ
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

// buildServer builds the model server, once for all tests.
var buildServer = func() func(t *testing.T) string {
	var once sync.Once
	var path string
	var err error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			s := servers{cache: filepath.Join(os.TempDir(), "slipway-test"), environ: os.Environ()}
			path, err = s.build(context.Background(), "modelserver", "linux/"+runtime.GOARCH)
		})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}()
