package main

import (
	"bytes"
	"context"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/sandbox"
)

// TestMain lets the test binary be slipway: scripts run it under that name,
// and local targets start it again as their supervisor.
func TestMain(m *testing.M) {
	sandbox.Init()
	if len(os.Args) > 1 && os.Args[1] == "supervise" {
		main()
	}
	if args, ok := os.LookupEnv(crashArgs); ok {
		crashing(strings.Split(args, "\n"))
	}
	if lease, ok := os.LookupEnv(crashLease); ok {
		leasing(lease)
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
	images := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
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
		"HOME": dir, "XDG_CACHE_HOME": testCache(), "USER": "ada", "MLFLOW_TRACKING_URI": uri, "IMAGES": strings.TrimPrefix(images.URL, "http://"),
		"SLIPWAY_PROVE": "off", "EXAMPLES": examples, "MODELS": filepath.Join(examples, "demo", "models"),
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
		address, err := e2e.Address()
		if err != nil {
			return nil, err
		}
		addresses = append(addresses, address)
	}
	return addresses, nil
}

// testCache is shared by all tests, so that the model server is built and
// compressed once.
func testCache() string { return filepath.Join(os.TempDir(), "slipway-test") }

// buildServer builds the model server, once for all tests.
var buildServer = func() func(t *testing.T) string {
	var once sync.Once
	var path string
	var err error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			s := servers{cache: testCache(), environ: os.Environ()}
			path, err = s.build(context.Background(), "modelserver", "linux/"+runtime.GOARCH)
		})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
}()

// threeVersions is a world whose model registry has iris 1, promoted, iris 2
// and iris 3.
func threeVersions(t *testing.T) *world {
	t.Helper()
	w, err := newWorld(t.TempDir(), buildServer(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.close)
	for _, dir := range []string{"iris-1", "iris-2", "iris-3"} {
		if _, err := w.client.Register(t.Context(), "iris", w.vars["MODELS"]+"/"+dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.client.SetAlias(t.Context(), "iris", "champion", "1"); err != nil {
		t.Fatal(err)
	}
	return w
}

// slipway runs a command line in this process and returns its exit code and
// all it said. wrap, which may be nil, gets hold of the ports before the target
// is made of them and again afterwards, when they have one.
func (w *world) slipway(ctx context.Context, wrap func(*ports), args ...string) (int, string) {
	return w.run(ctx, wrap, func(*program) {}, args...)
}

// run is slipway with a program that set has changed.
func (w *world) run(ctx context.Context, wrap func(*ports), set func(*program), args ...string) (int, string) {
	var out bytes.Buffer
	p := &program{stdin: strings.NewReader(""), stdout: &out, stderr: &out, getenv: w.getenv}
	p.connect = func(s settings) (*ports, error) {
		if wrap == nil {
			return p.wire(s)
		}
		to := p.wireRegistries(s)
		wrap(to)
		err := p.wireTarget(to, s)
		wrap(to)
		return to, err
	}
	set(p)
	return p.execute(ctx, args), out.String()
}
