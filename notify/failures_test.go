package notify_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

func TestFailures(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		answer func(int, http.ResponseWriter, *http.Request)
		code   slipway.Code
		what   []string
	}{
		"broken":        {says(500, "no"), slipway.Unavailable, []string{"500: no"}},
		"refused":       {says(403, "secret? no"), slipway.Unauthorized, []string{"403"}},
		"gone":          {says(404, ""), slipway.NotFound, []string{"404"}},
		"malformed":     {says(400, "bad\r\n\x1b[31mrequest"), slipway.Invalid, []string{"400: bad [31mrequest"}},
		"elsewhere":     {redirects, slipway.Invalid, []string{"redirect"}},
		"busy for long": {busy("600"), slipway.Exhausted, []string{"429", "fewer"}},
		"hanging":       {hangs, slipway.Unavailable, []string{"in time"}},
		"cut off":       {cutsOff, slipway.Unavailable, []string{"cannot be reached"}},
	}
	for name, test := range tests {
		f := newFake(t, test.answer)
		for _, n := range []notify.Notifier{slackWithToken(t, f), teams(t, f), events(t, f, ""), gitHub(t, f)} {
			t.Run(name+"/"+n.Name(), func(t *testing.T) {
				t.Parallel()
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				_, err := n.Tell(ctx, messages()["live"], "")
				wantError(t, err, test.code, test.what...)
				for _, secret := range []string{"xoxb-", "ghs_", "workflows/secret", f.URL} {
					if strings.Contains(err.Error(), secret) {
						t.Errorf("%q is told: %v", secret, err)
					}
				}
			})
		}
	}
}

func redirects(_ int, w http.ResponseWriter, r *http.Request) {
	http.Redirect(w, r, "http://169.254.169.254/latest/meta-data", http.StatusTemporaryRedirect)
}

func busy(seconds string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", seconds)
		w.WriteHeader(http.StatusTooManyRequests)
	}
}

func cutsOff(_ int, w http.ResponseWriter, _ *http.Request) {
	panic(http.ErrAbortHandler)
}

func TestBusyIsAskedAgain(t *testing.T) {
	t.Parallel()
	f := newFake(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			busy("1")(n, w, r)
			return
		}
		_, _ = io.WriteString(w, `{"ok":true,"channel":"C1","ts":"1.1"}`)
	})
	if mark := tell(t, slackWithToken(t, f), messages()["live"], ""); mark != "C1/1.1" {
		t.Errorf("mark %q", mark)
	}
}

func TestBusyIsNotAskedForEver(t *testing.T) {
	t.Parallel()
	f := newFake(t, busy("1"))
	_, err := teams(t, f).Tell(t.Context(), messages()["live"], "")
	wantError(t, err, slipway.Exhausted, "429")
	if n := len(f.requests()); n != 3 {
		t.Errorf("asked %d times, want 3", n)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	f := newFake(t, says(400, strings.Repeat("x", 10<<20)))
	_, err := teams(t, f).Tell(t.Context(), messages()["live"], "")
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func TestSlackErrors(t *testing.T) {
	t.Parallel()
	for answer, hint := range map[string]string{
		`{"ok":false,"error":"invalid_auth"}`:   "SLIPWAY_SLACK_TOKEN",
		`{"ok":false,"error":"missing_scope"}`:  "chat:write",
		`{"ok":false,"error":"not_in_channel"}`: "/invite",
		`{"ok":false,"error":"something_new"}`:  "docs.slack.dev",
		`{"ok":false}`:                          "docs.slack.dev",
		`<html>`:                                "what answers",
		`{"ok":false,"error":"a\nb\u001b[31m` + strings.Repeat("c", 500) + `"}`: "docs.slack.dev",
	} {
		_, err := slackWithToken(t, newFake(t, says(200, answer))).Tell(t.Context(), messages()["live"], "")
		wantError(t, err, slipway.Invalid, hint)
		if strings.ContainsAny(err.Error(), "\n\x1b") || len(err.Error()) > 300 {
			t.Errorf("%s: %q", answer, err)
		}
	}
}

// The largest message is within what the narrowest channel takes: 28 kB a
// message in Teams.
func TestMessagesAreBounded(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("\"x\n", 10_000)
	m := messages()["failed"]
	m.Title, m.Why, m.Evidence, m.Fix = long, long, long, long
	for range 100 {
		m.Facts = append(m.Facts, notify.Fact{Name: long, Value: long})
	}
	f := newFake(t, says(200, `{"ok":true,"channel":"C1","ts":"1.1","id":42}`))
	for _, n := range []notify.Notifier{slackWithToken(t, f), teams(t, f), events(t, f, ""), gitHub(t, f)} {
		tell(t, n, m, "")
	}
	for _, r := range f.requests() {
		if len(r.Body) > 28_000 {
			t.Errorf("%s: %d bytes", r.Path, len(r.Body))
		}
	}
}
