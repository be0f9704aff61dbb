//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// The workflow that waits for promotions, and one of somebody who calls the
// release and goes on with what it puts out. act ends with a called workflow
// that fails, and runs no job after it: so the release, too, tells what it puts
// out.
const (
	promotionWorkflow = ".github/workflows/deploy-on-model-promotion.yml"
	callingWorkflow   = ".github/workflows/calling.yml"
)

const calling = `on: {workflow_dispatch: }
jobs:
  release:
    uses: ./.github/workflows/release-model.yml
    with: {model: %q}
    permissions: {contents: read, id-token: write}
    secrets: inherit
  after:
    needs: release
    if: always()
    runs-on: ubuntu-latest
    steps:
      - id: told
        env: {OUTPUTS: "${{ toJSON(needs.release.outputs) }}"}
        run: printf 'outputs<<END\n%%s\nEND\n' "$OUTPUTS" >> "$GITHUB_OUTPUT"
`

// forge is a repository on GitHub that releases a model to a Deployment.
type forge struct {
	*clustered
	*e2e.GitHub
}

// newForge returns a repository whose one model has an environment production.
func newForge(t testing.TB, versions ...string) *forge {
	t.Helper()
	f := &forge{clustered: newClustered(t, 2, versions...), GitHub: e2e.NewGitHub(t)}
	f.configure(entry{f.champion(), f.image, f.target()})
	f.Write(callingWorkflow, fmt.Sprintf(calling, f.champion()))
	f.tells()
	kubeconfig, err := os.ReadFile(f.cluster.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	f.Secrets = map[string]string{
		"KUBECONFIG": string(kubeconfig), "GITHUB_TOKEN": "planted-token-of-github", "ACR_PASSWORD": "planted-password-of-the-image-registry",
		"MLFLOW_TRACKING_USERNAME": "ada", "MLFLOW_TRACKING_PASSWORD": "planted-password-of-mlflow",
	}
	f.Variables = map[string]string{"MLFLOW_TRACKING_URI": f.mlflow, "ACR_LOGIN_SERVER": f.images, "ACR_USERNAME": "ada"}
	f.Env = append(f.Env, "SLIPWAY_PROVE=off")
	return f
}

// tells has the job notify put out the outputs of the deployment.
func (f *forge) tells() {
	f.t.Helper()
	const path, run = ".github/workflows/release-model.yml", "run: slipway notify"
	data, err := os.ReadFile(filepath.Join(f.Dir, path))
	if err != nil || strings.Count(string(data), run) != 1 {
		f.t.Fatalf("%s: %v\n%s", path, err, data)
	}
	f.Write(path, strings.Replace(string(data), run, `id: told
        env: {OUTPUTS: "${{ toJSON(needs.deploy.outputs) }}"}
        run: |
          printf 'outputs<<END\n%s\nEND\n' "$OUTPUTS" >> "$GITHUB_OUTPUT"
          slipway notify`, 1))
}

// entry is one model of slipway.yaml.
type entry struct{ model, image, target string }

func (f *forge) configure(models ...entry) {
	f.t.Helper()
	text := "models:\n"
	for _, m := range models {
		text += fmt.Sprintf("  - model: %s\n    image: %s\n    environments: [{name: production, target: %q}]\n", m.model, m.image, m.target)
	}
	f.Write("slipway.yaml", text)
}

// workflowRun is one run of the workflow, to its end.
type workflowRun struct {
	e2e.ActLog
	code   int
	took   time.Duration
	stderr string
}

func (r workflowRun) String() string {
	return fmt.Sprintf("act: exit code %d after %s\n%s%s", r.code, r.took.Round(time.Millisecond), r.ActLog, r.stderr)
}

// pending is what the workflow found to be promoted and not live.
func (r workflowRun) pending(name string) string { return r.Output("promoted", "pending", name) }

// outputs are those that a job sees of the job it needs: "after" of the called
// workflow, "notify" of the deployment.
func (r workflowRun) outputs(job string) (outputs map[string]string) {
	if err := json.Unmarshal([]byte(r.Output(job, "told", "outputs")), &outputs); err != nil {
		return map[string]string{"error": err.Error()}
	}
	return outputs
}

// happens runs the workflow of promotions for the event.
func (f *forge) happens(event string, payload any) workflowRun {
	f.t.Helper()
	return f.runs(nil, promotionWorkflow, event, payload)
}

// called runs the workflow that calls the release, on a machine with these
// variables too.
func (f *forge) called(env ...string) workflowRun {
	f.t.Helper()
	return f.runs(nil, callingWorkflow, "workflow_dispatch", asked(nil), append(env, "PATH="+f.slowToFail()+":"+os.Getenv("PATH"))...)
}

// slowToFail is a folder with a shell that takes its time to fail: act closes
// the terminal of a step that failed at once, and what it has not read by then
// is lost.
func (f *forge) slowToFail() string {
	f.t.Helper()
	dir := filepath.Join(f.Home, "bin")
	bash, err := exec.LookPath("bash")
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		script := "#!/bin/sh\n" + bash + ` "$@" || { code=$?; sleep 0.3; exit $code; }` + "\n"
		err = os.WriteFile(filepath.Join(dir, "bash"), []byte(script), 0o700)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	return dir
}

// runs runs a workflow, which is cancelled when the channel says so, as with
// Ctrl-C.
func (f *forge) runs(now <-chan struct{}, workflow, event string, payload any, env ...string) workflowRun {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	cmd := f.Command(ctx, workflow, event, payload)
	cmd.Env = append(cmd.Env, env...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) } // it says where it hangs
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	go func() {
		select {
		case <-now:
			_ = cmd.Process.Signal(os.Interrupt)
		case <-ctx.Done():
		}
	}()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		f.t.Fatal(err)
	}
	return f.read(cmd, stdout.String(), stderr.String(), time.Since(start))
}

func (f *forge) read(cmd *exec.Cmd, stdout, stderr string, took time.Duration) workflowRun {
	f.t.Helper()
	log, err := e2e.ReadAct(stdout)
	if err != nil {
		f.t.Error(err)
	}
	f.nothingPlanted(log, stdout, stderr)
	return workflowRun{log, cmd.ProcessState.ExitCode(), took, stderr}
}

// nothingPlanted wants no secret in what was said, but where the runner is told
// to mask it.
func (f *forge) nothingPlanted(log e2e.ActLog, stdout, stderr string) {
	f.t.Helper()
	said := stderr
	for i, line := range strings.SplitAfter(stdout, "\n") {
		if i >= len(log) || log[i].Command != "add-mask" {
			said += line
		}
	}
	for name, value := range f.Secrets {
		if name == "KUBECONFIG" {
			_, value, _ = strings.Cut(value, "client-key-data:")
			value, _, _ = strings.Cut(strings.TrimSpace(value), "\n")
		}
		if len(value) > 8 && strings.Contains(said, value) {
			f.t.Errorf("the secret %s was said", name)
		}
	}
}

// promoted is the payload that says that a version was promoted.
func promoted(model string) any {
	return map[string]any{"action": "model-promoted", "client_payload": map[string]any{"model": model, "environment": "production"}}
}

// asked is the payload of somebody who presses the button.
func asked(inputs map[string]string) any { return map[string]any{"inputs": inputs} }

// aQuarter is the payload of the schedule.
var aQuarter = map[string]any{"schedule": "*/15 * * * *"}
