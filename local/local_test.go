package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/local"
	"github.com/slipway-dev/slipway/slipwaytest"
)

func TestTarget(t *testing.T) {
	t.Parallel()
	slipwaytest.Target(t, func(t *testing.T) slipwaytest.TargetFixture {
		b := newBench(t)
		return slipwaytest.TargetFixture{
			Target:  b.target,
			Other:   b.another(),
			Good:    release,
			Bad:     func() slipway.Release { return release(golden) },
			Restart: func(t *testing.T) { b.kill(t) },
		}
	})
}

func TestJournal(t *testing.T) {
	t.Parallel()
	slipwaytest.Journal(t, func(t *testing.T) slipwaytest.JournalFixture {
		b := newBench(t)
		return slipwaytest.JournalFixture{
			Journal: b.target.Journal(),
			Other:   b.another().Journal(),
			Mortal:  b.mortal,
			Plant: func(t *testing.T, data []byte) {
				if err := os.MkdirAll(b.path("journal"), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(b.path("journal", "record.json"), data, 0o600); err != nil {
					t.Fatal(err)
				}
			},
		}
	})
}

// bench is a local target on a port of its own, and all that ends it.
type bench struct {
	t      *testing.T
	dir    string
	ref    string
	addr   string
	target *local.Target
}

func newBench(t *testing.T, change ...func(*local.Config)) *bench {
	t.Helper()
	// A long path, so that the socket's limit is met.
	dir := filepath.Join(t.TempDir(), strings.Repeat("state", 20))
	addr := freeAddr(t)
	b := &bench{t: t, dir: dir, addr: addr, ref: "local://" + addr}
	b.target = b.another(change...)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		if err := b.target.Stop(ctx); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			b.tell("supervisor.log", "supervisor.out")
		}
	})
	return b
}

func (b *bench) tell(files ...string) {
	for _, name := range files {
		if data, err := os.ReadFile(b.path(name)); err == nil {
			b.t.Logf("%s:\n%s", name, data)
		}
	}
}

func (b *bench) another(change ...func(*local.Config)) *local.Target {
	b.t.Helper()
	target, err := open(b.dir, b.ref, change...)
	if err != nil {
		b.t.Fatal(err)
	}
	return target
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir, b.addr}, elem...)...)
}

// supervisor returns the number of the supervisor's process, 0 if there is none.
func (b *bench) supervisor() int {
	conn, err := net.Dial("unix", b.shortPath())
	if err != nil {
		return 0
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/observe HTTP/1.0\r\n\r\n")
	for s := bufio.NewScanner(conn); s.Scan(); {
		var status struct{ PID int }
		if json.Unmarshal(s.Bytes(), &status) == nil && status.PID > 0 {
			return status.PID
		}
	}
	return 0
}

func (b *bench) shortPath() string {
	link := filepath.Join(os.TempDir(), "s"+strings.ReplaceAll(b.addr, ":", "-"))
	if err := os.Symlink(b.path(), link); err == nil {
		b.t.Cleanup(func() { _ = os.Remove(link) })
	}
	return filepath.Join(link, "control.sock")
}

// kill ends the supervisor by SIGKILL and waits until it is gone.
func (b *bench) kill(t *testing.T) {
	t.Helper()
	pid := b.supervisor()
	if pid == 0 {
		return
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the supervisor ends", func() bool { return syscall.Kill(pid, 0) != nil })
}

// mortal runs a process that holds the journal's lock.
func (b *bench) mortal(t *testing.T, holder string) func() {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "hold", b.dir, b.ref, holder)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("holder said %q (%v)", line, err)
	}
	die := func() { _ = cmd.Process.Kill() }
	t.Cleanup(func() {
		die()
		_ = cmd.Wait()
	})
	return die
}

// freeAddr returns an address nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for tick := time.NewTicker(5 * time.Millisecond); !ok(); {
		select {
		case <-deadline:
			t.Fatalf("not in time: %s", what)
		case <-tick.C:
		}
	}
}
