package notify_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

// FuzzMarks hands on marks as a release.json from anywhere may hold them: what
// is asked stays what we ask.
func FuzzMarks(f *testing.F) {
	for _, mark := range []string{"", "42", "C1/1.1", "../../user", "42/../..", "C1/1.1\n", "-1", "0x2a"} {
		f.Add(mark)
	}
	fake := newFake(f, says(200, `{"ok":true,"channel":"C1","ts":"1.1","id":42}`))
	paths := regexp.MustCompile(`^/(api/chat\.(postMessage|update)|repos/acme/models/deployments(/[0-9]+/statuses)?)$`)
	f.Fuzz(func(t *testing.T, mark string) {
		m, before := messages()["live"], len(fake.requests())
		tell(t, slackWithToken(t, fake), m, mark)
		tell(t, gitHub(t, fake), m, mark)
		for _, r := range fake.requests()[before:] {
			if !paths.MatchString(r.Path) {
				t.Fatalf("%q: asked %s", mark, r.Path)
			}
		}
	})
}

// FuzzTexts tells foreign texts: whatever they are, all requests are JSON and
// the notification's line mentions nobody.
func FuzzTexts(f *testing.F) {
	f.Add(injection)
	f.Add("\xff\xfe")
	fake := newFake(f, says(200, `{"ok":true,"channel":"C1","ts":"1.1","id":42}`))
	f.Fuzz(func(t *testing.T, text string) {
		m := messages()["failed"]
		m.Title, m.Why, m.Evidence, m.Fix, m.Release.Model.Name, m.Release.Target = text, text, text, text, slipway.ModelName(text), text
		m.Facts = []notify.Fact{{Name: text, Value: text}}
		before := len(fake.requests())
		for _, n := range []notify.Notifier{slackWithToken(t, fake), teams(t, fake), events(t, fake, ""), gitHub(t, fake)} {
			tell(t, n, m, "")
		}
		for _, r := range fake.requests()[before:] {
			var said struct{ Text string }
			if err := json.Unmarshal(r.Body, &said); err != nil || strings.ContainsAny(said.Text, "<>\n\r\x1b") || len(r.Body) > 24<<10 {
				t.Fatalf("%s: %d bytes, %v: %q", r.Path, len(r.Body), err, said.Text)
			}
		}
	})
}
