package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
	"github.com/slipway-dev/slipway/rollout"
)

// listens stands in for those who are told: $LISTENER/slack, /github, and any
// other path, which takes everything; /broken takes nothing. What they are told
// goes to the file told, a line each.
func listens(ts *testscript.TestScript, _ bool, _ []string) {
	var mu sync.Mutex
	path := filepath.Join(ts.Getenv("WORK"), "told")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		old, _ := os.ReadFile(path) // at first there is none
		if err := os.WriteFile(path, append(old, r.URL.Path+" "+string(body)+"\n"...), 0o600); err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		switch {
		case r.URL.Path == "/broken":
			w.WriteHeader(http.StatusInternalServerError)
		case strings.HasPrefix(r.URL.Path, "/slack/"):
			fmt.Fprint(w, `{"ok":true,"channel":"C1","ts":"1700000000.000100"}`)
		case strings.HasPrefix(r.URL.Path, "/github/"):
			fmt.Fprint(w, `{"id":42}`)
		}
	}))
	ts.Defer(server.Close)
	ts.Setenv("LISTENER", server.URL)
}

// slow tells nothing until it is let go.
type slow struct{ free chan struct{} }

func (s slow) Name() string { return "slow" }

func (s slow) Tell(context.Context, notify.Message, string) (string, error) {
	<-s.free
	return "", errors.New("it was too late")
}

// The end of a release waits for nobody who is told of it; the end of the
// program does, for a time, and then says who was not told.
func TestNobodyWhoIsToldHoldsUpARelease(t *testing.T) {
	t.Parallel()
	s := slow{free: make(chan struct{})}
	t.Cleanup(func() { close(s.free) })
	var stderr strings.Builder
	p := &program{stdout: io.Discard, stderr: &stderr, getenv: none}
	p.story = newStory(p.stderr, none, nil)
	p.telling = &telling{herald: notify.NewHerald([]notify.Notifier{s}, time.Minute), ending: map[slipway.ReleaseID]bool{}}
	if err := p.concluded(rollout.Outcome{Kind: rollout.Live, Release: slipway.Release{ID: "01KAXX00000000000000000003"}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	began := time.Now()
	p.finishTelling(ctx)
	if took := time.Since(began); took < interruptedTelling || took > notify.Limit {
		t.Errorf("waited %s for an interrupted run", took)
	}
	if !strings.Contains(stderr.String(), "slow was not told: telling slow: it did not answer in time; see whether") {
		t.Errorf("said %q", stderr.String())
	}
}

func TestMessagesSayWhatTheSummarySays(t *testing.T) {
	t.Parallel()
	before := slipway.Release{ID: "1", Model: slipway.ModelVersion{Name: "iris", Version: "2"}}
	r := slipway.Release{
		ID: "2", Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Environment: "production", Target: "kubernetes://production/inference-service",
		Phase: slipway.RolledBack, Previous: &before, Created: time.Unix(1700000000, 0), Ended: time.Unix(1700000042, 0),
		Failure: &slipway.Failure{Step: "verify", Problem: slipway.Problem{Message: "a replica answered otherwise", Evidence: "got virginica", Hint: "slipway explain 2"}},
	}
	m := messageOf(rollout.OutcomeOf(r, &before))
	for what, pair := range map[string][2]string{
		"kind": {string(m.Kind), "rolled-back"}, "title": {m.Title, "iris 3 was rolled back; iris 2 serves in production"},
		"why": {m.Why, "verify: a replica answered otherwise"}, "evidence": {m.Evidence, "got virginica"}, "fix": {m.Fix, "slipway explain 2"},
		"url": {m.URL, "http://inference-service.production.svc:8000"}, "at": {m.At.String(), r.Ended.String()},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s: %q, want %q", what, pair[0], pair[1])
		}
	}
	if last := m.Facts[len(m.Facts)-1]; last.Name != "took" || last.Value != "42.0 s" {
		t.Errorf("last fact %v", last)
	}
}

// keeper keeps what it is told.
type keeper struct {
	mu   sync.Mutex
	told []notify.Message
}

func (k *keeper) Name() string { return "keeper" }

func (k *keeper) Tell(_ context.Context, m notify.Message, mark string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, m)
	return mark + "*", nil
}

// kinds returns the kinds of what was told, and forgets it.
func (k *keeper) kinds() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	var kinds []string
	for _, m := range k.told {
		kinds = append(kinds, string(m.Kind)+" "+string(m.Release.Model.Version))
	}
	k.told = nil
	return strings.Join(kinds, ", ")
}

// A whole life on a target, as those hear it who are told.
func TestWhatIsToldOfReleases(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	k := &keeper{}
	run := func(wrap func(*ports), code int, want string, args ...string) {
		t.Helper()
		got, text := w.run(t.Context(), wrap, func(p *program) {
			p.telling = &telling{herald: notify.NewHerald([]notify.Notifier{k}, 0), ending: map[slipway.ReleaseID]bool{}}
		}, args...)
		if told := k.kinds(); got != code || told != want {
			t.Errorf("%v: exit code %d, want %d; told %q, want %q\n%s", args, got, code, told, want, text)
		}
	}
	run(nil, exitLive, "begun 1, live 1", w.deploy("champion")...)
	run(nil, exitLive, "", w.deploy("champion")...)
	w.promote(t, "3")
	run(w.wrongModel, exitRolledBack, "begun 3, rolled-back 3", w.deploy("champion")...)
	run(nil, exitLive, "", w.deploy("champion")...) // quarantined, as a poll finds it
	w.promote(t, "2")
	run(nil, exitLive, "begun 2, live 2", w.deploy("champion")...)
	run(nil, exitLive, "live 1", "rollback", "local://"+w.vars["ADDRESS"])
	run(nil, exitLive, "", "hold", "local://"+w.vars["ADDRESS"])
	run(nil, exitLive, "", w.deploy("champion")...)
	run(nil, exitUsage, "", "deploy", "models:/iris@champion", "--to", "ftp://x")
}

func TestChannelsComeFromEnvironmentAndFile(t *testing.T) {
	t.Parallel()
	file := configNotify{Slack: configSlack{Channel: "#models"}, Email: configEmail{From: "a@example.com", To: []string{"b@example.com"}}, GitHub: true}
	for name, test := range map[string]struct {
		file configNotify
		vars map[string]string
		want string
	}{
		"nothing":                        {want: ""},
		"a file alone, as on a laptop":   {file: file, want: ""},
		"others' variables":              {vars: map[string]string{"GITHUB_TOKEN": "x", "SMTP_HOST": "mail.example.com"}, want: ""},
		"slack":                          {file: file, vars: map[string]string{"SLIPWAY_SLACK_TOKEN": "x"}, want: "slack"},
		"slack without a channel":        {vars: map[string]string{"SLIPWAY_SLACK_TOKEN": "x"}, want: "!slack"},
		"slack by webhook":               {vars: map[string]string{"SLIPWAY_SLACK_WEBHOOK": "https://hooks.slack.com/services/x"}, want: "slack"},
		"email":                          {file: file, vars: map[string]string{"SMTP_HOST": "mail.example.com", "SMTP_PORT": "465"}, want: "email"},
		"email at no port":               {file: file, vars: map[string]string{"SMTP_HOST": "mail.example.com", "SMTP_PORT": "x"}, want: "!email"},
		"email to others":                {vars: map[string]string{"SMTP_HOST": "h", "SLIPWAY_EMAIL_FROM": "a@b.c", "SLIPWAY_EMAIL_TO": "d@e.f, g@h.i"}, want: "email"},
		"teams and events":               {vars: map[string]string{"SLIPWAY_TEAMS_URL": "https://example.com/t", "SLIPWAY_EVENTS_URL": "https://example.com/e"}, want: "teams events"},
		"events with a wrong secret":     {vars: map[string]string{"SLIPWAY_EVENTS_URL": "https://example.com/e", "SLIPWAY_EVENTS_SECRET": "x"}, want: "!events"},
		"github, as a workflow has it":   {file: file, vars: map[string]string{"GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: "github"},
		"github where nobody asks":       {vars: map[string]string{"GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: ""},
		"github asked for by a variable": {vars: map[string]string{"SLIPWAY_GITHUB_DEPLOYMENTS": "true", "GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: "github"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told := newTelling(notifiers(test.file, func(name string) string { return test.vars[name] }))
			var got []string
			if told.herald != nil {
				got = told.herald.Names()
			}
			for _, n := range told.wrong {
				got = append(got, "!"+n.name)
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSecretsOfChannelsAreMasked(t *testing.T) {
	t.Parallel()
	masked := strings.Join(secrets(func(name string) string { return "value of " + name }), "\n")
	for _, name := range notifySecrets {
		if !strings.Contains(masked, "value of "+name) {
			t.Errorf("%s is not masked", name)
		}
	}
}

// doctor says of each channel that is asked for whether it would work, and
// nothing of the others.
func TestDoctorOfChannels(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"SLIPWAY_TEAMS_URL": "https://x.logic.azure.com/secret-path", "SLIPWAY_EVENTS_URL": "ftp://x/secret-path"}
	d := &doctor{p: &program{getenv: func(name string) string { return vars[name] }}, notify: configNotify{Slack: configSlack{Channel: "#models"}}}
	want := map[string]standing{"slack": noted, "teams": works, "events": fails}
	got := map[string]standing{}
	for _, f := range d.channels(t.Context()) {
		got[f.Subject] = f.Mark
		if text := fmt.Sprint(f); strings.Contains(text, "secret-path") || f.Mark != works && f.Fix == "" {
			t.Errorf("%+v", f)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !slices.ContainsFunc(d.exams(), func(e exam) bool { return e.name == "notifications" }) {
		t.Error("doctor does not look at them")
	}
}
