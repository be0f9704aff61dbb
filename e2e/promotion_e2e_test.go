//go:build e2e

package e2e_test

import (
	"strings"
	"testing"

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
