package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// diagnosed runs doctor with -o json and returns its exit code and what it found.
func (w *world) diagnosed(t *testing.T, args ...string) (int, diagnosis) {
	t.Helper()
	code, said := w.slipway(t.Context(), nil, append([]string{"doctor", "-o", "json"}, args...)...)
	var d diagnosis
	if err := json.Unmarshal([]byte(said[strings.Index(said, "{"):]), &d); err != nil {
		t.Fatalf("%v in %s", err, said)
	}
	return code, d
}

// about is the finding of a check, and of a subject where one is named.
func (d diagnosis) about(t *testing.T, check string, subject ...string) finding {
	t.Helper()
	for _, f := range d.Findings {
		if f.Check == check && (len(subject) == 0 || f.Subject == subject[0]) {
			return f
		}
	}
	t.Fatalf("no finding of %s %s in %+v", check, subject, d.Findings)
	return finding{}
}

func TestDoctorLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	code, d := w.diagnosed(t, "models:/iris@champion", "--image", w.vars["IMAGES"]+"/iris", "--to", "local://"+w.vars["ADDRESS"])
	if code != exitLive || !d.Works {
		t.Errorf("exit code %d: %+v", code, d)
	}
	for check, want := range map[string]string{"MLflow": "3.17", "model": "iris 1; may read and tag", "image registry": "may push and pull", "local target": "nothing serves", "clock": "within a minute"} {
		if f := d.about(t, check); f.Mark != works || !strings.Contains(f.Found, want) {
			t.Errorf("%s: %+v, want %q", check, f, want)
		}
	}
	version, err := w.client.Resolve(t.Context(), slipway.ModelRef{Name: "iris", Version: "1"})
	if err != nil || len(version.Tags) > 0 {
		t.Errorf("tags %v, %v", version.Tags, err)
	}
	if entries, err := os.ReadDir(filepath.Join(w.vars["HOME"], ".local")); err == nil {
		t.Errorf("the local target left %v", entries)
	}
}

// What takes too long is not waited for, and hides nothing else.
func TestDoctorDoesNotHang(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	hangs := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hangs.Close)
	w.vars["MLFLOW_TRACKING_URI"] = hangs.URL
	p := &program{getenv: w.getenv, story: newStory(io.Discard, w.getenv, nil)}
	t.Cleanup(p.story.close)
	p.connect = p.wire
	d, err := doctorCommand{Model: "models:/iris@champion", MLflow: hangs.URL, Image: w.vars["IMAGES"] + "/iris"}.doctor(p, &cli{})
	if err != nil {
		t.Fatal(err)
	}
	d.limit = 2 * time.Second
	found := diagnosis{Findings: d.examine(t.Context())}
	if f := found.about(t, "MLflow"); f.Mark != fails || f.Why != "no answer within 2s" {
		t.Errorf("%+v", f)
	}
	if f := found.about(t, "image registry"); f.Mark != works {
		t.Errorf("%+v", f)
	}
}

func TestDoctorIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	code, said := threeVersions(t).slipway(ctx, nil, "doctor", "models:/iris@champion")
	if code != exitInterrupted || !strings.Contains(said, "interrupted; nothing was changed") {
		t.Errorf("exit code %d: %s", code, said)
	}
}

func TestFailedSaysWhatWhyAndFix(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	for _, tt := range []struct {
		err  error
		want finding
	}{
		{(&slipway.Error{Op: "asking", Message: "what", Err: cause, Code: slipway.Invalid}).WithHint("fix"), finding{Found: "what", Why: "cause", Fix: "fix"}},
		{(&slipway.Error{Op: "asking", Message: "what", Code: slipway.Invalid}).WithHint("fix"), finding{Found: "what", Fix: "fix"}},
		{&slipway.Error{Op: "asking", Err: cause, Code: slipway.Unavailable}, finding{Found: "cause", Fix: lastResort(slipway.Unavailable)}},
		{cause, finding{Found: "cause", Fix: lastResort(slipway.Internal)}},
	} {
		tt.want.Check, tt.want.Subject, tt.want.Mark = "c", "s", fails
		if diff := cmp.Diff(tt.want, failed("c", "s", tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

// All exams use one connection to the registries, and so sign in once.
func TestDoctorConnectsOnce(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	p := &program{getenv: w.getenv, story: newStory(io.Discard, w.getenv, nil)}
	t.Cleanup(p.story.close)
	var connected atomic.Int32
	p.connect = func(s settings) (*ports, error) {
		connected.Add(1)
		return p.wire(s)
	}
	d, err := doctorCommand{Model: "models:/iris@champion", Image: w.vars["IMAGES"] + "/iris", To: "local://" + w.vars["ADDRESS"]}.doctor(p, &cli{})
	if err != nil {
		t.Fatal(err)
	}
	found := diagnosis{Findings: d.examine(t.Context())}
	if f := found.about(t, "local target"); f.Mark != works || connected.Load() != 1 {
		t.Errorf("%+v, connected %d times", f, connected.Load())
	}
}

// A page that cannot be written is a warning: what was found is on stdout.
func TestDoctorWithoutItsPage(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	w.vars["GITHUB_ACTIONS"], w.vars["GITHUB_STEP_SUMMARY"] = "true", t.TempDir()
	code, said := w.slipway(t.Context(), nil, "doctor", "models:/iris@champion", "--image", w.vars["IMAGES"]+"/iris", "--to", "local://"+w.vars["ADDRESS"])
	if code != exitLive || !strings.Contains(said, "none fails") || !strings.Contains(said, "::warning title=slipway::") {
		t.Errorf("exit code %d: %s", code, said)
	}
}
