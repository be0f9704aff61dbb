//go:build e2e

package e2e_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// faults are the ways in which a promoted version fails on the machine, though
// it was well when the image was built; see testdata/wrongserver.
var faults = map[string]string{ // to what is said of it
	"miscalculates": "golden prediction",
	"dies":          "out of flour",
	"dies-later":    "",
	"lies":          "dahlia",
	"nan":           "NaN",
	"mute":          "",
	"slow":          "",
	"never-ready":   "ready",
}

// Whatever is wrong with it, a bad version is taken back by itself: the one
// before serves and is verified, and everybody can read why.
func TestE2EABadVersionIsRolledBack(t *testing.T) {
	t.Parallel()
	for fault, said := range faults {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			r := newReal(t, "logistic", "forest")
			r.promote("champion", "1")
			r.outcome(0, "deploy", r.champion())
			r.promote("champion", "2")
			start := time.Now()
			got := r.want(3, []string{said, "slipway explain"}, "deploy", r.champion(), "--server", wrongServer(t, fault))
			t.Logf("%s: rolled back after %s", fault, time.Since(start).Round(10*time.Millisecond))
			r.answersLike("1", "logistic")
			record := r.record()
			if record.Current != nil || record.Live == nil || record.Live.Model.Version != "1" || len(record.Quarantine) != 1 {
				t.Errorf("the journal afterwards: %+v\n%s", record, got)
			}
			two := r.tags("2")
			if two["slipway.status"] != "rolled-back" || two["slipway.reason"] == "" || r.tags("1")["slipway.status"] != "live" {
				t.Errorf("tags: 1 %v, 2 %v", r.tags("1"), two)
			}
			r.want(0, []string{said, "fix"}, "explain", r.target())
		})
	}
}

// A bad promotion that is asked for again and again is one rollout, until
// somebody insists.
func TestE2EABadPromotionIsTriedOnce(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	r.promote("champion", "2")
	wrong := wrongServer(t, "miscalculates")
	if got := r.outcome(3, "deploy", r.champion(), "--server", wrong); got.Kind != "rolled-back" || got.Serving.Model.Version != "1" {
		t.Fatalf("%+v", got)
	}
	for range 20 {
		if got := r.outcome(0, "deploy", r.champion(), "--server", wrong); got.Kind != "quarantined" {
			t.Fatalf("%+v", got)
		}
	}
	if n := r.releasesOf("2"); n != 1 {
		t.Errorf("version 2 was rolled out %d times", n)
	}
	if got := r.outcome(3, "deploy", r.champion(), "--server", wrong, "--retry"); got.Kind != "rolled-back" {
		t.Errorf("with --retry: %+v", got)
	}
	if got := r.outcome(0, "deploy", r.champion(), "--retry"); got.Kind != "live" {
		t.Errorf("with --retry and a good server: %+v", got)
	}
	r.answersLike("2", "forest")
}

// Another promotion ends the quarantine of the one before.
func TestE2EAnotherPromotionEndsTheQuarantine(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest", "odds")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	r.promote("champion", "2")
	r.outcome(3, "deploy", r.champion(), "--server", wrongServer(t, "dies"))
	r.promote("champion", "3")
	if got := r.outcome(0, "deploy", r.champion()); got.Kind != "live" {
		t.Fatalf("%+v", got)
	}
	r.answersLike("3", "odds")
	r.promote("champion", "2")
	if got := r.outcome(0, "deploy", r.champion()); got.Kind != "live" {
		t.Errorf("promoted again after another one: %+v", got)
	}
	r.answersLike("2", "forest")
}

func TestE2EABadFirstReleaseIsRemoved(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic")
	got := r.want(1, []string{"removed", "nothing served before"}, "deploy", "models:/"+string(r.model)+"/1", "--server", wrongServer(t, "lies"))
	if r.record().Live != nil {
		t.Errorf("something is live\n%s", got)
	}
	if _, err := ask(fresh, r.address, nil); err == nil {
		t.Error("something answers")
	}
	if tags := r.tags("1"); tags["slipway.status"] != "removed" || !strings.Contains(tags["slipway.reason"], "golden") {
		t.Errorf("tags: %v", tags)
	}
}

func TestE2EMoveAliasBack(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	r.promote("champion", "2")
	r.outcome(3, "deploy", r.champion(), "--server", wrongServer(t, "dies"), "--move-alias")
	ref, err := slipway.ParseModelRef(r.champion())
	if err != nil {
		t.Fatal(err)
	}
	if v, err := r.client.Resolve(t.Context(), ref); err != nil || v.Version != "1" {
		t.Errorf("@champion points at %s, %v", v.Version, err)
	}
}

// Answers that the user expects and the model does not give stop the release
// before anything leaves the machine.
func TestE2EAWrongGoldenFilePushesNothing(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic")
	r.images = e2e.StartImageRegistry(t)
	r.image = r.images + "/iris"
	m := models(t)["logistic"]
	var answers []any
	if err := json.Unmarshal(m.Answers, &answers); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(r.home, "golden.json")
	write := func(answer any) {
		data, err := json.Marshal([]any{map[string]any{"request": map[string]any{"dataframe_records": m.Requests[:1]}, "answer": []any{answer}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("dahlia")
	r.refused(1, []string{"dahlia"}, "deploy", "models:/"+string(r.model)+"/1", "--golden", file)
	if got := catalog(t, r.images); got != `{"repositories":[]}` {
		t.Errorf("the image registry holds %s", got)
	}
	if _, err := os.Stat(filepath.Join(r.home, ".local", "state", "slipway", "local", r.address, "images")); err == nil {
		if entries, _ := os.ReadDir(filepath.Join(r.home, ".local", "state", "slipway", "local", r.address, "images")); len(entries) > 0 {
			t.Errorf("the target has images: %v", entries)
		}
	}
	write(answers[0])
	if got := r.outcome(0, "deploy", "models:/"+string(r.model)+"/1", "--golden", file); got.Kind != "live" || got.Release.Golden != slipway.Proved {
		t.Errorf("with right answers: %+v", got)
	}
	r.want(0, []string{"proved"}, "status", r.target())
}

// catalog is what an image registry says it holds.
func catalog(t *testing.T, host string) string {
	t.Helper()
	resp, err := http.Get("http://" + host + "/v2/_catalog")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(body))
}

// releasesOf counts the releases of a version in the target's history.
func (r *real) releasesOf(version slipway.Version) int {
	n := 0
	for _, release := range r.record().History {
		if release.Model.Version == version {
			n++
		}
	}
	return n
}
