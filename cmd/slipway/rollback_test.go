package main

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
)

// wrongModel plants iris 1's model file in every image of iris 3.
func (w *world) wrongModel(to *ports) {
	if to.target == nil {
		to.images = planted{imageRegistry: to.images, victim: "3", wrong: filepath.Join(w.vars["MODELS"], "iris-1", "model.skops")}
	}
}

func (w *world) deploy(alias string, more ...string) []string {
	return append([]string{"deploy", "models:/iris@" + alias, "--image", w.vars["IMAGES"] + "/iris", "--to", "local://" + w.vars["ADDRESS"]}, more...)
}

func (w *world) promote(t *testing.T, version slipway.Version) {
	t.Helper()
	if err := w.client.SetAlias(t.Context(), "iris", "champion", version); err != nil {
		t.Fatal(err)
	}
}

func (w *world) tag(t *testing.T, version slipway.Version, key string) string {
	t.Helper()
	v, err := w.client.Resolve(t.Context(), slipway.ModelRef{Name: "iris", Version: version})
	if err != nil {
		t.Fatal(err)
	}
	return v.Tags[key]
}

// A bad promotion is rolled back once, however often it is asked for, and
// everybody can read why.
func TestBadPromotionIsOneRollout(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	w.promote(t, "3")
	code, text := w.slipway(t.Context(), w.wrongModel, w.deploy("champion")...)
	if code != exitRolledBack {
		t.Fatalf("exit code %d, want %d\n%s", code, exitRolledBack, text)
	}
	for _, want := range []string{"golden prediction", "iris 1 serves and is verified", "slipway explain ", "--retry"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	for range 19 {
		if code, text := w.slipway(t.Context(), w.wrongModel, w.deploy("champion", "-o", "json")...); code != exitLive || !strings.Contains(text, `"kind": "quarantined"`) {
			t.Fatalf("exit code %d\n%s", code, text)
		}
	}
	if got := w.history(t); len(got) != 2 {
		t.Errorf("%d releases in the history, want 2", len(got))
	}
	if got := w.tag(t, "3", tagStatus); got != "rolled-back" {
		t.Errorf("status of iris 3 in the model registry: %q", got)
	}
	if got := w.tag(t, "3", tagReason); !strings.Contains(got, "golden prediction") {
		t.Errorf("reason in the model registry: %q", got)
	}
	_, text = w.slipway(t.Context(), nil, "explain", "local://"+w.vars["ADDRESS"])
	for _, want := range []string{"iris 3 on local://", "rolled back", "golden prediction", "serves now", "iris 1", "--retry"} {
		if !strings.Contains(text, want) {
			t.Errorf("explain: %q is missing in\n%s", want, text)
		}
	}
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion", "--retry")...); code != exitLive || !strings.Contains(text, "iris 3 is live") {
		t.Errorf("with --retry and nothing wrong: exit code %d\n%s", code, text)
	}
}

func (w *world) history(t *testing.T) []historyEntry {
	t.Helper()
	_, text := w.slipway(t.Context(), nil, "history", "local://"+w.vars["ADDRESS"], "-o", "json")
	var all []historyResult
	if err := json.Unmarshal([]byte(text), &all); err != nil || len(all) != 1 {
		t.Fatalf("%v in\n%s", err, text)
	}
	return all[0].Releases
}

func TestMovedAliasGoesBack(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	w.promote(t, "3")
	if code, text := w.slipway(t.Context(), w.wrongModel, w.deploy("champion", "--move-alias")...); code != exitRolledBack {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	v, err := w.client.Resolve(t.Context(), slipway.ModelRef{Name: "iris", Alias: "champion"})
	if err != nil || v.Version != "1" {
		t.Errorf("@champion points at version %s (%v), want 1", v.Version, err)
	}
}

// neverPasses finds every replica wrong, the old ones too.
type neverPasses struct{}

func (neverPasses) Verify(_ context.Context, o slipway.Observation, _ slipway.Release) slipway.Verdict {
	return slipway.Verdict{Problem: &slipway.Problem{Kind: "golden-differs", Message: "nothing is right"}}
}

func TestFailedWayBackNeedsAPerson(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	w.promote(t, "2")
	code, text := w.slipway(t.Context(), func(to *ports) { to.verifier = neverPasses{} }, w.deploy("champion")...)
	if code != exitNeedsPerson || !strings.Contains(text, "a person is needed") {
		t.Errorf("exit code %d, want %d\n%s", code, exitNeedsPerson, text)
	}
}

func TestNothingPromoted(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	if code, text := w.slipway(t.Context(), nil, w.deploy("nobody")...); code != exitFailed {
		t.Errorf("nothing serves: exit code %d, want %d\n%s", code, exitFailed, text)
	}
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	code, text := w.slipway(t.Context(), nil, w.deploy("nobody")...)
	if code != exitLive || !strings.Contains(text, "iris 1 goes on serving") {
		t.Errorf("something serves: exit code %d, want %d\n%s", code, exitLive, text)
	}
	if code, text := w.slipway(t.Context(), nil, w.deploy("nobody", "--strict")...); code != exitFailed {
		t.Errorf("--strict: exit code %d, want %d\n%s", code, exitFailed, text)
	}
}

// Secrets reach the model server and nothing else.
func TestSecretsAreNotRecorded(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	const secret = "s3cr3t-value-of-the-test"
	w.vars["TOKEN"] = secret
	code, text := w.slipway(t.Context(), nil, w.deploy("champion", "--secret-env", "TOKEN", "-o", "json")...)
	if code != exitLive || strings.Contains(text, secret) || !strings.Contains(text, `"TOKEN"`) {
		t.Errorf("exit code %d\n%s", code, text)
	}
	err := filepath.WalkDir(w.vars["HOME"], func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), secret) {
			t.Errorf("the secret is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A run that died before it told the model registry what it replaced leaves a
// version called live; the next release on the target says what is so.
func TestOneVersionIsCalledLive(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	for key, value := range map[string]string{tagStatus: "live", tagTarget: "local://" + w.vars["ADDRESS"]} {
		if err := w.client.SetTag(t.Context(), "iris", "1", key, value); err != nil {
			t.Fatal(err)
		}
	}
	w.promote(t, "2")
	if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
		t.Fatalf("exit code %d\n%s", code, text)
	}
	for version, want := range map[slipway.Version]string{"1": "replaced", "2": "live"} {
		if got := w.tag(t, version, tagStatus); got != want {
			t.Errorf("status of iris %s: %q, want %q", version, got, want)
		}
	}
}

// outOfReach is an image registry that nobody can reach.
type outOfReach struct{ imageRegistry }

func (outOfReach) File(context.Context, slipway.Image, string, int64) ([]byte, error) {
	return nil, slipway.Errorf(slipway.Unavailable, "reading the image", "connection refused")
}

func (outOfReach) Unpack(context.Context, slipway.Image, string, string) error {
	return slipway.Errorf(slipway.Unavailable, "pulling the image", "connection refused")
}

// Going back needs nobody: what the target goes back to is on its disk.
func TestRollbackWithoutTheImageRegistry(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	for _, version := range []slipway.Version{"1", "2"} {
		w.promote(t, version)
		if code, text := w.slipway(t.Context(), nil, w.deploy("champion")...); code != exitLive {
			t.Fatalf("exit code %d\n%s", code, text)
		}
	}
	down := func(to *ports) {
		if to.target == nil {
			to.images = outOfReach{to.images}
		}
	}
	code, text := w.slipway(t.Context(), down, "rollback", "local://"+w.vars["ADDRESS"])
	if code != exitLive || !strings.Contains(text, "iris 1") {
		t.Fatalf("exit code %d\n%s", code, text)
	}
}
