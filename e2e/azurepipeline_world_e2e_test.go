//go:build e2e

package e2e_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/e2e/pipeline"
)

// What is planted as secrets, to be found nowhere.
const (
	registryPassword = "planted-password-of-the-image-registry"
	mlflowPassword   = "planted-password-of-mlflow"
	devopsToken      = "planted-token-of-azure-devops"
)

// devops is a project in Azure DevOps with this repository and its pipeline,
// set up as docs/azure-pipelines.md says.
type devops struct {
	*clustered
	group    map[string]pipeline.Variable // the variable group slipway
	signedIn map[string]int               // how often, by service connection
	cached   bool                         // slipway was made by an earlier run
}

// newDevops returns a project whose image registry lets nobody in but the
// cluster and those who signed in through acr-service-connection.
func newDevops(t testing.TB, versions ...string) *devops {
	t.Helper()
	d := &devops{clustered: newClustered(t, 2, versions...), signedIn: map[string]int{}}
	d.door.set(func(w http.ResponseWriter, r *http.Request) bool {
		_, password, _ := r.BasicAuth()
		if byNode(r) || password == registryPassword {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="images"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	d.group = map[string]pipeline.Variable{
		"MLFLOW_TRACKING_URI": {Value: d.mlflow}, "MLFLOW_TRACKING_USERNAME": {Value: "ada"},
		"MLFLOW_TRACKING_PASSWORD": {Value: mlflowPassword, Secret: true}, "SLIPWAY_PROVE": {Value: "off"},
	}
	return d
}

// queued runs the pipeline with these parameters, to its end.
func (d *devops) queued(ctx context.Context, parameters map[string]string, said func(step, line string)) pipeline.Result {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	start := time.Now()
	r, err := pipeline.Run(ctx, pipeline.Config{
		File: "../azure-pipelines.yml", Dir: d.t.TempDir(), Parameters: parameters, Said: said,
		Groups: map[string]map[string]pipeline.Variable{"slipway": d.group},
		Variables: map[string]pipeline.Variable{
			"System.AccessToken": {Value: devopsToken, Secret: true}, "Build.BuildNumber": {Value: "20261126.1"}, "Build.BuildId": {Value: "7"},
			"System.CollectionUri": {Value: "https://dev.azure.com/ada/"}, "System.TeamProject": {Value: "models"}, "Build.SourceVersion": {Value: "1111"},
		},
		Tasks: map[string]pipeline.Task{
			"GoTool@0": nothing, "Cache@2": d.cache, "AzureCLI@2": d.azureCLI, "Docker@2": d.docker, "Kubernetes@1": d.kubernetes,
		},
		Checkout: d.checkout, Env: d.machine(),
	})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Logf("%s after %s", r.Outcome, time.Since(start).Round(100*time.Millisecond))
	for _, s := range r.Steps() {
		if s.Leaked {
			d.t.Errorf("the step %s said a secret\n%s", s.Title, s.Log)
		}
		for _, page := range s.Summaries {
			for name, v := range d.group {
				if v.Secret && v.Value != "" && strings.Contains(page, v.Value) {
					d.t.Errorf("the summary of %s has %s\n%s", s.Title, name, page)
				}
			}
		}
	}
	return r
}

// machine is what the agents' machines have.
func (d *devops) machine() []string {
	e2e.UV(d.t) // makes sure that there is a Python with venv
	env := []string{"PATH=" + os.Getenv("PATH"), "USER=vsts", "PIP_CACHE_DIR=" + filepath.Join(e2e.Cache(d.t), "pip")}
	for _, e := range os.Environ() {
		if strings.HasPrefix(e, "PIP_") || strings.HasPrefix(e, "UV_") {
			env = append(env, e)
		}
	}
	return env
}

// checkout leaves the Makefile of the repository, slipway.yaml, and what `make
// build` would make, so that it has nothing to do.
func (d *devops) checkout(dir string) error {
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		return err
	}
	files := map[string][]byte{"Makefile": makefile, "slipway.yaml": fmt.Appendf(nil,
		"models:\n  - model: %s\n    image: %s\n    target: %s\n", d.champion(), d.image, d.target())}
	for _, platform := range []string{"amd64", "arm64"} {
		files["cmd/slipway/embedded/modelserver-linux-"+platform+".zst"] = nil
	}
	for _, name := range []string{"slipway", "modelserver"} {
		if files["bin/"+name], err = os.ReadFile(filepath.Join(filepath.Dir(d.program), name)); err != nil {
			return err
		}
	}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			return err
		}
	}
	old := time.Unix(1, 0)
	for _, platform := range []string{"amd64", "arm64"} {
		if err := os.Chtimes(filepath.Join(dir, "cmd/slipway/embedded/modelserver-linux-"+platform+".zst"), old, old); err != nil {
			return err
		}
	}
	return nil
}

func nothing(context.Context, *pipeline.TaskRun) error { return nil }

// cache does what Cache@2 does: from the second run on, what the first one made
// is there.
func (d *devops) cache(_ context.Context, r *pipeline.TaskRun) error {
	if !d.cached {
		d.cached = true
		return nil
	}
	for name, from := range map[string]string{"slipway": d.program, "modelserver": filepath.Join(filepath.Dir(d.program), "modelserver"), "uv": e2e.UV(d.t)} {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.Inputs["path"], name), data, 0o755); err != nil {
			return err
		}
	}
	r.Say("##vso[task.setvariable variable=" + r.Inputs["cacheHitVar"] + "]true")
	return nil
}

// connected refuses other service connections than the project has.
func (d *devops) connected(got, want string) error {
	if got != want {
		return fmt.Errorf("there is no service connection %q", got)
	}
	d.signedIn[want]++
	return nil
}

// azureCLI does what AzureCLI@2 does for a connection with workload identity.
func (d *devops) azureCLI(ctx context.Context, r *pipeline.TaskRun) error {
	if err := d.connected(r.Inputs["azureSubscription"], "azure-subscription"); err != nil {
		return err
	}
	return r.Bash(ctx, r.Inputs["inlineScript"], map[string]string{
		"AZURESUBSCRIPTION_CLIENT_ID": "client", "AZURESUBSCRIPTION_TENANT_ID": "tenant", "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection"})
}

// docker does what Docker@2 login does: a docker config in a folder of this
// job, in DOCKER_CONFIG, which some versions of the task make a secret.
func (d *devops) docker(_ context.Context, r *pipeline.TaskRun) error {
	if err := d.connected(r.Inputs["containerRegistry"], "acr-service-connection"); err != nil {
		return err
	}
	if r.Inputs["command"] != "login" {
		return fmt.Errorf("command %s", r.Inputs["command"])
	}
	dir := filepath.Join(r.Variable("Agent.TempDirectory"), "docker")
	auth := base64.StdEncoding.EncodeToString([]byte("ada:" + registryPassword))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	r.Say("##vso[task.setsecret]" + registryPassword)
	r.Say("##vso[task.setvariable variable=DOCKER_CONFIG;issecret=true]" + dir)
	return os.WriteFile(filepath.Join(dir, "config.json"), fmt.Appendf(nil, `{"auths": {%q: {"auth": %q}}}`, d.images, auth), 0o600)
}

// kubernetes does what Kubernetes@1 login does: a kubeconfig in KUBECONFIG.
func (d *devops) kubernetes(_ context.Context, r *pipeline.TaskRun) error {
	if err := d.connected(r.Inputs["kubernetesServiceEndpoint"], "aks-connection"); err != nil {
		return err
	}
	if r.Inputs["command"] != "login" || r.Inputs["connectionType"] != "Kubernetes Service Connection" {
		return fmt.Errorf("inputs %v", r.Inputs)
	}
	data, err := os.ReadFile(d.cluster.Kubeconfig)
	if err != nil {
		return err
	}
	path := filepath.Join(r.Variable("Agent.TempDirectory"), "kubeconfig")
	r.Say("##vso[task.setvariable variable=KUBECONFIG]" + path)
	return os.WriteFile(path, data, 0o600)
}

// wantStages compares how the stages ended; with all logs where they did not
// end so.
func (d *devops) wantStages(r pipeline.Result, run pipeline.Outcome, want map[string]pipeline.Outcome) {
	d.t.Helper()
	got := map[string]pipeline.Outcome{}
	for _, s := range r.Stages {
		got[s.Name] = s.Outcome
	}
	if diff := cmp.Diff(want, got); r.Outcome != run || diff != "" {
		for _, s := range r.Steps() {
			d.t.Logf("%s %s\n%s", s.Title, s.Outcome, s.Log)
		}
		d.t.Fatalf("the run %s, want %s; stages: %s", r.Outcome, run, diff)
	}
}

// outputs are those of a step, by their names.
func outputs(r pipeline.Result, stage, step string) map[string]string {
	found := map[string]string{}
	for _, j := range r.Stage(stage).Jobs {
		for name, value := range j.Outputs {
			if _, after, ok := strings.Cut("."+name, "."+step+"."); ok {
				found[after] = value
			}
		}
	}
	return found
}
