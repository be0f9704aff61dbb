package local_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local"
)

func TestABadReleaseSaysWhy(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		release int
		want    slipway.Problem
	}{
		{"golden predictions differ", golden, slipway.Problem{
			Kind:     "golden-differs",
			Message:  "golden prediction 2 differs",
			Evidence: "request   {\"inputs\":[[1]]}\nexpected  \"versicolor\"   (scikit-learn 1.5.2)\ngot       \"virginica\"   at [0]",
			Hint:     "slipway explain",
		}},
		{"exits before it is ready", exits, slipway.Problem{
			Kind:     "crashed",
			Message:  "the model server exited with code 1",
			Evidence: "cannot read model.skops: [31munexpected end of file", // no escape reaches a terminal
		}},
		{"not a program", noProgram, slipway.Problem{
			Kind:    "cannot-start",
			Message: "the model server does not start: fork/exec modelserver: exec format error",
		}},
		{"never ready", never, slipway.Problem{
			Kind:    "never-ready",
			Message: "the model server was not ready within 300ms",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.deploy(t, 1, release(1))
			if tt.release == never {
				b.target = b.another(func(c *local.Config) { c.StartupLimit = 300 * time.Millisecond })
			}
			b.apply(t, 2, release(tt.release))
			o := b.await(t, func(o slipway.Observation) bool { return problemOf(o, tt.release) != nil })
			got := *problemOf(o, tt.release)
			got.Message = strings.ReplaceAll(got.Message, filepath.Dir(serverPath(b, tt.release))+"/", "")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
			// A new release that failed is not started again.
			b.await(t, func(later slipway.Observation) bool { return later.At.After(o.At.Add(300 * time.Millisecond)) })
			for _, r := range b.await(t, func(slipway.Observation) bool { return true }).Replicas {
				if r.Image == digest(tt.release) && (r.Restarts != 0 || r.Serving) {
					t.Errorf("replica %+v", r)
				}
			}
			b.wantAnswer(t, "1")
		})
	}
}

func serverPath(b *bench, n int) string {
	return b.path("images", strings.TrimPrefix(string(digest(n)), "sha256:"), "slipway", "modelserver")
}

func TestAReplicaThatCrashesAfterItWasReady(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(crashesSlowly))
	healing := b.await(t, func(o slipway.Observation) bool { return o.Replicas[0].Problem != nil })
	p := healing.Replicas[0].Problem
	if p.Kind != "crashed" || !strings.Contains(p.Message, "signal 9") {
		t.Errorf("problem %+v", p)
	}
	again := b.await(t, func(o slipway.Observation) bool {
		return o.Replicas[0].Problem != nil && !o.Replicas[0].Problem.Heals
	})
	if r := again.Replicas[0]; r.Restarts < 1 || r.Serving {
		t.Errorf("a replica that crashed twice: %+v", r)
	}
}

func TestATakenPort(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	holder, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	err = b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: release(1)})
	if slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("Act gave %q: %v", slipway.CodeOf(err), err)
	}
	if who := fmt.Sprintf("process %d", os.Getpid()); !strings.Contains(err.Error(), who) {
		t.Errorf("%q does not name %s", err, who)
	}
	if o := b.await(t, func(slipway.Observation) bool { return true }); o.Desired != "" || len(o.Replicas) > 0 {
		t.Errorf("a refused action changed something: %+v", o)
	}
}

func TestAPortTakenMeanwhile(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	b.kill(t)
	holder, err := net.Listen("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	o := b.await(t, func(o slipway.Observation) bool { return o.Problem != nil })
	if o.Problem.Kind != "port-taken" || o.Problem.Hint == "" {
		t.Errorf("problem %+v", o.Problem)
	}
	holder.Close()
	b.await(t, func(o slipway.Observation) bool { return o.Problem == nil && o.Settled(digest(1)) })
	b.wantAnswer(t, "1")
}

func TestBrokenState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, data string
		want       slipway.Code
	}{
		{"half a file", `{"schemaVersion": 1, "fen`, slipway.Corrupt},
		{"another type", `{"fence": "three"}`, slipway.Corrupt},
		{"no digest", `{"schemaVersion": 1, "desired": {"want": 2, "release": {"image": {"digest": "sha256:.."}}}}`, slipway.Corrupt},
		{"no replicas", fmt.Sprintf(`{"schemaVersion": 1, "desired": {"release": {"image": {"digest": %q}}}}`, digest(1)), slipway.Corrupt},
		{"a newer program's", `{"schemaVersion": 99}`, slipway.Invalid},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			b.deploy(t, 1, release(1))
			b.kill(t)
			good, err := os.ReadFile(b.path("desired.json"))
			if err != nil {
				t.Fatal(err)
			}
			b.write(t, "desired.json", tt.data)
			defer b.write(t, "desired.json", string(good))
			_, err = b.target.Observe(t.Context())
			if slipway.CodeOf(err) != tt.want || slipway.HintOf(err) == "" {
				t.Errorf("Observe gave %q: %v, hint %q", slipway.CodeOf(err), err, slipway.HintOf(err))
			}
			err = b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 9, Release: release(2)})
			if slipway.CodeOf(err) != tt.want {
				t.Errorf("Act gave %q: %v", slipway.CodeOf(err), err)
			}
		})
	}
}

func TestAFullDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	err := b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 2, Release: release(diskFull)})
	if slipway.CodeOf(err) != slipway.Exhausted || slipway.HintOf(err) == "" {
		t.Errorf("Act gave %q: %v", slipway.CodeOf(err), err)
	}
	if o := b.await(t, func(slipway.Observation) bool { return true }); !o.Settled(digest(1)) {
		t.Errorf("after a failed Act: %+v", o)
	}
}

func TestAnImageOfAnotherPlatform(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	r := release(1)
	r.Image.Platforms = []string{"plan9/mips"}
	err := b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: r})
	if slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("Act gave %q: %v", slipway.CodeOf(err), err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b.target = b.another(func(c *local.Config) { c.Server = self })
	b.deploy(t, 1, r)
	b.wantAnswer(t, "1")
}

func TestEnvironmentAndSecrets(t *testing.T) {
	t.Parallel()
	const secret = "correct horse"
	withSecret := func(c *local.Config) {
		c.Getenv = func(name string) string {
			return map[string]string{"SECRET": secret, "HOME": "/", "PATH": os.Getenv("PATH")}[name]
		}
	}
	b := newBench(t, withSecret)
	r := release(1)
	r.Env, r.SecretEnv = map[string]string{"PLAIN": "plain"}, []string{"SECRET"}
	b.deploy(t, 1, r)
	b.wantAnswer(t, "1 plain "+secret)
	b.kill(t)
	b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) })
	b.wantAnswer(t, "1 plain "+secret)
	wantNowhere(t, b.dir, secret)

	without := b.another(func(c *local.Config) { c.Getenv = func(string) string { return "" } })
	r.Image = release(2).Image
	err := without.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 2, Release: r})
	if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(slipway.HintOf(err), "SECRET") {
		t.Errorf("Act without the secret gave %q: %v", slipway.CodeOf(err), err)
	}
}

// wantNowhere fails the test if a file below dir holds the text.
func wantNowhere(t *testing.T, dir, text string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		files++
		if strings.Contains(string(data), text) {
			t.Errorf("%s holds the secret", path)
		}
		return err
	})
	if err != nil || files < 3 {
		t.Errorf("looked at %d files: %v", files, err)
	}
}

func TestASupervisorOfAnotherVersion(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if err := os.MkdirAll(b.path(), 0o700); err != nil {
		t.Fatal(err)
	}
	socket, err := net.Listen("unix", b.shortPath())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	go func() { _ = server.Serve(socket) }()
	_, err = b.target.Observe(t.Context())
	if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(slipway.HintOf(err), "slipway stop") {
		t.Errorf("Observe gave %q: %v", slipway.CodeOf(err), err)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
}

func TestNewRefusesNonsense(t *testing.T) {
	t.Parallel()
	for _, ref := range []string{"local://127.0.0.1:0", "local://127.0.0.1:99999", "local://127.0.0.1:http", "local://127.0.0.1:8000?x=1", "kubernetes://a/b"} {
		if _, err := open(t.TempDir(), ref); slipway.CodeOf(err) != slipway.Invalid {
			t.Errorf("%s gave %v, want invalid", ref, err)
		}
	}
	for what, change := range map[string]func(*local.Config){
		"replicas -1":   func(c *local.Config) { c.Replicas = -1 },
		"replicas 1000": func(c *local.Config) { c.Replicas = 1000 },
		"no images":     func(c *local.Config) { c.Images = nil },
		"no state":      func(c *local.Config) { c.StateDir = "" },
	} {
		if _, err := open(t.TempDir(), "local://127.0.0.1:8000", change); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

func (b *bench) write(t *testing.T, name, data string) {
	t.Helper()
	if err := os.WriteFile(b.path(name), []byte(data), 0o600); err != nil {
		t.Fatal(err)
	}
}

// wantAnswer asks at the front door.
func (b *bench) wantAnswer(t *testing.T, want string) {
	t.Helper()
	conn, err := net.Dial("tcp", b.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	got, err := askOnce(conn)
	if err != nil || got != want {
		t.Errorf("answer %q (%v), want %q", got, err, want)
	}
}
