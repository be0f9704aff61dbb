package notify_test

import (
	"context"
	"html"
	"net/http"
	"path"
	"strings"
	"testing"
	"testing/synctest"
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

// One that is busy is asked again when it says, three times at most, and not
// where there is no time for that.
func TestBusyIsAskedAgain(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		answers []int
		after   string
		limit   time.Duration
		status  int
		asked   int
		took    time.Duration
	}{
		"at once":          {[]int{200}, "", time.Minute, 200, 1, 0},
		"busy once":        {[]int{429, 200}, "7", time.Minute, 200, 2, 7 * time.Second},
		"when is not said": {[]int{503, 200}, "", time.Minute, 200, 2, time.Second},
		"at a date":        {[]int{429, 200}, "Wed, 21 Oct 2026 07:28:00 GMT", time.Minute, 200, 2, time.Second},
		"busy for ever":    {[]int{429, 429, 429, 200}, "2", time.Minute, 429, 3, 4 * time.Second},
		"busy for long":    {[]int{429, 200}, "600", time.Minute, 429, 1, 0},
		"broken":           {[]int{500, 200}, "1", time.Minute, 500, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tt.limit)
				defer cancel()
				start, asked := time.Now(), 0
				status, err := notify.Patiently(ctx, func() (int, string) { asked++; return tt.answers[asked-1], tt.after })
				if took := time.Since(start); err != nil || status != tt.status || asked != tt.asked || took != tt.took {
					t.Errorf("%d (%v) after %d in %s, want %d after %d in %s", status, err, asked, took, tt.status, tt.asked, tt.took)
				}
			})
		})
	}
}

// Many servers repeat what they were asked for. Of three addresses that is the
// secret.
func TestAddressesAreNotRepeated(t *testing.T) {
	t.Parallel()
	for name, echo := range map[string]func(*http.Request) string{
		"as it was asked for": func(r *http.Request) string { return "Cannot POST " + r.RequestURI },
		"without the query":   func(r *http.Request) string { return "<pre>" + r.URL.EscapedPath() + "</pre>" },
		"decoded":             func(r *http.Request) string { return "no route for " + r.URL.Path },
		"the query alone":     func(r *http.Request) string { return "unknown: " + r.URL.RawQuery },
		"as HTML":             func(r *http.Request) string { return html.EscapeString(r.RequestURI) },
		"cut":                 func(r *http.Request) string { return strings.Repeat("x", 190-len("/services/")) + r.RequestURI },
		"the last part":       func(r *http.Request) string { return "no webhook " + path.Base(r.URL.Path) },
	} {
		f := newFake(t, func(_ int, w http.ResponseWriter, r *http.Request) { says(400, echo(r))(0, w, r) })
		address := f.URL + "/services/T01%20X/planted-0123456789?api=1&sig=planted%2B0123456789"
		hook, err := notify.NewSlack(notify.SlackConfig{Webhook: address})
		if err != nil {
			t.Fatal(err)
		}
		teams, err := notify.NewTeams(address)
		if err != nil {
			t.Fatal(err)
		}
		events, err := notify.NewEvents(address, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []notify.Notifier{hook, teams, events} {
			_, err := n.Tell(t.Context(), messages()["live"], "")
			if err == nil || strings.Contains(err.Error(), "plant") || !strings.Contains(err.Error(), "…") {
				t.Errorf("%s, %s: %v", name, n.Name(), err)
			}
		}
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
