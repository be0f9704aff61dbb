package e2e_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// unlucky is something wrong in the outside world of a deploy.
type unlucky struct {
	name   string
	with   func(*faked)
	args   []string // default: deploy iris 2
	said   string   // what tells it from all others
	pushes bool     // it shows only once the image was pushed
}

// The ways in which MLflow fails.
var mlflowFailures = []unlucky{
	{name: "is down", with: func(f *faked) { f.mlflow = "http://127.0.0.1:1" }, said: "127.0.0.1:1"},
	{name: "says nothing", with: broken(mlflowtest.Fault{Hang: true}), said: "no answer within"},
	{name: "hangs up", with: broken(mlflowtest.Fault{Drop: true}), said: "EOF"},
	{name: "401", with: broken(mlflowtest.HTMLError(401)), said: "MLFLOW_TRACKING_USERNAME"},
	{name: "403", with: broken(mlflowtest.HTMLError(403)), said: "403"},
	{name: "404", with: broken(mlflowtest.HTMLError(404)), said: "404"},
	{name: "429", with: broken(mlflowtest.HTMLError(429)), said: "429"},
	{name: "500", with: broken(mlflowtest.HTMLError(500)), said: "500"},
	{name: "unknown model", args: []string{"deploy", "models:/rose/1"}, said: "rose"},
	{name: "unknown version", args: []string{"deploy", "models:/iris/7"}, said: "7"},
	{name: "unknown alias", args: []string{"deploy", "models:/iris@nobody", "--strict"}, said: "nobody"},
	{name: "unknown stage", args: []string{"deploy", "models:/iris/Staging", "--strict"}, said: "Staging"},
	{name: "failed registration", with: func(f *faked) { f.status("FAILED_REGISTRATION") }, said: "registration failed"},
	{name: "artifact missing", with: func(f *faked) { f.models.RemoveFile(f.file("model.skops")) }, said: "model.skops"},
	{name: "artifact truncated", with: broken(mlflowtest.Fault{Path: "model.skops", Truncate: 100}), said: "model.skops"},
	{name: "artifact changed meanwhile", with: func(f *faked) {
		f.models.Break(mlflowtest.Fault{Path: "/artifacts/", Method: http.MethodGet, Delay: time.Millisecond, Then: func() {
			f.models.SetFile(f.file("python_env.yaml"), []byte(time.Now().String()))
		}})
	}, said: "changed"},
	{name: "MLmodel broken", with: func(f *faked) { f.models.SetFile(f.file("MLmodel"), []byte("flavors: [")) }, said: "MLmodel"},
	{name: "MLmodel of nothing known", with: func(f *faked) { f.models.SetFile(f.file("MLmodel"), []byte("flavors:\n  rust: {}\n")) }, said: "rust"},
	{name: "model broken", with: func(f *faked) { f.models.SetFile(f.file("model.skops"), []byte("no zip")) }, said: "zip"},
}

// The ways in which the image registry fails.
var imageFailures = []unlucky{
	{name: "is down", args: []string{"deploy", "models:/iris/2", "--image", "127.0.0.1:1/iris"}, said: "127.0.0.1:1"},
	{name: "refuses the credentials", with: bend(refuse(http.StatusUnauthorized, `{"errors":[{"code":"UNAUTHORIZED"}]}`)), said: "docker login"},
	{name: "forbids", with: bend(onWrites(refuse(http.StatusForbidden, `{"errors":[{"code":"DENIED"}]}`))), said: "DENIED"},
	{name: "is read-only", with: bend(onWrites(refuse(http.StatusMethodNotAllowed, `{"errors":[{"code":"UNSUPPORTED"}]}`))), said: "UNSUPPORTED"},
	{name: "has no space", with: bend(onWrites(refuse(http.StatusInsufficientStorage, "no space left"))), said: "507"},
	{name: "lies about a manifest", with: bend(lie), said: "changes what it stores", pushes: true},
}

// Whatever is wrong outside, a deploy says what it was and how to mend it, and
// changes nothing.
func TestBadInputChangesNothing(t *testing.T) {
	t.Parallel()
	for group, cases := range map[string][]unlucky{"MLflow": mlflowFailures, "image registry": imageFailures} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			f := newFaked(t)
			f.outcome(0, "deploy", "models:/iris@champion")
			before := f.traces()
			seen := map[string]string{}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.happens(t, *f, before, seen) })
			}
		})
	}
}

func (c unlucky) happens(t *testing.T, f faked, before traces, seen map[string]string) {
	world := *f.world
	world.t, f.world = t, &world
	if c.args == nil {
		c.args = []string{"deploy", "models:/iris/2"}
	}
	if c.with != nil {
		c.with(&f)
	}
	defer f.mend()
	got := f.refused(1, []string{c.said}, c.args...)
	f.mend()
	if c.pushes {
		before.Tagged = f.tagged()
	}
	f.unchanged(before)
	_, text, _ := strings.Cut(got.stderr, "error: ")
	if other, ok := seen[text]; ok {
		t.Errorf("the same is said when it %s\n%s", other, got)
	}
	seen[text] = c.name
}

// mend ends all faults and puts iris 2 back as it was.
func (f *faked) mend() {
	f.t.Helper()
	f.models.Mend()
	f.door.set(nil)
	f.status("READY")
	for _, name := range []string{"MLmodel", "model.skops", "python_env.yaml"} {
		data, err := os.ReadFile(filepath.Join(demoModel(f.t, 2), name))
		if err != nil {
			f.t.Fatal(err)
		}
		f.models.SetFile(f.file(name), data)
	}
}

func (f *faked) status(status string) {
	f.t.Helper()
	if err := f.models.SetStatus("iris", "2", status, "a test says so"); err != nil {
		f.t.Fatal(err)
	}
}

// file is the address of an artifact of iris 2.
func (f *faked) file(name string) string { return f.artifacts + "/" + name }

func broken(fault mlflowtest.Fault) func(*faked) {
	return func(f *faked) { f.models.Break(fault) }
}

func bend(how func(http.ResponseWriter, *http.Request, http.Handler) bool) func(*faked) {
	return func(f *faked) {
		f.door.set(func(w http.ResponseWriter, r *http.Request) bool { return how(w, r, f.door.to) })
	}
}

func refuse(status int, body string) func(http.ResponseWriter, *http.Request, http.Handler) bool {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) bool {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body) //nolint:errcheck // a client that went away is its own affair
		return true
	}
}

func onWrites(how func(http.ResponseWriter, *http.Request, http.Handler) bool) func(http.ResponseWriter, *http.Request, http.Handler) bool {
	return func(w http.ResponseWriter, r *http.Request, to http.Handler) bool {
		return r.Method != http.MethodGet && r.Method != http.MethodHead && how(w, r, to)
	}
}

// lie answers for every manifest with one that has a byte changed, under the
// digest that was asked for.
func lie(w http.ResponseWriter, r *http.Request, to http.Handler) bool {
	if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/manifests/") {
		return false
	}
	honest := httptest.NewRecorder()
	to.ServeHTTP(honest, r)
	for name, values := range honest.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(honest.Code)
	w.Write(bytes.Replace(honest.Body.Bytes(), []byte(`"size":`), []byte(`"size": `), 1)[:honest.Body.Len()]) //nolint:errcheck // as above
	return true
}

// A promotion that is gone changes nothing either, and is no failure where
// something serves.
func TestNothingIsPromotedAnyMore(t *testing.T) {
	t.Parallel()
	f := newFaked(t)
	f.outcome(0, "deploy", "models:/iris@champion")
	if err := f.client.DeleteAlias(t.Context(), "iris", "champion"); err != nil {
		t.Fatal(err)
	}
	before := f.traces()
	f.want(0, []string{"goes on serving"}, "deploy", "models:/iris@champion")
	f.unchanged(before)
	f.refused(1, []string{"champion"}, "deploy", "models:/iris@champion", "--strict")
	f.unchanged(before)
}

// A version that is not READY is waited for; whoever presses Ctrl-C meanwhile
// has changed nothing.
func TestAPendingVersionIsWaitedFor(t *testing.T) {
	t.Parallel()
	f := newFaked(t)
	f.outcome(0, "deploy", "models:/iris@champion")
	before := f.traces()
	f.status("PENDING_REGISTRATION")
	waiting := f.command(t.Context(), "deploy", "models:/iris/2")
	var said bytes.Buffer
	waiting.Stdout, waiting.Stderr = &said, &said
	asked := make(chan struct{}, 100)
	f.models.Break(mlflowtest.Fault{Path: "model-versions/get", Delay: time.Millisecond, Then: func() { asked <- struct{}{} }})
	if err := waiting.Start(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		<-asked
	}
	if err := waiting.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := waiting.Wait(); waiting.ProcessState.ExitCode() != 130 {
		t.Errorf("%v\n%s", err, &said)
	}
	f.models.Mend()
	f.unchanged(before)
	f.status("READY")
	if got := f.outcome(0, "deploy", "models:/iris/2"); got.Kind != "live" {
		t.Errorf("%+v", got)
	}
}

// A port that somebody else has is found before anything moves.
func TestATakenPort(t *testing.T) {
	t.Parallel()
	f := newFaked(t)
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f.refused(1, []string{f.address}, "deploy", "models:/iris@champion")
	if record := f.record(); record.Live != nil || record.Current != nil {
		t.Errorf("the journal afterwards: %+v", record)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := f.outcome(0, "deploy", "models:/iris@champion"); got.Kind != "live" {
		t.Errorf("once the port is free: %+v", got)
	}
}

// The way back is looked at before anything moves: an image that serves and
// cannot be pulled any more stops a release, unless the user goes without.
func TestNoWayBack(t *testing.T) {
	t.Parallel()
	f := newFaked(t)
	first := f.outcome(0, "deploy", "models:/iris@champion")
	before := f.traces()
	gone := string(first.Release.Image.Digest)
	f.door.set(func(w http.ResponseWriter, r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, gone) && refuse(http.StatusNotFound, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`)(w, r, nil)
	})
	f.refused(1, []string{"cannot be pulled", "--no-way-back"}, "deploy", "models:/iris/2")
	before.Tagged = f.tagged() // the new image was pushed: that harms nobody
	f.unchanged(before)
	if got := f.outcome(0, "deploy", "models:/iris/2", "--no-way-back"); got.Kind != "live" {
		t.Errorf("%+v", got)
	}
}
