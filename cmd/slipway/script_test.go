package main

import (
	"context"
	"errors"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// TestMain lets the test binary be slipway: scripts run it, and local targets
// start it as their supervisor.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"slipway": main})
}

// TestScripts runs testdata/script: slipway as users run it, against a model
// registry and an image registry in this process.
func TestScripts(t *testing.T) {
	t.Parallel()
	server := buildServer(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup:               func(env *testscript.Env) error { return setUp(env, server) },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":    exits,
			"register": register,
			"promote":  promote,
			"stage":    transition,
			"hastag":   hasTag,
		},
	})
}

// buildServer builds the model server once for all scripts.
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

type registryKey struct{}

// setUp gives a script its own home, registries and address.
func setUp(env *testscript.Env, server string) error {
	models := mlflowtest.NewServer(mlflowtest.Config{})
	uri, err := models.Start()
	if err != nil {
		return err
	}
	images := httptest.NewServer(registry.New())
	client, err := mlflow.New(mlflow.Config{URI: uri})
	if err != nil {
		return err
	}
	examples, err := filepath.Abs("../../examples")
	if err != nil {
		return err
	}
	addresses, err := freeAddresses(2)
	if err != nil {
		return err
	}
	env.Values[registryKey{}] = client
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("USER", "ada")
	env.Setenv("MLFLOW_TRACKING_URI", uri)
	env.Setenv("IMAGES", strings.TrimPrefix(images.URL, "http://"))
	env.Setenv("EXAMPLES", examples)
	env.Setenv("MODELS", filepath.Join(examples, "demo", "models"))
	env.Setenv("ADDRESS", addresses[0])
	env.Setenv("ADDRESS2", addresses[1])
	env.Setenv("SLIPWAY_SERVER", server)
	if err := writeEnvironments(env); err != nil {
		return err
	}
	env.Defer(func() {
		images.Close()
		_ = models.Close() // nothing of it is needed any more
		stopAll(env)
	})
	return nil
}

// writeEnvironments writes all.yaml: the script's two addresses as staging and
// production.
func writeEnvironments(env *testscript.Env) error {
	text := "models:\n  - model: models:/iris@champion\n    image: " + env.Getenv("IMAGES") + "/iris\n    environments:\n" +
		"      - {name: production, after: staging, target: \"local://" + env.Getenv("ADDRESS2") + "\"}\n" +
		"      - {name: staging, target: \"local://" + env.Getenv("ADDRESS") + "\"}\n"
	return os.WriteFile(filepath.Join(env.WorkDir, "all.yaml"), []byte(text), 0o600)
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

// stopAll ends the supervisors that a script left, whatever became of it.
func stopAll(env *testscript.Env) {
	p := &program{getenv: env.Getenv}
	for _, target := range p.localTargets() {
		var s settings
		if s.setTarget(target) != nil {
			continue
		}
		if w, err := p.wire(s); err == nil {
			_ = w.local.Stop(context.Background()) // it may be gone already
		}
	}
}

// exits runs a command that must end with the exit code: exits 2 slipway …
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	got := 0
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got = ended.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func client(ts *testscript.TestScript) *mlflow.Client {
	return ts.Value(registryKey{}).(*mlflow.Client)
}

// register adds a model directory as the next version: register iris DIR
func register(ts *testscript.TestScript, _ bool, args []string) {
	_, err := client(ts).Register(context.Background(), slipway.ModelName(args[0]), args[1])
	ts.Check(err)
}

// promote points an alias at a version: promote iris champion 2
func promote(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(client(ts).SetAlias(context.Background(), slipway.ModelName(args[0]), args[1], slipway.Version(args[2])))
}

// transition moves a version to a stage: stage iris Production 2
func transition(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(client(ts).Transition(context.Background(), slipway.ModelName(args[0]), slipway.Version(args[2]), args[1]))
}

// hasTag looks at a version's tag in the model registry: hastag iris 2 slipway.status live
func hasTag(ts *testscript.TestScript, _ bool, args []string) {
	ref := slipway.ModelRef{Name: slipway.ModelName(args[0]), Version: slipway.Version(args[1])}
	version, err := client(ts).Resolve(context.Background(), ref)
	ts.Check(err)
	if got := version.Tags[args[2]]; !strings.Contains(got, args[3]) {
		ts.Fatalf("%s %s: tag %s is %q, want %q in it", args[0], args[1], args[2], got, args[3])
	}
}
