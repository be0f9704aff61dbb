//go:build e2e

package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// A version that MLflow's own library logged and registered goes live when an
// alias points at it, answers what scikit-learn answers, and is replaced by
// the next one; the model registry says so.
func TestE2EPromotionByAlias(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	first := r.outcome(0, "deploy", r.champion())
	if first.Kind != "live" || first.Release.Golden != slipway.SelfChecked || first.Release.Image.Digest == "" {
		t.Errorf("the first release: %+v", first)
	}
	r.answersLike("1", "logistic")
	r.promote("champion", "2")
	second := r.want(0, []string{
		"Model validation passed\n", "Docker image built\n", "Image tag: " + r.image + ":2\n",
		"Pushed to " + r.images + "\n", "Health check passed\n", "Prediction tests successful\n",
	}, "deploy", r.champion())
	if !strings.HasPrefix(second.stdout, r.image+"@sha256:") {
		t.Errorf("stdout is not the image by digest\n%s", second)
	}
	r.answersLike("2", "forest")
	want := map[string]string{"slipway.status": "live", "slipway.image": strings.TrimSpace(second.stdout), "slipway.target": r.target(),
		"slipway.release": string(r.record().Live.ID), "slipway.reason": ""}
	if diff := cmp.Diff(want, r.tags("2")); diff != "" {
		t.Errorf("tags of version 2: %s", diff)
	}
	if got := r.tags("1"); got["slipway.status"] != "replaced" || got["slipway.image"] != first.Release.Image.Ref() {
		t.Errorf("tags of version 1: %v", got)
	}
	again := r.outcome(0, "deploy", r.champion())
	if again.Kind != "nothing-to-do" || again.Release.ID != r.record().Live.ID {
		t.Errorf("asked again: %+v", again)
	}
}

// Whatever scikit-learn answers, the target answers: classes, probabilities,
// numbers of a linear model and of gradient boosted trees.
func TestE2EEveryKindOfAnswer(t *testing.T) {
	t.Parallel()
	r := newReal(t, "odds", "ridge", "trees")
	for i, name := range r.names {
		version := slipway.Version(rune('1' + i))
		if got := r.outcome(0, "deploy", "models:/"+string(r.model)+"/"+string(version)); got.Kind != "live" {
			t.Fatalf("%s: %+v", name, got)
		}
		r.answersLike(string(version), name)
	}
}

func TestE2EPromotionByStageAndNumberAndDirectory(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	if err := r.client.Transition(t.Context(), r.model, "2", "Production"); err != nil {
		t.Fatal(err)
	}
	byStage := r.outcome(0, "deploy", "models:/"+string(r.model)+"/Production")
	if byStage.Kind != "live" || byStage.Release.Model.Version != "2" || !strings.Contains(byStage.Release.Reason, "Production") {
		t.Errorf("by stage: %+v", byStage)
	}
	r.answersLike("2", "forest")
	byNumber := r.outcome(0, "deploy", "models:/"+string(r.model)+"/1")
	if byNumber.Kind != "live" || byNumber.Release.Model.Version != "1" {
		t.Errorf("by number: %+v", byNumber)
	}
	r.answersLike("1", "logistic")
	byDirectory := r.outcome(0, "deploy", demoModel(t, 2), "--name", "iris")
	if byDirectory.Kind != "live" || !strings.HasPrefix(string(byDirectory.Release.Model.Version), "sha-") {
		t.Errorf("by directory: %+v", byDirectory)
	}
	if got := r.tags("1")["slipway.status"]; got != "replaced" && got != "live" {
		t.Errorf("version 1 is %q", got)
	}
}

// The same release, one process a step, as CI jobs run it: release.json is
// handed on, and from push on nothing else.
func TestE2EInSteps(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	r.promote("champion", "2")
	for _, step := range []struct {
		args []string
		said string
	}{
		{[]string{"extract", r.champion()}, ""},
		{[]string{"validate"}, "Model validation passed\n"},
		{[]string{"build"}, "Docker image built\n"},
		{[]string{"push"}, "Pushed to " + r.images + "\n"},
		{[]string{"rollout"}, ""},
	} {
		r.want(0, []string{step.said}, step.args...)
	}
	if got := r.record().Current; got == nil || got.Phase != slipway.Unverified || got.Model.Version != "2" {
		t.Errorf("after rollout: %+v", got)
	}
	if r.record().Live.Model.Version != "1" {
		t.Error("version 2 counts as live before it was verified")
	}
	elsewhere := filepath.Join(r.home, "elsewhere")
	if err := os.Mkdir(elsewhere, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(r.home, "release.json"), filepath.Join(elsewhere, "release.json")); err != nil {
		t.Fatal(err)
	}
	r.want(0, []string{"Health check passed\n", "Prediction tests successful\n"}, "verify", "--release", "elsewhere/release.json")
	r.answersLike("2", "forest")
	if got := r.tags("2")["slipway.status"]; got != "live" {
		t.Errorf("version 2 is tagged %q", got)
	}
	r.refused(2, []string{"slipway extract"}, "verify", "--release", "nowhere.json")
}

// A release in steps that another deploy overtook does not come back.
func TestE2EStepsAreSuperseded(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest", "odds")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	r.promote("champion", "2")
	for _, step := range [][]string{{"extract", r.champion()}, {"validate"}, {"build"}, {"push"}, {"rollout"}} {
		r.want(0, nil, step...)
	}
	if got := r.outcome(0, "deploy", "models:/"+string(r.model)+"/3"); got.Kind != "live" {
		t.Fatalf("the newer one: %+v", got)
	}
	if got := r.outcome(0, "verify"); got.Kind != "superseded" {
		t.Errorf("verify of the older one: %+v", got)
	}
	r.answersLike("3", "odds")
	if two, three := r.tags("2")["slipway.status"], r.tags("3")["slipway.status"]; two == "live" || three != "live" {
		t.Errorf("version 2 is tagged %q, version 3 %q", two, three)
	}
}

// What serves, what served and what a deploy would do can be looked at, and a
// target can be frozen, rolled back and ended.
func TestE2ELookingAndMinding(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	liveSince := time.Now()
	r.promote("champion", "2")
	var plans []struct {
		Would       string `json:"would"`
		UploadBytes int64  `json:"uploadBytes"`
	}
	r.json(&plans, "plan", r.champion())
	if len(plans) != 1 || plans[0].Would != "deploy" || plans[0].UploadBytes == 0 || plans[0].UploadBytes > 1<<20 {
		t.Errorf("a new version is a deploy of less than a megabyte, planned: %+v", plans)
	}
	r.answersLike("1", "logistic")
	if got := r.outcome(0, "deploy", r.champion()); got.Kind != "live" {
		t.Fatalf("%+v", got)
	}
	r.want(0, []string{string(r.model) + " 2", "2 of 2 ready", "self-checked"}, "status", r.target())
	r.want(0, []string{string(r.model) + " 1", string(r.model) + " 2", "ada"}, "history", r.target())
	at := r.want(0, []string{string(r.model) + " 1"}, "history", r.target(), "--at", liveSince.UTC().Format(time.RFC3339Nano))
	if strings.Contains(at.stdout, string(r.model)+" 2") {
		t.Errorf("at that time only version 1 served\n%s", at)
	}
	r.want(0, nil, "hold", r.target(), "--reason", "audit of the quarter")
	held := r.want(0, []string{"audit of the quarter", "slipway resume"}, "deploy", "models:/"+string(r.model)+"/1", "-o", "json")
	if !strings.Contains(held.stdout, `"held"`) {
		t.Errorf("deployed to a held target\n%s", held)
	}
	r.answersLike("2", "forest")
	r.want(0, nil, "resume", r.target())
	r.want(0, nil, "rollback", r.target(), "--reason", "it was slow")
	r.answersLike("1", "logistic")
	if one, two := r.tags("1")["slipway.status"], r.tags("2")["slipway.status"]; one != "live" || two != "rolled-back" {
		t.Errorf("after a rollback by hand version 1 is %q and version 2 is %q", one, two)
	}
	r.want(0, []string{"rolled back by hand"}, "explain", r.target())
	if got := r.outcome(0, "deploy", r.champion()); got.Kind != "quarantined" {
		t.Errorf("what was rolled back by hand came back: %+v", got)
	}
	if got := r.outcome(0, "recover", r.target()); got.Kind != "nothing-to-do" {
		t.Errorf("recover: %+v", got)
	}
	r.want(0, nil, "stop", r.target())
	if _, err := ask(fresh, r.address, nil); err == nil {
		t.Error("a stopped target answers")
	}
	if got := r.outcome(0, "deploy", "models:/"+string(r.model)+"/1"); got.Kind != "live" {
		t.Errorf("after stop: %+v", got)
	}
	r.answersLike("1", "logistic")
}

// Two environments of slipway.yaml, one after the other or one alone, with
// their own variables and secrets, which only the model servers see.
func TestE2EEnvironments(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	staging := newWorld(t, r.images, r.mlflow)
	yaml := fmt.Sprintf(`models:
  - model: %s
    image: %s
    environments:
      - name: staging
        target: %s
        env: {LOG_LEVEL: debug}
      - name: production
        target: %s
        after: staging
        env: {LOG_LEVEL: warning}
        secretEnv: [API_TOKEN]
`, r.champion(), r.image, staging.target(), r.target())
	staging.home = r.home
	if err := os.WriteFile(filepath.Join(r.home, "slipway.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	r.bare = true
	const secret = "s3cret-of-the-test"
	r.want(0, []string{"production waits: staging has not verified"}, "deploy", "--environment", "production")
	r.want(0, nil, "deploy", "--environment", "staging")
	r.refused(1, []string{"API_TOKEN"}, "deploy", "--environment", "production")
	r.env = append(r.env, "API_TOKEN="+secret)
	both := r.want(0, []string{"staging", "production"}, "deploy")
	r.answersLike("1", "logistic")
	if got, err := ask(fresh, staging.address, models(t)["logistic"].Requests); err != nil || got.version != "1" {
		t.Errorf("staging: %v, %v", got.version, err)
	}
	r.promote("champion", "2")
	r.want(0, nil, "deploy", "--environment", "staging")
	r.answersLike("1", "logistic")
	if got, err := ask(fresh, staging.address, models(t)["forest"].Requests); err != nil || got.version != "2" {
		t.Errorf("staging: %v, %v", got.version, err)
	}
	r.serversHave(2, map[string]string{"LOG_LEVEL": "warning", "API_TOKEN": secret})
	staging.serversHave(2, map[string]string{"LOG_LEVEL": "debug", "API_TOKEN": ""})
	r.nowhere(secret, both)
}
