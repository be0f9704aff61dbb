//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/e2e/pipeline"
)

// allWell are the stages of a release that went live.
var allWell = map[string]pipeline.Outcome{"Validate": pipeline.Succeeded, "Build": pipeline.Succeeded, "Push": pipeline.Succeeded,
	"Deploy": pipeline.Succeeded, "Verify": pipeline.Succeeded, "Notify": pipeline.Succeeded}

// The pipeline as it is: what is promoted goes live, each stage on a machine of
// its own; then there is nothing to do, by itself or by name.
func TestE2EAzurePipeline(t *testing.T) {
	t.Parallel()
	d := newDevops(t, "logistic")
	d.promote("champion", "1")
	r := d.queued(t.Context(), nil, nil)
	d.wantStages(r, pipeline.Succeeded, allWell)
	d.comesToAnswer("1", "logistic")
	each := map[string]int{"azure-subscription": 5, "acr-service-connection": 5, "aks-connection": 3} // all stages but Notify; Build and Push ask nothing of the cluster
	if diff := cmp.Diff(each, d.signedIn); diff != "" {
		t.Errorf("sign-ins: %s", diff)
	}
	if deployed := r.Stage("Deploy").Jobs[0]; deployed.Environment != "production" {
		t.Errorf("deployed to the environment %q", deployed.Environment)
	}
	live := d.record().Live
	got := outputs(r, "Verify", "verify")
	want := map[string]string{"image": live.Image.Ref(), "digest": string(live.Image.Digest), "model_version": "1", "release": string(live.ID),
		"status": "live", "rolled_back": "false", "url": got["url"], "handover": got["handover"]}
	if diff := cmp.Diff(want, got); diff != "" || got["url"] == "" || got["handover"] == "" {
		t.Errorf("outputs of verify: %s", diff)
	}
	d.tells(r, "Model validation passed\n", "Docker image built\n", "Pushed to "+d.images+"\n", "Health check passed\n", "Prediction tests successful\n")
	d.summed(r, "verify", "is live")
	if live.Actor != "azure run 20261126.1" || live.RunURL != "https://dev.azure.com/ada/models/_build/results?buildId=7" {
		t.Errorf("released by %q, %q", live.Actor, live.RunURL)
	}
	r = d.queued(t.Context(), nil, nil)
	d.wantStages(r, pipeline.Succeeded, stagesAfter("Validate", pipeline.Succeeded, nil))
	if got := outputs(r, "Validate", "pending")["count"]; got != "0" || r.Step("extract").Outcome != pipeline.Skipped {
		t.Errorf("%s pending, extract %s", got, r.Step("extract").Outcome)
	}
	r = d.queued(t.Context(), map[string]string{"model": d.champion(), "retry": "true"}, nil)
	d.wantStages(r, pipeline.Succeeded, stagesAfter("Deploy", pipeline.Succeeded, map[string]pipeline.Outcome{"Notify": pipeline.Succeeded}))
	if got := outputs(r, "Deploy", "rollout")["status"]; got != "nothing-to-do" {
		t.Errorf("asked for by name: %q", got)
	}
}

// stagesAfter are the stages of a run that went as far as one, which ended so;
// and others that ended otherwise than skipped.
func stagesAfter(last string, outcome pipeline.Outcome, others map[string]pipeline.Outcome) map[string]pipeline.Outcome {
	all := map[string]pipeline.Outcome{}
	reached := false
	for _, name := range []string{"Validate", "Build", "Push", "Deploy", "Verify", "Notify"} {
		switch {
		case name == last:
			all[name], reached = outcome, true
		case reached:
			all[name] = pipeline.Skipped
		default:
			all[name] = pipeline.Succeeded
		}
	}
	for name, other := range others {
		all[name] = other
	}
	return all
}

// tells wants lines in the logs.
func (d *devops) tells(r pipeline.Result, lines ...string) {
	d.t.Helper()
	var log strings.Builder
	for _, s := range r.Steps() {
		log.WriteString(s.Log)
	}
	for _, line := range lines {
		if !strings.Contains(log.String(), line) {
			d.t.Errorf("nothing says %q in\n%s", line, log.String())
		}
	}
}

// summed wants a step to have a page of the run's summary that says so.
func (d *devops) summed(r pipeline.Result, step, said string) {
	d.t.Helper()
	if page := strings.Join(r.Step(step).Summaries, ""); !strings.Contains(page, said) || !strings.Contains(page, string(d.model)) {
		d.t.Errorf("want %q in the summary of %s\n%s", said, step, page)
	}
}

// broken serves version 1 and promotes version 2, which has a fault once it
// runs in the cluster.
func (d *devops) broken(fault string) {
	d.t.Helper()
	d.promote("champion", "1")
	d.wantStages(d.queued(d.t.Context(), nil, nil), pipeline.Succeeded, allWell)
	d.promote("champion", "2")
	d.group["SLIPWAY_SERVER"] = pipeline.Variable{Value: wrongServer(d.t, fault)}
}

// wentBack wants version 1 to serve as if nothing had been, and an error and a
// summary that say why.
func (d *devops) wentBack(r pipeline.Result, stage, step string) {
	d.t.Helper()
	d.comesToAnswer("1", "logistic")
	record := d.record()
	if record.Current != nil || record.Live == nil || record.Live.Model.Version != "1" || len(record.Quarantine) != 1 {
		d.t.Errorf("the journal afterwards: %+v", record)
	}
	got := outputs(r, stage, step)
	if got["status"] != "rolled-back" || got["rolled_back"] != "true" || got["model_version"] != "2" {
		d.t.Errorf("outputs of %s: %v", step, got)
	}
	issues := r.Step(step).Issues
	if len(issues) == 0 || issues[0].Type != "error" || !strings.Contains(issues[0].Message, "fix: ") {
		d.t.Errorf("issues of %s: %+v", step, issues)
	}
	d.summed(r, step, "rolled back")
	if tags := d.tags("2"); tags["slipway.status"] != "rolled-back" {
		d.t.Errorf("version 2 is tagged %v", tags)
	}
}

// A version that does not come up fails the stage Deploy: the one before
// serves, nothing is verified, and the next run leaves the bad one alone.
func TestE2EAzurePipelineDeployFails(t *testing.T) {
	t.Parallel()
	d := newDevops(t, "logistic", "forest")
	d.broken("miscalculates")
	r := d.queued(t.Context(), nil, nil)
	d.wantStages(r, pipeline.Failed, stagesAfter("Deploy", pipeline.Failed, map[string]pipeline.Outcome{"Notify": pipeline.Succeeded}))
	d.wentBack(r, "Deploy", "rollout")
	if r.Step("recover").Outcome != pipeline.Succeeded {
		t.Errorf("on: failure: %+v", r.Step("recover"))
	}
	again := d.queued(t.Context(), nil, nil)
	d.wantStages(again, pipeline.Succeeded, stagesAfter("Validate", pipeline.Succeeded, nil))
	d.tells(again, "quarantined")
}

// A version that answers wrongly once it is ready fails the stage Verify.
func TestE2EAzurePipelineVerifyFails(t *testing.T) {
	t.Parallel()
	d := newDevops(t, "logistic", "forest")
	d.broken("lies")
	r := d.queued(t.Context(), map[string]string{"model": "models:/" + string(d.model) + "/2"}, nil)
	d.wantStages(r, pipeline.Failed, stagesAfter("Verify", pipeline.Failed, map[string]pipeline.Outcome{"Notify": pipeline.Succeeded}))
	d.wentBack(r, "Verify", "verify")
}

// A run that is cancelled in the middle of the rollout leaves nothing half done.
func TestE2EAzurePipelineIsCancelled(t *testing.T) {
	t.Parallel()
	d := newDevops(t, "logistic", "forest")
	d.broken("never-ready")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := d.queued(ctx, nil, func(step, line string) {
		if step == "slipway rollout" && strings.Contains(line, "0 of 2 ready") {
			cancel()
		}
	})
	if !strings.Contains(r.Step("rollout").Log, "interrupted") {
		t.Errorf("slipway was not told\n%s", r.Step("rollout").Log)
	}
	// Where rollout had no time to go back all the way, recover does, and says so by its exit code.
	recovery := r.Step("recover")
	if recovery.Outcome != pipeline.Succeeded && !strings.Contains(recovery.Log, "was rolled back") {
		t.Errorf("recover %s\n%s", recovery.Outcome, recovery.Log)
	}
	if r.Outcome != pipeline.Canceled || r.Stage("Verify").Outcome != pipeline.Skipped {
		t.Errorf("the run %s\n%s", r.Outcome, r.Step("rollout").Log)
	}
	d.comesToAnswer("1", "logistic")
	if record := d.record(); record.Current != nil || record.Live.Model.Version != "1" {
		t.Errorf("the journal afterwards: %+v", record)
	}
}

// Azure Pipelines would take the pipeline, as far as its schema says; templates
// are in it, and the inputs of tasks.
func TestE2EAzureTakesThePipeline(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"next", "models:/iris@champion"} {
		expanded, err := pipeline.Expand("../azure-pipelines.yml", map[string]string{"model": model})
		if err != nil {
			t.Fatal(err)
		}
		if out, err := azureSchema(t, expanded); err != nil {
			t.Errorf("%s: %v\n%s", model, err, out)
		}
		for _, key := range []string{`"bash"`, `"kubernetesServiceEndpoint"`, `"dependsOn"`} {
			wrong := bytes.Replace(expanded, []byte(key), []byte(`"mistaken"`), 1)
			if out, err := azureSchema(t, wrong); err == nil {
				t.Errorf("the schema takes a pipeline in which %s is mistaken\n%s", key, out)
			}
		}
	}
}

func azureSchema(t *testing.T, expanded []byte) ([]byte, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "azure-pipelines.json")
	if err := os.WriteFile(file, expanded, 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.CommandContext(t.Context(), e2e.CheckJSONSchema(t), "--builtin-schema", "vendor.azure-pipelines", "--regex-variant", "nonunicode", file).CombinedOutput()
}

// A pickled model is turned into data where the image is built; the stage Push
// makes the same image of it on a machine where everything lies elsewhere.
func TestE2EAzurePipelinePickledModel(t *testing.T) {
	t.Parallel()
	d := newDevops(t)
	dir, m := saved(t, "pickle-1")
	delete(d.group, "SLIPWAY_PROVE")
	for name, value := range map[string]string{"SLIPWAY_NAME": string(d.model), "SLIPWAY_IMAGE": d.image, "SLIPWAY_TO": d.target()} {
		d.group[name] = pipeline.Variable{Value: value}
	}
	r := d.queued(t.Context(), map[string]string{"model": dir}, nil)
	d.wantStages(r, pipeline.Succeeded, allWell)
	d.tells(r, "native, ")
	got, err := ask(fresh, d.address, m.Requests)
	if err != nil {
		t.Fatal(err)
	}
	if diff := differsJSON(m.Answers, got.predictions); diff != "" {
		t.Error(diff)
	}
}
