package notify_test

import (
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

func TestSettings(t *testing.T) {
	t.Parallel()
	for name, made := range map[string]func() error{
		"SLIPWAY_TEAMS_URL http":       func() error { _, err := notify.NewTeams("http://example.com/x"); return err },
		"SLIPWAY_TEAMS_URL no address": func() error { _, err := notify.NewTeams("::"); return err },
		"SLIPWAY_TEAMS_URL file":       func() error { _, err := notify.NewTeams("file:///etc/passwd"); return err },
		"SLIPWAY_TEAMS_URL password":   func() error { _, err := notify.NewTeams("https://a:b@example.com"); return err },
		"Workflows":                    func() error { _, err := notify.NewTeams("https://acme.webhook.office.com/webhookb2/x"); return err },
		"SLIPWAY_EVENTS_URL":           func() error { _, err := notify.NewEvents("", ""); return err },
		"SLIPWAY_EVENTS_SECRET whsec":  func() error { _, err := notify.NewEvents("https://example.com", "hunter2"); return err },
		"openssl":                      func() error { _, err := notify.NewEvents("https://example.com", "whsec_c2hvcnQ="); return err },
		"SLIPWAY_SLACK_CHANNEL":        func() error { _, err := notify.NewSlack(notify.SlackConfig{Token: "x"}); return err },
		"SLIPWAY_SLACK_TOKEN":          func() error { _, err := notify.NewSlack(notify.SlackConfig{Channel: "x"}); return err },
		"SLIPWAY_SLACK_WEBHOOK": func() error {
			_, err := notify.NewSlack(notify.SlackConfig{Webhook: "http://hooks.slack.com/x"})
			return err
		},
		"GITHUB_TOKEN": func() error { _, err := notify.NewGitHub(notify.GitHubConfig{}); return err },
		"GITHUB_REPOSITORY": func() error {
			_, err := notify.NewGitHub(notify.GitHubConfig{Token: "x", Repository: "a/b/c"})
			return err
		},
		"OWNER/NAME": func() error {
			_, err := notify.NewGitHub(notify.GitHubConfig{Token: "x", Repository: "../x"})
			return err
		},
		"GITHUB_SHA": func() error {
			_, err := notify.NewGitHub(notify.GitHubConfig{Token: "x", Repository: "a/b"})
			return err
		},
		"SMTP_HOST":        func() error { _, err := notify.NewEmail(notify.EmailConfig{}); return err },
		"SLIPWAY_EMAIL_TO": func() error { _, err := notify.NewEmail(notify.EmailConfig{Host: "x"}); return err },
		"SLIPWAY_EMAIL_FROM": func() error {
			_, err := notify.NewEmail(notify.EmailConfig{Host: "x", To: []string{"a@b.c"}})
			return err
		},
		"no mail address": func() error {
			_, err := notify.NewEmail(notify.EmailConfig{Host: "x", From: "a@b.c", To: []string{"a@b.c\r\nBcc: d@e.f"}})
			return err
		},
		"SMTP_PORT": func() error { _, err := notify.NewEmail(notify.EmailConfig{Host: "x", Port: 70000}); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantError(t, made(), slipway.Invalid, strings.Fields(name)[0])
		})
	}
	for _, good := range []string{" https://example.com/x?sig=y\n", "http://127.0.0.1:1/x", "http://[::1]:1", "http://localhost:1"} {
		if _, err := notify.NewTeams(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}

// An address is used as it was checked: a secret from a file has a newline.
func TestAddressesAreUsedAsTheyWereChecked(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(200, `{"ok":true,"channel":"C1","ts":"1.1","id":42}`))
	hook, err := notify.NewSlack(notify.SlackConfig{Webhook: f.URL + "/services/x\n"})
	if err != nil {
		t.Fatal(err)
	}
	slack, err := notify.NewSlack(notify.SlackConfig{Token: "xoxb-x", Channel: "#models", API: f.URL + "/api\n"})
	if err != nil {
		t.Fatal(err)
	}
	hub, err := notify.NewGitHub(notify.GitHubConfig{Token: "x", Repository: "acme/models", Ref: "main", API: f.URL + "\n"})
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, n := range []notify.Notifier{hook, slack, hub} {
		tell(t, n, messages()["live"], "")
	}
	for _, r := range f.requests() {
		paths = append(paths, r.Path)
	}
	if got, want := strings.Join(paths, " "), "/services/x /api/chat.postMessage /repos/acme/models/deployments /repos/acme/models/deployments/42/statuses"; got != want {
		t.Errorf("asked %s, want %s", got, want)
	}
}
