//go:build e2e

package e2e_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A call says that a version was promoted, and it is live: validated, built,
// pushed, rolled out and verified in jobs that share no disk. The next version
// comes by hand, by the name of the model and its alias.
func TestE2EGitHubPromotion(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic", "forest")
	f.promote("champion", "1")
	first := f.live(f.happens("repository_dispatch", promoted(f.champion())), "1")
	f.comesToAnswer("1", "logistic")
	for _, text := range []string{string(f.model) + " 1 is live in production", "self-checked", "| +", "60 of 60 health checks"} {
		if s := first.Summary("deploy"); !strings.Contains(s, text) {
			t.Errorf("want %q in the summary:\n%s", text, s)
		}
	}
	if first.Said("deploy", "group") == "" || first.Said("deploy", "endgroup") == "" || first.Said("build", "add-mask") == "" {
		t.Errorf("nothing is folded, or masked\n%s", first)
	}
	f.promote("champion", "2")
	f.live(f.happens("workflow_dispatch", asked(map[string]string{"model": string(f.model), "alias": "champion"})), "2")
	f.comesToAnswer("2", "forest")
	again := f.happens("repository_dispatch", promoted(f.champion()))
	if again.code != 0 || again.pending("count") != "0" || again.Results()["validate"] != "" {
		t.Errorf("asked again, it did something\n%s", again)
	}
}

// live wants the run to have brought the version to its target.
func (f *forge) live(got workflowRun, version string) workflowRun {
	f.t.Helper()
	status, is := got.Output("deploy", "verify", "status"), got.Output("deploy", "verify", "model-version")
	if got.code != 0 || status != "live" || is != version || got.Results()["notify"] != "success" {
		f.t.Fatalf("version %s is not live: version %s is %q\n%s", version, is, status, got)
	}
	return got
}

// Whoever calls the release as a workflow learns what became of it. A version
// that answers wrongly is taken back, and the run fails and says why. Asked for
// again it is left alone, until somebody insists.
func TestE2EGitHubOutputsAndRollback(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic", "forest")
	f.promote("champion", "1")
	good := f.called()
	live := f.record().Live
	want := map[string]string{"image": live.Image.Ref(), "digest": string(live.Image.Digest), "model-version": "1", "release": string(live.ID),
		"status": "live", "rolled-back": "false", "url": "http://" + deployment + "." + f.namespace + ".svc:8000"}
	if d := cmp.Diff(want, good.outputs("after")); d != "" || good.code != 0 {
		t.Errorf("outputs: %s\n%s", d, good)
	}
	f.promote("champion", "2")
	bad := f.called("SLIPWAY_SERVER=" + wrongServer(t, "miscalculates"))
	f.comesToAnswer("1", "logistic")
	if o := bad.outputs("notify"); bad.code == 0 || o["status"] != "rolled-back" || o["rolled-back"] != "true" {
		t.Errorf("a bad version: exit code %d, %v\n%s", bad.code, o, bad)
	}
	for what, text := range map[string]string{"annotation": bad.Said("deploy", "error"), "summary": bad.Summary("deploy")} {
		if !strings.Contains(text, "golden prediction 1 differs") {
			t.Errorf("the %s does not say why: %q", what, text)
		}
	}
	if got := bad.Results()["notify"]; got != "success" {
		t.Errorf("notify ended with %q", got)
	}
	again := f.happens("schedule", aQuarter)
	if again.code != 0 || again.pending("count") != "0" {
		t.Errorf("a quarantined version is pending\n%s", again)
	}
	f.live(f.happens("workflow_dispatch", asked(map[string]string{"model": f.champion(), "retry": "true"})), "2")
	f.comesToAnswer("2", "forest")
}

// The schedule finds what nobody told about: of two models, the one that is
// promoted and not live.
func TestE2EGitHubSchedule(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic", "forest")
	f.cluster.Place(t, f.namespace, "other", 1)
	other := strings.Replace(f.target(), deployment, "other", 1)
	f.configure(entry{f.champion(), f.image, f.target()}, entry{"models:/" + string(f.model) + "/1", f.image, other})
	f.promote("champion", "2")
	f.outcome(0, "deploy", "models:/"+string(f.model)+"/1", "--to", other)
	got := f.live(f.happens("schedule", aQuarter), "2")
	if got.pending("count") != "1" || strings.Contains(got.pending("pending"), other) {
		t.Errorf("pending: %s", got.pending("pending"))
	}
	f.comesToAnswer("2", "forest")
}

// A newer version is promoted while an older one is on its way: the older one
// ends superseded, which is no failure, and the newer one's own run brings it.
func TestE2EGitHubIsSuperseded(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic", "forest", "odds")
	f.promote("champion", "1")
	f.outcome(0, "deploy", f.champion())
	f.promote("champion", "2")
	f.whenPushed(func() { f.promote("champion", "3") })
	older := f.happens("repository_dispatch", promoted(f.champion()))
	if status := older.Output("deploy", "rollout", "status"); older.code != 0 || status != "superseded" || older.Results()["notify"] != "success" {
		t.Errorf("the older one: status %q\n%s", status, older)
	}
	if said := older.Said("deploy", "warning"); !strings.Contains(said, " 3") {
		t.Errorf("nobody is told by what: %q", said)
	}
	f.comesToAnswer("1", "logistic")
	f.live(f.happens("repository_dispatch", promoted(f.champion())), "3")
	f.comesToAnswer("3", "odds")
}

// What whoever calls may write reaches no shell.
func TestE2EGitHubHostilePayload(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic")
	f.promote("champion", "1")
	trap := filepath.Join(f.Home, "trap")
	for name, payload := range map[string]any{
		"model":       promoted(`models:/x@champion"; touch ` + trap + `; echo "$(touch ` + trap + ")`touch " + trap + "`'; touch " + trap + "; '"),
		"flag":        promoted("--config=/etc/passwd"),
		"command":     promoted("models:/x@champion\n::add-path::/tmp\n::set-output name=count::1\n"),
		"environment": map[string]any{"client_payload": map[string]any{"environment": "production$(touch " + trap + ")"}},
	} {
		got := f.happens("repository_dispatch", payload)
		if got.code == 0 || got.Results()["validate"] != "" || got.pending("count") == "1" {
			t.Errorf("%s: it went on\n%s", name, got)
		}
		if _, err := os.Stat(trap); err == nil {
			t.Fatalf("%s: it ran as a script\n%s", name, got)
		}
	}
}

// whenPushed does something once, as the next image is about to be in the
// registry.
func (f *forge) whenPushed(do func()) {
	var once sync.Once
	f.door.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && forManifest(r) {
			once.Do(func() { f.door.set(nil); do() })
		}
		return false
	})
}
