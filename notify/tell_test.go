package notify_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/notify"
)

// TestOneMessageARelease walks through what two processes tell of one release.
func TestOneMessageARelease(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(200, `{"ok":true,"channel":"C1","ts":"1700000000.000100"}`))
	mark := tell(t, slackWithToken(t, f), messages()["begun"], "")
	if mark != "C1/1700000000.000100" {
		t.Fatalf("mark %q", mark)
	}
	if again := tell(t, slackWithToken(t, f), messages()["live"], mark); again != mark {
		t.Errorf("mark %q", again)
	}
	got := f.requests()
	if got[0].Path != "/api/chat.postMessage" || got[1].Path != "/api/chat.update" {
		t.Fatalf("asked %s and %s", got[0].Path, got[1].Path)
	}
	var updated struct{ Channel, TS string }
	if err := json.Unmarshal(got[1].Body, &updated); err != nil || updated.Channel != "C1" || updated.TS != "1700000000.000100" {
		t.Errorf("updated %+v (%v)", updated, err)
	}
}

func TestAMessageThatIsGoneIsToldAnew(t *testing.T) {
	t.Parallel()
	for _, why := range []string{"message_not_found", "cant_update_message", "edit_window_closed", "channel_not_found"} {
		f := newFake(t, func(n int, w http.ResponseWriter, _ *http.Request) {
			answer := `{"ok":true,"channel":"C1","ts":"1700000000.000200"}`
			if n == 0 {
				answer = `{"ok":false,"error":"` + why + `"}`
			}
			_, _ = io.WriteString(w, answer)
		})
		if mark := tell(t, slackWithToken(t, f), messages()["live"], "C1/1700000000.000100"); mark != "C1/1700000000.000200" {
			t.Errorf("%s: mark %q", why, mark)
		}
		last := f.requests()[1]
		if last.Path != "/api/chat.postMessage" || strings.Contains(string(last.Body), `"ts"`) {
			t.Errorf("%s: %s %s", why, last.Path, last.Body)
		}
	}
}

func TestOneDeploymentARelease(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(201, `{"id":42}`))
	mark := tell(t, gitHub(t, f), messages()["begun"], "")
	tell(t, gitHub(t, f), messages()["rolled-back"], mark)
	var paths, states []string
	for _, r := range f.requests() {
		var said struct{ State string }
		if err := json.Unmarshal(r.Body, &said); err != nil {
			t.Fatal(err)
		}
		paths, states = append(paths, r.Path), append(states, said.State)
	}
	const all = "/repos/acme/models/deployments"
	if got, want := fmt.Sprint(paths, states), fmt.Sprint([]string{all, all + "/42/statuses", all + "/42/statuses"}, []string{"", "in_progress", "failure"}); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// What cannot be changed afterwards says nothing of what has only begun.
func TestBegunIsToldWhereItIsUpdated(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(200, "ok"))
	hook, err := notify.NewSlack(notify.SlackConfig{Webhook: f.URL + "/services/T/B/secret"})
	if err != nil {
		t.Fatal(err)
	}
	server := newMailServer(t)
	for _, n := range []notify.Notifier{hook, teams(t, f), email(t, server)} {
		tell(t, n, messages()["begun"], "")
	}
	if len(f.requests()) > 0 || server.letters() != "" {
		t.Errorf("told %d, and %q", len(f.requests()), server.letters())
	}
	tell(t, hook, messages()["live"], "")
	golden(t, "slack/by-webhook.txt", pretty(t, f.requests()))
}

func TestSignature(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef01234567")
	f := newFake(t, says(204, ""))
	tell(t, events(t, f, "whsec_"+base64.StdEncoding.EncodeToString(key)), messages()["live"], "")
	r := f.requests()[0]
	if media := r.Header.Get("Content-Type"); media != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("Content-Type %q", media)
	}
	id, at := r.Header.Get("webhook-id"), r.Header.Get("webhook-timestamp")
	if strings.Contains(id, ".") || !regexp.MustCompile(`^[0-9]{10}$`).MatchString(at) {
		t.Errorf("webhook-id %q, webhook-timestamp %q", id, at)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", id, at, r.Body)
	if got, want := r.Header.Get("webhook-signature"), "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)); got != want {
		t.Errorf("webhook-signature %q, want %q", got, want)
	}
}
