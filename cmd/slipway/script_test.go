package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

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
			"output":   output,
			"handed":   handed,
			"listens":  listens,
		},
	})
}

type registryKey struct{}

// setUp gives a script its own home, registries and addresses.
func setUp(env *testscript.Env, server string) error {
	w, err := newWorld(env.WorkDir, server)
	if err != nil {
		return err
	}
	env.Defer(w.close)
	env.Values[registryKey{}] = w.client
	for name, value := range w.vars {
		env.Setenv(name, value)
	}
	return writeEnvironments(env)
}

// writeEnvironments writes all.yaml: the script's two addresses as staging and
// production.
func writeEnvironments(env *testscript.Env) error {
	text := "models:\n  - model: models:/iris@champion\n    image: " + env.Getenv("IMAGES") + "/iris\n    environments:\n" +
		"      - {name: production, after: staging, target: \"local://" + env.Getenv("ADDRESS2") + "\"}\n" +
		"      - {name: staging, target: \"local://" + env.Getenv("ADDRESS") + "\"}\n"
	return os.WriteFile(filepath.Join(env.WorkDir, "all.yaml"), []byte(text), 0o600)
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

// outputOf returns what a step put out last for GitHub Actions (GitHub Docs,
// "Setting an output parameter", the form for several lines).
func outputOf(ts *testscript.TestScript, name string) (value string, ok bool) {
	lines := strings.Split(ts.ReadFile(ts.Getenv("GITHUB_OUTPUT")), "\n")
	for i := 0; i < len(lines); i++ {
		key, end, begins := strings.Cut(lines[i], "<<")
		if !begins {
			continue
		}
		var text []string
		for i++; i < len(lines) && lines[i] != end; i++ {
			text = append(text, lines[i])
		}
		if key == name {
			value, ok = strings.Join(text, "\n"), true
		}
	}
	return value, ok
}

// output looks at an output: output status live
func output(ts *testscript.TestScript, _ bool, args []string) {
	got, ok := outputOf(ts, args[0])
	if matched, err := regexp.MatchString(args[1], got); err != nil || !ok || !matched || args[1] == "" && got != "" {
		ts.Fatalf("output %s is %q (%v), want %q", args[0], got, ok, args[1])
	}
}

// handed gives what was put out as handover to the next commands.
func handed(ts *testscript.TestScript, _ bool, _ []string) {
	text, _ := outputOf(ts, "handover")
	ts.Setenv("SLIPWAY_HANDOVER", text)
}
