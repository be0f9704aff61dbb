package notify_test

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/slipway-dev/slipway/notify"
)

// TestMessages compares each message of each channel with its golden file.
func TestMessages(t *testing.T) {
	t.Parallel()
	for name, m := range messages() {
		t.Run("slack/"+name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, says(200, `{"ok":true,"channel":"C1","ts":"1700000000.000100"}`))
			tell(t, slackWithToken(t, f), m, "")
			golden(t, "slack/"+name+".txt", pretty(t, f.requests()))
		})
		t.Run("teams/"+name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, says(202, ""))
			tell(t, teams(t, f), m, "")
			golden(t, "teams/"+name+".txt", pretty(t, f.requests()))
		})
		t.Run("events/"+name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, says(204, ""))
			tell(t, events(t, f, ""), m, "")
			golden(t, "events/"+name+".txt", pretty(t, f.requests()))
		})
		t.Run("github/"+name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, says(201, `{"id":42}`))
			tell(t, gitHub(t, f), m, "")
			golden(t, "github/"+name+".txt", pretty(t, f.requests()))
		})
		t.Run("email/"+name, func(t *testing.T) {
			t.Parallel()
			server := newMailServer(t)
			tell(t, email(t, server), m, "")
			golden(t, "email/"+name+".txt", []byte(server.letters()))
		})
	}
}

func slackWithToken(t testing.TB, f *fake) *notify.Slack {
	s, err := notify.NewSlack(notify.SlackConfig{Token: "xoxb-secret", Channel: "#models", API: f.URL + "/api"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func teams(t testing.TB, f *fake) *notify.Teams {
	c, err := notify.NewTeams(f.URL + "/workflows/secret")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func events(t testing.TB, f *fake, secret string) *notify.Events {
	w, err := notify.NewEvents(f.URL+"/hook", secret)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func gitHub(t testing.TB, f *fake) *notify.GitHub {
	g, err := notify.NewGitHub(notify.GitHubConfig{Token: "ghs_secret", Repository: "acme/models", Ref: "0123456789abcdef0123456789abcdef01234567", API: f.URL})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func email(t testing.TB, s *mailServer) *notify.Email {
	e, err := notify.NewEmail(notify.EmailConfig{Host: "127.0.0.1", Port: s.port, From: "Slipway <slipway@example.com>", To: []string{"ml@example.com", "Ada <ada@example.com>"}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestTheSecretIsWhereItBelongs(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(201)
		fmt.Fprint(w, `{"ok":true,"id":42}`)
	})
	m := messages()["live"]
	tell(t, slackWithToken(t, f), m, "")
	tell(t, gitHub(t, f), m, "")
	got := f.requests()
	if auth := got[0].Header.Get("Authorization"); auth != "Bearer xoxb-secret" {
		t.Errorf("slack: Authorization %q", auth)
	}
	for _, r := range got[1:] {
		if r.Header.Get("Authorization") != "Bearer ghs_secret" || r.Header.Get("X-Github-Api-Version") != "2022-11-28" {
			t.Errorf("github: %v", r.Header)
		}
	}
}
