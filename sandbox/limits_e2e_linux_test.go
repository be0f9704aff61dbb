//go:build e2e

package sandbox_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/sandbox"
)

// A fork bomb has as many processes as it may, and leaves none.
func TestE2EAForkBombIsBounded(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		c := script(t, `
import os, signal, sys
children = 0
try:
    while children < 500:
        if os.fork() == 0:
            os.setsid(); signal.pause()
        children += 1
except BlockingIOError: pass
print(children, os.readlink('/proc/self/ns/pid'), flush=True)
sys.exit(3)
`)
		c.Processes = 64
		o := run(t, uid, c)
		var children int
		var namespace string
		if _, err := fmt.Sscan(o.Out, &children, &namespace); err != nil {
			t.Fatalf("%v: %+v", err, o)
		}
		if children >= 64 || children < 32 {
			t.Errorf("%d children, want somewhat less than 64", children)
		}
		if o.Code != slipway.Invalid && o.Code != slipway.Exhausted || !strings.Contains(o.Message, "code 3") {
			t.Errorf("got %s (%s)", o.Message, o.Code)
		}
		if n := inNamespace(t, namespace); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	})
}

// One that lasts is told for what it is, and does not disturb another sandbox
// of the same user.
func TestE2EOneForkBombDoesNotStopAnother(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		c := script(t, `
import os, signal, sys, time
try:
    while True:
        if os.fork() == 0: signal.pause()
except BlockingIOError:
    time.sleep(1)
    sys.exit(3)
`)
		c.Processes = 48
		done := make(chan outcome, 1)
		go func() { done <- run(t, uid, c) }()
		for range 3 {
			fine(t, uid, script(t, "import os\nfor i in range(20): os.waitpid(os.fork() or os._exit(0), 0)"))
		}
		if o := <-done; o.Code != slipway.Exhausted || !strings.Contains(o.Message, "processes") {
			t.Errorf("got %s (%s) %s", o.Message, o.Code, o.Err)
		}
	})
}

// What it writes is in memory, bounded, in whichever folder and however many
// files, and this machine's disk has none of it.
func TestE2EAFullDisk(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		dir := openFolder(t)
		c := script(t, `
import os, sys
total, block, errors = 0, b'x' * (1 << 20), set()
for where in (os.environ['HOME'], '/tmp', '/dev/shm', sys.argv[1]):
    for i in range(100):
        try:
            with open('%s/%d' % (where, i), 'wb', 0) as f:
                for j in range(100): total += f.write(block)
        except OSError as e: errors.add(e.strerror); break
print(total >> 20, sorted(errors), flush=True)
for where in ('/', '/usr', '/usr/share', '/var/tmp', '/etc', '/dev', '/root'):
    try: open(where + '/x', 'wb'); print('wrote in', where)
    except OSError: pass
sys.exit(1)
`)
		c.Dir, c.Args, c.Disk = dir, append(c.Args, dir), 48<<20
		o := run(t, uid, c)
		if !strings.HasPrefix(o.Out, "4") || !strings.HasSuffix(o.Out, "['No space left on device']\n") && !strings.HasSuffix(o.Out, "['File too large', 'No space left on device']\n") {
			t.Errorf("got %q %s", o.Out, o.Err)
		}
		if o.Code != slipway.Exhausted || !strings.Contains(o.Message, "disk was full") {
			t.Errorf("got %s (%s)", o.Message, o.Code)
		}
	})
}

// Each process is refused what it may not have; all together are ended.
func TestE2EMemory(t *testing.T) {
	t.Parallel()
	const limit = 256 << 20
	users(t, func(t *testing.T, uid int) {
		for _, tt := range []struct {
			name, script, say string
			code              slipway.Code
		}{
			{"one process at once", "x = bytearray(300 << 20)", "code 1", slipway.Invalid},
			{"one process bit by bit", "x = []\nwhile True: x.append(bytearray(1 << 20))", "code 1", slipway.Invalid},
			{"many processes", `
import os, time
for i in range(4):
    if os.fork() == 0: break
x = bytearray(100 << 20)
for i in range(0, len(x), 4096): x[i] = 1
time.sleep(60)`, "memory", slipway.Exhausted},
			{"shared memory without a name", `
import mmap, time
x = mmap.mmap(-1, 400 << 20)
for i in range(0, len(x), 4096): x[i] = 1
time.sleep(60)`, "memory", slipway.Exhausted},
		} {
			t.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				c := script(t, tt.script)
				c.Memory = limit
				o := run(t, uid, c)
				if o.Code != tt.code || !strings.Contains(o.Message, tt.say) {
					t.Errorf("got %s (%s) %s", o.Message, o.Code, o.Err)
				}
				if tt.code == slipway.Invalid && !strings.Contains(o.Err, "MemoryError") {
					t.Errorf("it said %q", o.Err)
				}
			})
		}
		t.Run("what is shared counts once", func(t *testing.T) {
			t.Parallel()
			c := script(t, `
import os, time
x = bytearray(100 << 20)
for i in range(0, len(x), 4096): x[i] = 1
children = [pid for pid in (os.fork() for i in range(4)) if pid] if os.getpid() else []
time.sleep(0.5)`)
			c.Memory = limit
			c.Args[len(c.Args)-1] = strings.Replace(c.Args[len(c.Args)-1],
				"children = [pid for pid in (os.fork() for i in range(4)) if pid] if os.getpid() else []",
				"for i in range(4):\n    if os.fork() == 0: break", 1)
			fine(t, uid, c)
		})
	})
}

func TestE2EFiles(t *testing.T) {
	t.Parallel()
	c := script(t, "import os\nn = 0\ntry:\n    while True: os.dup(0); n += 1\nexcept OSError: print(n)")
	c.Files = 100
	if got := fine(t, os.Geteuid(), c); got != "97" {
		t.Errorf("%s files, want 97", got)
	}
}

// The end of the context ends a program that ignores everything, and all it
// started.
func TestE2EItsTimeIsUp(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c := script(t, `
import os, signal
for s in (1, 2, 15): signal.signal(s, signal.SIG_IGN)
if os.fork() == 0: os.setsid()
else: os.write(3, (os.readlink('/proc/self/ns/pid') + '\n').encode())
while True: signal.pause()
`)
	c.ExtraFiles = []*os.File{write}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cmd, err := sandbox.Command(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	namespace, err := bufio.NewReader(read).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := sandbox.Explain(cmd, cmd.Wait()); slipway.CodeOf(err) != slipway.Unavailable {
		t.Errorf("got %v (%s)", err, slipway.CodeOf(err))
	}
	if n := inNamespace(t, strings.TrimSpace(namespace)); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(200*time.Millisecond))
	defer cancel()
	cmd, err = sandbox.Command(late, script(t, "import signal\nsignal.pause()"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Explain(cmd, cmd.Run()); slipway.CodeOf(err) != slipway.Exhausted {
		t.Errorf("got %v (%s)", err, slipway.CodeOf(err))
	}
}

// Whoever is killed takes the sandboxes along.
func TestE2ETheParentsDeathEndsIt(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		c := script(t, `
import os, signal
if os.fork() == 0: os.setsid()
signal.pause()
`)
		cmd := starter(t, uid, "hold", plantedHome(t), c)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscan(out, &pid); err != nil {
			t.Fatal(err)
		}
		namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		awaitEnd(t, pid)
		if n := inNamespace(t, namespace); n != 0 {
			t.Errorf("%d processes are left", n)
		}
	})
}

// How it ended is told, and signals reach the program.
func TestE2EHowItEnded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		c    sandbox.Config
		code slipway.Code
		say  string
	}{
		{"well", script(t, "pass"), "", ""},
		{"with a code", script(t, "raise SystemExit(7)"), slipway.Invalid, "code 7"},
		{"with code 137", script(t, "raise SystemExit(137)"), slipway.Invalid, "code 137"},
		{"by its own signal", script(t, "import os\nos.kill(os.getpid(), 11)"), slipway.Invalid, "signal 11"},
		{"not a program", sandbox.Config{Program: "/etc/passwd"}, slipway.NotFound, "cannot be started"},
		{"a program whose interpreter is not shown", interpreted(t), slipway.NotFound, "cannot be started"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if o := run(t, os.Geteuid(), tt.c); o.Code != tt.code || !strings.Contains(o.Message, tt.say) {
				t.Errorf("got %s (%s) %s", o.Message, o.Code, o.Err)
			}
		})
	}
}

func interpreted(t *testing.T) sandbox.Config {
	t.Helper()
	path := filepath.Join(openFolder(t), "program")
	if err := os.WriteFile(path, []byte("#!/opt/none/python\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return sandbox.Config{Program: path}
}

func TestE2ESignalsReachTheProgram(t *testing.T) {
	t.Parallel()
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	c := script(t, "import os, signal\nos.write(3, b'ready\\n')\nsignal.pause()")
	c.ExtraFiles = []*os.File{write}
	cmd, err := sandbox.Command(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	write.Close()
	if _, err := bufio.NewReader(read).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := sandbox.Explain(cmd, cmd.Wait()); err == nil || !strings.Contains(err.Error(), "signal 15") {
		t.Errorf("got %v", err)
	}
}
