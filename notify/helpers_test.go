package notify_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
)

var update = flag.Bool("update", false, "write the golden files")

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", filepath.FromSlash(name))
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

// received is a request as a fake of an outside world has got it.
type received struct {
	Path   string
	Header http.Header
	Body   []byte
}

// fake is such a world, on this machine: it answers the n-th request, from 0
// on, as the handler says.
type fake struct {
	*httptest.Server
	mu  sync.Mutex
	got []received
}

func newFake(t testing.TB, handler func(n int, w http.ResponseWriter, r *http.Request)) *fake {
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the sender has given up
		}
		f.mu.Lock()
		n := len(f.got)
		f.got = append(f.got, received{Path: r.URL.Path, Header: r.Header, Body: body})
		f.mu.Unlock()
		handler(n, w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) requests() []received {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]received(nil), f.got...)
}

// says answers everything alike.
func says(status int, body string) func(int, http.ResponseWriter, *http.Request) {
	return func(_ int, w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// hangs answers nothing until the sender gives up.
func hangs(_ int, _ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// pretty writes the requests as a golden file has them.
func pretty(t *testing.T, requests []received) []byte {
	t.Helper()
	var b bytes.Buffer
	for _, r := range requests {
		b.WriteString("POST " + r.Path + "\n")
		if err := json.Indent(&b, r.Body, "", "  "); err != nil {
			t.Fatalf("%s: %v\n%s", r.Path, err, r.Body)
		}
		b.WriteString("\n")
	}
	return b.Bytes()
}

// tell sends one message and returns the mark.
func tell(t *testing.T, n notify.Notifier, m notify.Message, mark string) string {
	t.Helper()
	next, err := n.Tell(t.Context(), m, mark)
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// wantError looks at an error's code and at what must be in it or its hint.
func wantError(t *testing.T, err error, code slipway.Code, what ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	if got := slipway.CodeOf(err); got != code {
		t.Errorf("code %q, want %q: %v", got, code, err)
	}
	text := err.Error() + "\n" + slipway.HintOf(err)
	for _, w := range what {
		if !strings.Contains(text, w) {
			t.Errorf("%q is not in %q", w, text)
		}
	}
	if slipway.HintOf(err) == "" {
		t.Errorf("nothing mends it: %v", err)
	}
}

var began = time.Date(2026, 11, 26, 9, 30, 0, 0, time.UTC)

func version(n string) slipway.ModelVersion {
	return slipway.ModelVersion{Name: "iris", Version: slipway.Version(n)}
}

func image(digit string) slipway.Image {
	return slipway.Image{Repository: "myregistry.azurecr.io/models/iris", Digest: slipway.Digest("sha256:" + strings.Repeat(digit, 64))}
}

func release() slipway.Release {
	before := slipway.Release{ID: "01KAXX00000000000000000002", Model: version("2"), Image: image("2")}
	return slipway.Release{
		ID: "01KAXX00000000000000000003", Model: version("3"), Image: image("3"), Environment: "production",
		Target: "kubernetes://production/inference-service", Actor: "github run 812", Reason: "@champion points at it",
		RunURL: "https://github.com/acme/models/actions/runs/812", Previous: &before, Created: began, Ended: began.Add(42 * time.Second),
	}
}

// messages are one of each kind, as slipway makes them.
func messages() map[string]notify.Message {
	base := notify.Message{Release: release(), At: began.Add(42 * time.Second), URL: "http://inference-service.production.svc:8000"}
	base.Serving = base.Release.Previous
	base.Facts = []notify.Fact{
		{Name: "model", Value: "iris 3"}, {Name: "target", Value: base.Release.Target}, {Name: "release", Value: string(base.Release.ID)},
		{Name: "run", Value: base.Release.RunURL},
	}
	of := func(kind notify.Kind, title, why, fix string) notify.Message {
		m := base
		m.Kind, m.Title, m.Why, m.Fix = kind, title, why, fix
		return m
	}
	all := map[string]notify.Message{
		"begun":         of(notify.Begun, "iris 3 is on its way to production", "", ""),
		"live":          of(notify.Live, "iris 3 is live in production", "", ""),
		"rolled-back":   of(notify.RolledBack, "iris 3 was rolled back; iris 2 serves in production", "verify: replica inference-service-7f9c answered otherwise", "slipway explain 01KAXX00000000000000000003"),
		"removed":       of(notify.Removed, "iris 3 was removed again, nothing served before it", "rollout: the container ran out of memory", "set requests.memory in slipway.yaml"),
		"quarantined":   of(notify.Quarantined, "iris 3 is quarantined since 2026-11-26T09:30:00Z", "", "promote another version, or deploy it again with --retry"),
		"person-needed": of(notify.NeedsPerson, "iris 3 failed and the way back failed too, a person is needed", "rollback: the image of iris 2 cannot be pulled", "slipway recover kubernetes://production/inference-service"),
		"failed":        of(notify.Failed, "iris 3 was not rolled out in production; nothing was changed", "build: the model does not load", "pip install scikit-learn==1.5.2"),
		"superseded":    of(notify.Superseded, "iris 3 was superseded: iris 4 was promoted", "", ""),
		"unfinished":    of(notify.Unfinished, "iris 3 is rolling-out", "", "slipway recover kubernetes://production/inference-service"),
		"test":          {Kind: notify.Test, Title: "A test of slipway notify: no release has ended", At: began},
		"hostile":       hostile(base),
	}
	back := all["rolled-back"]
	back.Evidence = "want [\"setosa\"]\ngot  [\"virginica\"]"
	all["rolled-back"] = back
	first := all["live"]
	first.Release.Previous, first.Serving = nil, nil
	all["first"] = first
	return all
}

// injection is what a name from outside may try.
const injection = "<!channel> <https://evil.example|click> &amp; *b* _i_ `c` ~s~ [x](https://evil.example) <at>all</at> @here {{DATE(2017-02-14T06:08:00Z)}} ${x}\r\nBcc: all@evil.example\r\n\r\n.\r\n<script>\x1b[31m\u202eesrever"

func hostile(m notify.Message) notify.Message {
	m.Kind, m.Title, m.Why, m.Evidence, m.Fix = notify.Failed, injection, injection, injection, injection
	m.Release.Model.Name, m.Release.Environment, m.Release.Target = injection, injection, injection
	m.Release.Image = slipway.Image{Repository: injection, Digest: injection}
	m.Release.RunURL, m.URL = "javascript:alert(1)", "https://user:password@evil.example/"
	m.Facts = []notify.Fact{{Name: injection, Value: injection}, {Name: "run", Value: "javascript:alert(1)"}}
	return m
}
