package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

func TestConfigErrorsNameTheirPosition(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"unknown key":              {"models:\n  - model: models:/iris@champion\n    imago: x\n", "slipway.yaml:3:5: unknown field \"imago\""},
		"unknown key above":        {"modles: []\n", "slipway.yaml:1:1: unknown field \"modles\""},
		"wrong type":               {"models: 3\n", "slipway.yaml:1:9: "},
		"bad YAML":                 {"models:\n  - model: [\n", "slipway.yaml:2:"},
		"a key twice":              {"models:\n  - model: models:/a/1\n    model: models:/a/2\n    target: local://h:1\n", "slipway.yaml:3:5: "},
		"no model":                 {"models:\n  - image: a/b\n    target: local://h:1\n", "slipway.yaml:2:"},
		"bad model":                {"models:\n  - model: models:/iris\n    target: local://h:1\n", "slipway.yaml:2:12: reading the model reference"},
		"bad target":               {"models:\n  - model: models:/i/1\n    target: ftp://x\n", "slipway.yaml:3:13: reading the target"},
		"no target":                {"models:\n  - model: models:/i/1\n    image: a/b\n", "slipway.yaml:2:"},
		"both":                     {"models:\n  - model: models:/i/1\n    target: local://h:1\n    environments: [{name: a, target: local://h:1}]\n", "slipway.yaml:3:13: target and environments exclude each other"},
		"environment without name": {"models:\n  - model: models:/i/1\n    environments:\n      - target: local://h:1\n", "slipway.yaml:4:"},
		"environment twice":        {"models:\n  - model: models:/i/1\n    environments:\n      - {name: a, target: \"local://h:1\"}\n      - {name: a, target: \"local://h:2\"}\n", "slipway.yaml:5:16: a second environment called a"},
		"unknown after":            {"models:\n  - model: models:/i/1\n    environments:\n      - {name: a, target: \"local://h:1\", after: b}\n", "slipway.yaml:4:49: there is no environment called b"},
		"circle":                   {"models:\n  - model: models:/i/1\n    environments:\n      - {name: a, target: \"local://h:1\", after: b}\n      - {name: b, target: \"local://h:2\", after: a}\n", "wait for each other in a circle"},
		"requests of a local one":  {"models:\n  - model: models:/i/1\n    environments:\n      - {name: a, target: \"local://h:1\", requests: {cpu: 100m}}\n", "requests are for kubernetes://"},
		"startup of a local one":   {inEnvironment(`target: "local://h:1", startup: 5m`), "slipway.yaml:4:51: startup sets the startup probe"},
		"startup that is no time":  {inEnvironment(`target: "kubernetes://a/b", startup: soon`), `slipway.yaml:4:56: "soon" is no time to start in`},
		"startup without an end":   {inEnvironment(`target: "kubernetes://a/b", startup: 25h`), `slipway.yaml:4:56: "25h" is no time to start in`},
		"cpu":                      {inEnvironment(`target: "kubernetes://a/b", requests: {cpu: 1Gi}`), `slipway.yaml:4:63: "1Gi" is no amount of CPU`},
		"cpu of nothing":           {inEnvironment(`target: "kubernetes://a/b", requests: {cpu: 0m}`), `slipway.yaml:4:63: "0m" is no amount of CPU`},
		"memory":                   {inEnvironment(`target: "kubernetes://a/b", requests: {memory: 512m}`), `slipway.yaml:4:66: "512m" is no amount of memory`},
		"unknown request":          {inEnvironment(`target: "kubernetes://a/b", requests: {gpu: 1}`), `slipway.yaml:4:58: unknown field "gpu"`},
		"bad namespace":            {inEnvironment(`target: "kubernetes://A_/b"`), `"A_" is no name of a namespace`},
		"bad context":              {inEnvironment(`target: "kubernetes://a/b?kontext=c"`), `slipway.yaml:4:27: `},
		"secret of a local one":    {inEnvironment(`target: "local://h:1", secretEnv: [OK, T=s/k]`), "slipway.yaml:4:58: T=s/k names a Kubernetes Secret"},
		"secret without a key":     {inEnvironment(`target: "kubernetes://a/b", secretEnv: [T=s]`), `slipway.yaml:4:59: "s" is no SECRET/KEY`},
		"env that is no map":       {"models:\n  - model: models:/i/1\n    environments:\n      - {name: a, target: \"local://h:1\", env: [A]}\n", "slipway.yaml:4:"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := decodeConfig("slipway.yaml", []byte(test.text))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s…", err, test.want)
			}
			if err != nil && exitCode(t.Context(), err) != exitUsage {
				t.Errorf("exit code %d, want %d", exitCode(t.Context(), err), exitUsage)
			}
		})
	}
}

// inEnvironment is a slipway.yaml of one environment with these settings.
func inEnvironment(settings string) string {
	return "models:\n  - model: models:/i/1\n    environments:\n      - {name: a, " + settings + "}\n"
}

// What an environment of a cluster says comes into the release.
func TestSettingsOfACluster(t *testing.T) {
	t.Parallel()
	c, err := decodeConfig("slipway.yaml", []byte(inEnvironment(
		`target: "kubernetes://staging/iris?context=here&container=server", startup: 5m, requests: {cpu: "0.5", memory: 512Mi}, secretEnv: [A, B=vault/b.key]`)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := choose(modelFlags{}, placeFlags{}, c, none)
	if err != nil {
		t.Fatal(err)
	}
	s := all[0]
	if want := (slipway.Requests{CPU: "0.5", Memory: "512Mi"}); s.requests != want || s.startup != 5*time.Minute || s.to.Query.Get("container") != "server" {
		t.Errorf("got %+v", s)
	}
	if diff := cmp.Diff([]string{"A", "B=vault/b.key"}, s.secretEnv); diff != "" {
		t.Errorf("secretEnv (-want +got):\n%s", diff)
	}
	if !givesSecret(s.secretEnv, "B") || givesSecret(s.secretEnv, "C") {
		t.Error("which variables the Secrets give is not known")
	}
}

// A target that is named by a flag alone is called after its namespace.
func TestNameOfAnEnvironmentWithoutAFile(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]string{"kubernetes://production/iris": "production", "local://127.0.0.1:8000": "local", "": "local"} {
		all, err := choose(modelFlags{Model: "models:/iris/1"}, placeFlags{To: to}, &config{}, none)
		if err != nil || all[0].environment != want {
			t.Errorf("%s: got %+v, %v", to, all, err)
		}
	}
}

const twoEnvironments = `
models:
  - model: models:/iris@champion
    image: file/iris
    environments:
      - name: production
        target: local://127.0.0.1:8002
        after: staging
        env: {THREADS: "4", LEVEL: high}
        secretEnv: [TOKEN]
      - name: staging
        target: local://127.0.0.1:8001
`

func TestEnvironmentsAreMadeInOrder(t *testing.T) {
	t.Parallel()
	c, err := decodeConfig("slipway.yaml", []byte(twoEnvironments))
	if err != nil {
		t.Fatal(err)
	}
	all, err := choose(modelFlags{}, placeFlags{Env: map[string]string{"LEVEL": "low"}}, c, none)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range all {
		got = append(got, s.environment+" "+s.to.String()+" "+s.image)
	}
	want := []string{"staging local://127.0.0.1:8001 file/iris", "production local://127.0.0.1:8002 file/iris"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("releases (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]string{"THREADS": "4", "LEVEL": "low"}, all[1].env); diff != "" {
		t.Errorf("env: the flag does not win (-want +got):\n%s", diff)
	}
}

// TestPrecedence is flag × environment × file: the first that is set wins.
func TestPrecedence(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                    string
		flag, environment, file bool
		want                    string
	}{
		{"all", true, true, true, "flag/iris"},
		{"flag and environment", true, true, false, "flag/iris"},
		{"flag and file", true, false, true, "flag/iris"},
		{"flag", true, false, false, "flag/iris"},
		{"environment and file", false, true, true, "environment/iris"},
		{"environment", false, true, false, "environment/iris"},
		{"file", false, false, true, "file/iris"},
		{"none", false, false, false, "default.azurecr.io/iris"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			args := []string{"extract", "models:/iris@champion"}
			vars := map[string]string{"ACR_LOGIN_SERVER": "default.azurecr.io"}
			if test.flag {
				args = append(args, "--image", "flag/iris")
			}
			if test.environment {
				vars["SLIPWAY_IMAGE"] = "environment/iris"
			}
			name := filepath.Join(t.TempDir(), "slipway.yaml")
			text := "models:\n  - model: models:/iris@champion\n    target: local://127.0.0.1:8000\n"
			if test.file {
				text += "    image: file/iris\n"
			}
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			got := parseExtract(t, append(args, "--config", name), vars)
			if got.image != test.want {
				t.Errorf("image %q, want %q", got.image, test.want)
			}
		})
	}
}

// parseExtract returns what an extract command line comes to.
func parseExtract(t *testing.T, args []string, vars map[string]string) settings {
	t.Helper()
	p := &program{getenv: func(name string) string { return vars[name] }}
	var c cli
	parser, env, err := newParser(&c, p, func() {})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	if err := env.arguments(parsed); err != nil {
		t.Fatal(err)
	}
	s, err := c.Extract.only(p, &c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryFlagAndArgumentHasAVariable(t *testing.T) {
	t.Parallel()
	s := parseExtract(t, []string{"extract"}, map[string]string{
		"SLIPWAY_MODEL": "models:/iris/3", "SLIPWAY_TO": "local://127.0.0.1:9", "SLIPWAY_ENVIRONMENT": "lab",
		"SLIPWAY_ENV": "A=1;B=2", "SLIPWAY_SECRET_ENV": "X,Y", "SLIPWAY_REPLICAS": "3",
		"SLIPWAY_CONFIG": writeTemp(t, ""), "MLFLOW_TRACKING_URI": "http://seed",
	})
	if s.ref.String() != "models:/iris/3" || s.to.String() != "local://127.0.0.1:9" || s.environment != "lab" || s.replicas != 3 || s.mlflowURI != "http://seed" {
		t.Errorf("got %+v", s)
	}
	if diff := cmp.Diff(map[string]string{"A": "1", "B": "2"}, s.env); diff != "" {
		t.Errorf("env (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"X", "Y"}, s.secretEnv); diff != "" {
		t.Errorf("secretEnv (-want +got):\n%s", diff)
	}
}

func TestOwnVariableWinsOverTheSeeds(t *testing.T) {
	t.Parallel()
	s := parseExtract(t, []string{"extract", "models:/a/1", "--config", writeTemp(t, "")},
		map[string]string{"SLIPWAY_MLFLOW": "http://own", "MLFLOW_TRACKING_URI": "http://seed"})
	if s.mlflowURI != "http://own" {
		t.Errorf("got %q", s.mlflowURI)
	}
}

func writeTemp(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "slipway.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func none(string) string { return "" }
