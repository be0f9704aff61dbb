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
	"testing/synctest"
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
	synctest.Test(t, func(t *testing.T) {
		s := slow{free: make(chan struct{})}
		defer close(s.free)
		var stderr strings.Builder
		p := &program{stdout: io.Discard, stderr: &stderr, getenv: none}
		p.story = newStory(p.stderr, none, nil)
		p.telling = tellingTo(s)
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errInterrupted)
		began := time.Now()
		p.tellEnd(rollout.Outcome{Kind: rollout.Live, Release: slipway.Release{ID: "01KAXX00000000000000000003"}})
		if took := time.Since(began); took > 0 {
			t.Errorf("the release was held up for %s", took)
		}
		p.finishTelling(ctx)
		if took := time.Since(began); took != interruptedTelling {
			t.Errorf("waited %s for an interrupted run, want %s", took, interruptedTelling)
		}
		p.story.close()
		if !strings.Contains(stderr.String(), "slow was not told: telling slow: it did not answer in time; see whether") {
			t.Errorf("said %q", stderr.String())
		}
	})
}

func tellingTo(channels ...notify.Notifier) *telling {
	return &telling{herald: notify.NewHerald(channels, notify.Limit), begun: map[slipway.ReleaseID]bool{}}
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
			p.telling = tellingTo(k)
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
	w.vars["SLIPWAY_CONFIG"] = w.twoEnvironments(t)
	run(nil, exitLive, "begun 2, live 2, begun 2, live 2", "deploy") // each as it ends, not when the last one has
}

// twoEnvironments is a slipway.yaml that brings iris to both addresses.
func (w *world) twoEnvironments(t *testing.T) string {
	t.Helper()
	third, err := freeAddresses(1)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(w.vars["HOME"], "two.yaml")
	text := fmt.Sprintf(`
models:
  - model: models:/iris@champion
    image: %s/iris
    environments:
      - {name: staging, target: "local://%s"}
      - {name: production, target: "local://%s"}
`, w.vars["IMAGES"], w.vars["ADDRESS2"], third[0])
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// late is a journal whose release waits for its verification no longer: the
// job that should have made it is dead.
type late struct{ slipway.Journal }

func (l late) Load(ctx context.Context) (slipway.Record, error) {
	r, err := l.Journal.Load(ctx)
	if r.Current != nil && r.Current.Phase == slipway.Unverified {
		current := *r.Current
		current.Deadline = time.Now()
		r.Current = &current
	}
	return r, err
}

// What recover ends, it tells, and hands on that it has: to the message that
// the rollout began, and the last job, on another machine, tells it no more.
func TestWhatRecoverTells(t *testing.T) {
	t.Parallel()
	w := threeVersions(t)
	output := filepath.Join(w.vars["HOME"], "output")
	w.vars["SLIPWAY_RELEASE"] = filepath.Join(w.vars["HOME"], "release.json")
	run := func(wrap func(*ports), want string, args ...string) {
		t.Helper()
		k := &keeper{}
		code, text := w.run(t.Context(), wrap, func(p *program) { p.telling = tellingTo(k) }, args...)
		if told := k.kinds(); code != exitLive || told != want {
			t.Fatalf("%v: exit code %d; told %q, want %q\n%s", args, code, told, want, text)
		}
	}
	run(nil, "", "extract", "models:/iris@champion", "--image", w.vars["IMAGES"]+"/iris", "--to", "local://"+w.vars["ADDRESS"])
	for _, step := range []string{"validate", "build", "push"} {
		run(nil, "", step)
	}
	run(nil, "begun 1", "rollout")
	w.vars["GITHUB_ACTIONS"], w.vars["GITHUB_OUTPUT"] = "true", output
	run(func(to *ports) {
		if to.journal != nil {
			to.journal = late{to.journal}
		}
	}, "live 1", "recover")
	run(nil, "", "notify") // on the same machine, from release.json
	w.vars["SLIPWAY_HANDOVER"] = handoverIn(t, output)
	w.vars["SLIPWAY_RELEASE"] = filepath.Join(w.vars["HOME"], "elsewhere.json")
	r, err := unpackHandover(w.vars["SLIPWAY_HANDOVER"])
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(map[string]string{"keeper": "**", "keeper/ended": "live"}, r.Told); d != "" {
		t.Errorf("handed on (-want +got):\n%s", d)
	}
	run(nil, "", "notify")
	r.Told = nil
	if w.vars["SLIPWAY_HANDOVER"], err = packHandover(r); err != nil {
		t.Fatal(err)
	}
	w.vars["SLIPWAY_RELEASE"] = filepath.Join(w.vars["HOME"], "third.json")
	run(nil, "live 1", "notify")
}

// handoverIn is the last handover among what a step has put out.
func handoverIn(t *testing.T, output string) string {
	t.Helper()
	text, err := os.ReadFile(output)
	if err != nil {
		t.Fatal(err)
	}
	lines, last := strings.Split(string(text), "\n"), ""
	for i, line := range lines {
		if strings.HasPrefix(line, "handover<<") {
			last = lines[i+1]
		}
	}
	return last
}

// Each way a release may end, and whom else it ended: what people hear of it.
func TestWhatIsToldOfEnds(t *testing.T) {
	t.Parallel()
	release := func(version slipway.Version, phase slipway.Phase) slipway.Release {
		before := slipway.Release{ID: "0", Model: slipway.ModelVersion{Name: "iris", Version: "0"}}
		return slipway.Release{ID: slipway.ReleaseID("id-" + version), Model: slipway.ModelVersion{Name: "iris", Version: version}, Phase: phase, Previous: &before}
	}
	ended := func(phase slipway.Phase) rollout.Outcome { return rollout.OutcomeOf(release("3", phase), nil) }
	quarantined := rollout.Outcome{Kind: rollout.Quarantined, Release: release("3", slipway.RolledBack)}
	interrupted := rollout.Outcome{Kind: rollout.Failed, Interrupted: true, Release: release("3", slipway.Refused)}
	recovered, marked := release("2", slipway.RolledBack), interrupted
	marked.Release.Told = map[string]string{"keeper": "C1/1.1"}
	for name, tt := range map[string]struct {
		out   rollout.Outcome
		ci    bool
		begun slipway.ReleaseID
		want  string
	}{
		"a person is needed":                             {out: ended(slipway.Broken), want: "person-needed 3"},
		"removed":                                        {out: ended(slipway.Removed), want: "removed 3"},
		"overtaken":                                      {out: ended(slipway.Overtaken), want: "superseded 3"},
		"undone by hand":                                 {out: ended(slipway.Undone), want: "live 3"},
		"handed on":                                      {out: ended(slipway.Unverified)},
		"left on its way":                                {out: ended(slipway.RollingOut), want: "unfinished 3"},
		"quarantined, as a poll finds it":                {out: quarantined},
		"quarantined, in a pipeline":                     {out: quarantined, ci: true, want: "quarantined 3"},
		"quarantined, and its release forgotten":         {out: rollout.Outcome{Kind: rollout.Quarantined, Message: "iris 3 is quarantined"}, ci: true, want: "quarantined "},
		"a poll tidies up as well":                       {out: rollout.Outcome{Kind: rollout.Quarantined, Release: quarantined.Release, Recovered: &recovered}, want: "rolled-back 2"},
		"nothing but tidying up":                         {out: rollout.Outcome{Kind: rollout.Nothing, Recovered: &recovered}, want: "rolled-back 2"},
		"tidying up first":                               {out: rollout.Outcome{Kind: rollout.Live, Release: release("3", slipway.Verified), Recovered: &recovered}, want: "rolled-back 2, live 3"},
		"recover":                                        {out: rollout.Outcome{Kind: rollout.RolledBack, Release: recovered, Recovered: &recovered}, want: "rolled-back 2"},
		"two left behind":                                {out: rollout.Outcome{Kind: rollout.Live, Release: release("3", slipway.Verified), Overtaken: []slipway.Release{release("1", slipway.Overtaken), release("2", slipway.Overtaken)}}, want: "superseded 1, superseded 2, live 3"},
		"the last one left behind is it":                 {out: rollout.Outcome{Kind: rollout.Superseded, Release: release("2", slipway.Overtaken), Overtaken: []slipway.Release{release("1", slipway.Overtaken), release("2", slipway.Overtaken)}}, want: "superseded 1, superseded 2"},
		"interrupted before anything was told":           {out: interrupted},
		"interrupted after it was told to be on its way": {out: interrupted, begun: "id-3", want: "failed 3"},
		"interrupted where another step has told that":   {out: marked, want: "failed 3"},
		"no release":                                     {out: rollout.Outcome{Kind: rollout.Failed, Message: "the cluster cannot be reached"}},
		"held":                                           {out: rollout.Outcome{Kind: rollout.Held, Release: release("3", slipway.Pushing)}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := &keeper{}
			p := &program{stderr: io.Discard, getenv: none, telling: tellingTo(k)}
			if tt.ci {
				p.ci = newRunner(io.Discard, func(name string) string { return when(name == "GITHUB_ACTIONS", "true") })
			}
			p.story = newStory(p.stderr, none, nil)
			p.telling.begun[tt.begun] = true
			p.tellEnd(tt.out)
			p.finishTelling(t.Context())
			p.story.close()
			if got := k.kinds(); got != tt.want {
				t.Errorf("told %q, want %q", got, tt.want)
			}
		})
	}
}

// A status is of the step that had it. How a release ended that another step
// has ended, the release says.
func TestStatusAndRelease(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		status rollout.Kind
		phase  slipway.Phase
		want   bool
	}{
		{"", slipway.Pushing, false},
		{rollout.Failed, slipway.Pushing, true},
		{rollout.Unfinished, slipway.Unverified, true},
		{rollout.Failed, slipway.RolledBack, false},
		{rollout.Unfinished, slipway.Verified, false},
		{rollout.Unverified, slipway.RolledBack, false},
		{rollout.RolledBack, slipway.RolledBack, false},
		{rollout.Quarantined, slipway.RolledBack, true},
		{rollout.Held, slipway.Verified, true},
		{rollout.Nothing, slipway.Verified, true},
	} {
		if got := outvotes(tt.status, rollout.OutcomeOf(slipway.Release{Phase: tt.phase, Previous: &slipway.Release{}}, nil)); got != tt.want {
			t.Errorf("status %q, release %s: %v, want %v", tt.status, tt.phase, got, tt.want)
		}
	}
}

func TestChannelsComeFromEnvironmentAndFile(t *testing.T) {
	t.Parallel()
	file := configNotify{Slack: configSlack{Channel: "#models"}, Email: configEmail{From: "a@example.com", To: []string{"b@example.com"}}, GitHub: true}
	for name, test := range map[string]struct {
		file configNotify
		vars map[string]string
		want string
	}{
		"nothing":                               {want: ""},
		"a file alone, as on a laptop":          {file: file, want: ""},
		"others' variables":                     {vars: map[string]string{"GITHUB_TOKEN": "x", "SMTP_HOST": "mail.example.com"}, want: ""},
		"slack":                                 {file: file, vars: map[string]string{"SLIPWAY_SLACK_TOKEN": "x"}, want: "slack"},
		"slack without a channel":               {vars: map[string]string{"SLIPWAY_SLACK_TOKEN": "x"}, want: "!slack"},
		"slack by webhook":                      {vars: map[string]string{"SLIPWAY_SLACK_WEBHOOK": "https://hooks.slack.com/services/x"}, want: "slack"},
		"email":                                 {file: file, vars: map[string]string{"SMTP_HOST": "mail.example.com", "SMTP_PORT": "465"}, want: "email"},
		"email at no port":                      {file: file, vars: map[string]string{"SMTP_HOST": "mail.example.com", "SMTP_PORT": "x"}, want: "!email"},
		"email to others":                       {vars: map[string]string{"SMTP_HOST": "h", "SLIPWAY_EMAIL_FROM": "a@b.c", "SLIPWAY_EMAIL_TO": "d@e.f, g@h.i"}, want: "email"},
		"teams and events":                      {vars: map[string]string{"SLIPWAY_TEAMS_URL": "https://example.com/t", "SLIPWAY_EVENTS_URL": "https://example.com/e"}, want: "teams events"},
		"events with a wrong secret":            {vars: map[string]string{"SLIPWAY_EVENTS_URL": "https://example.com/e", "SLIPWAY_EVENTS_SECRET": "x"}, want: "!events"},
		"github, as a workflow has it":          {file: file, vars: map[string]string{"GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: "github"},
		"github asked for by what is no answer": {file: file, vars: map[string]string{"SLIPWAY_GITHUB_DEPLOYMENTS": "yes"}, want: "!github"},
		"github forbidden by a variable":        {file: file, vars: map[string]string{"SLIPWAY_GITHUB_DEPLOYMENTS": "false", "GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: ""},
		"github where nobody asks":              {vars: map[string]string{"GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: ""},
		"github asked for by a variable":        {vars: map[string]string{"SLIPWAY_GITHUB_DEPLOYMENTS": "true", "GITHUB_TOKEN": "x", "GITHUB_REPOSITORY": "a/b", "GITHUB_SHA": "c"}, want: "github"},
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

// What says yes or no in other words is not passed over.
func TestGitHubDeploymentsAreAskedForInOneWay(t *testing.T) {
	t.Parallel()
	n := githubFrom(configNotify{}, func(name string) string { return when(name == "SLIPWAY_GITHUB_DEPLOYMENTS", "yes") })
	if !n.usable() || slipway.CodeOf(n.err) != slipway.Invalid || !strings.Contains(slipway.HintOf(n.err), "true or false") {
		t.Errorf("%+v, fix: %s", n, slipway.HintOf(n.err))
	}
}

// A release that the relay makes has the token with which it makes deployments,
// and none of the relay's other secrets.
func TestReleasesOfTheRelayHaveTheirToken(t *testing.T) {
	for _, name := range []string{"GITHUB_TOKEN", "GH_TOKEN", "SLIPWAY_WEBHOOK_SECRET"} {
		t.Setenv(name, "planted")
	}
	r, err := newRunStarter(relayCommand{}, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range r.environ {
		if strings.HasSuffix(line, "=planted") {
			got = append(got, line)
		}
	}
	if strings.Join(got, " ") != "GITHUB_TOKEN=planted" {
		t.Errorf("it has %q", got)
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
