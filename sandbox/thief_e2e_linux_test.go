//go:build e2e

package sandbox_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-dev/slipway"
)

// What a thief finds is nothing: it looks through its environment, all files
// it can open, and all that processes show.
func TestE2EAThiefGetsNothing(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		c := script(t, `
import os, sys
def text(path):
    try:
        with open(path, 'rb') as f: return f.read(1 << 20)
    except OSError: return b''
found, seen = [], 0
for top, dirs, files in os.walk('/', onerror=lambda e: None):
    dirs[:] = [d for d in dirs if os.path.join(top, d) not in ('/usr', '/proc/sys', '/proc/self', '/proc/thread-self')]
    for name in files:
        path = os.path.join(top, name)
        if name in ('kmsg', 'zero', 'full', 'random', 'urandom', 'pagemap', 'clear_refs', 'stdin', 'stdout', 'stderr'): continue
        if path.startswith('/proc/%d/' % os.getpid()) and name in ('cmdline', 'mem'): continue
        seen += 1
        if os.path.isfile(path) and ('hunter2' + '-of').encode() in text(path): found.append(path)
for fd in range(64):
    try: found.append('descriptor %d: %s' % (fd, os.readlink('/proc/self/fd/%d' % fd))) if fd > 2 and os.fstat(fd) else None
    except OSError: pass
found += [k for k in os.environ if k not in ('HOME', 'LANG', 'PATH', 'TMPDIR', 'LC_CTYPE', 'MODEL_SETTING')]
for home in sys.argv[1:]:
    if os.path.exists(home): found.append(home)
print(seen > 100, os.environ['MODEL_SETTING'], found)
`)
		c.Env = []string{"MODEL_SETTING=given"}
		c.Args = append(c.Args, "/root", "/home/root", "/var", "/run", "/sys", "/opt", "/etc/shadow", "/etc/machine-id", "/var/run/docker.sock")
		if got := fine(t, uid, c); got != "True given []" {
			t.Errorf("got %q", got)
		}
	})
}

// It has no rights, and no way to any.
func TestE2EAThiefHasNoRights(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		got := fine(t, uid, script(t, `
import ctypes, os, socket
libc = ctypes.CDLL(None, use_errno=True)
status = dict(l.split(':\t', 1) for l in open('/proc/self/status').read().splitlines() if ':\t' in l)
print(os.getresuid() == (65532,)*3, os.getresgid() == (65532,)*3)
print({status[k].strip() for k in ('CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb')}, status['NoNewPrivs'].strip(), status['Seccomp'].strip())
def refused(f, *args):
    try: f(*args); return False
    except OSError: return True
CLONE_NEWUSER = 0x10000000
print(libc.unshare(CLONE_NEWUSER), libc.syscall(56 if os.uname().machine == 'x86_64' else 220, CLONE_NEWUSER | 17, 0, 0, 0, 0) > 0)
print(libc.mount(b'none', b'/tmp', b'tmpfs', 0, None), libc.ptrace(16, 1, 0, 0))
print([refused(socket.socket, family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW) for family in (40, 17, 38)])
print([refused(open, p, 'w') for p in ('/x', '/etc/passwd', '/usr/x', '/dev/x', '/proc/sys/user/max_user_namespaces', '/proc/self/oom_score_adj', '/proc/1/environ')])
print([refused(open, p) for p in ('/proc/1/environ', '/proc/1/maps', '/proc/1/mem')], refused(os.listdir, '/proc/1/fd'))
print([refused(os.kill, 1, 9)], os.getsid(0) == os.getpid(), len([p for p in os.listdir('/proc') if p.isdigit()]))
`))
		// Process 1 of a user who is not root is that same user: kill(1, 9) is
		// allowed, and the kernel ignores it.
		kill := "True"
		if uid != 0 {
			kill = "False"
		}
		want := "True True\n{'0000000000000000'} 1 2\n-1 False\n-1 -1\n[True, True, True]\n" +
			"[True, True, True, True, True, True, True]\n[True, True, True] True\n[" + kill + "] True 2"
		if got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	})
}

// Without Network nobody hears from it; with it, this machine's network is
// there.
func TestE2EAThiefCannotDialOut(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		heard := make(chan string, 16)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					close(heard)
					return
				}
				line := make([]byte, 16)
				n, _ := conn.Read(line)
				conn.Close()
				heard <- string(line[:n])
			}
		}()
		abstract, err := net.Listen("unix", fmt.Sprintf("@slipway-sandbox-test-%d-%d", os.Getpid(), uid))
		if err != nil {
			t.Fatal(err)
		}
		defer abstract.Close()
		c := script(t, `
import socket, sys
def dial(family, address, text):
    s = socket.socket(family)
    s.settimeout(5)
    try: s.connect(address); s.sendall(text.encode()); return True
    except OSError: return False
port = int(sys.argv[1])
out = dial(socket.AF_INET, ('127.0.0.1', port), sys.argv[3]), dial(socket.AF_UNIX, '\0' + sys.argv[2], 'x')
own = socket.create_server(('127.0.0.1', 0))
print(*out, dial(socket.AF_INET, own.getsockname(), 'self'))
`)
		args := []string{strings.TrimPrefix(listener.Addr().String(), "127.0.0.1:"), strings.TrimPrefix(abstract.Addr().String(), "@")}
		shut := c
		shut.Args = append(append([]string{}, c.Args...), append(args, "thief")...)
		if got := fine(t, uid, shut); got != "False False True" {
			t.Errorf("without network: got %q", got)
		}
		open := c
		open.Network = true
		open.Args = append(append([]string{}, c.Args...), append(args, "allowed")...)
		if got := fine(t, uid, open); got != "True True True" {
			t.Errorf("with network: got %q", got)
		}
		listener.Close()
		var all []string
		for line := range heard {
			all = append(all, line)
		}
		if len(all) != 1 || all[0] != "allowed" {
			t.Errorf("the listener heard %q", all)
		}
	})
}

// What is shown cannot be changed, a mount within it and what a link names
// included, though its files allow it; folders above it are not shown.
func TestE2EWhatIsShownCannotBeChanged(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		dir := openFolder(t)
		shown, hidden := filepath.Join(dir, "shown"), filepath.Join(dir, "hidden")
		for _, d := range []string{shown, hidden} {
			if err := os.Mkdir(d, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(d, 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(d, "file"), []byte("as it was"), 0o644); err != nil {
				t.Fatal(err)
			}
			owner := uid
			if owner == 0 {
				owner = 65532 // who it is when root starts it
			}
			if err := os.Chown(filepath.Join(d, "file"), owner, owner); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(filepath.Join(hidden, "file"), filepath.Join(shown, "link")); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(shown, filepath.Join(dir, "alias")); err != nil {
			t.Fatal(err)
		}
		mounted := filepath.Join(shown, "mounted")
		if err := os.Mkdir(mounted, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", mounted, "tmpfs", 0, "size=1m,mode=0777"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(mounted, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
		c := script(t, `
import os, sys
def attempt(f, *args):
    try: return f(*args)
    except OSError as e: return 'refused'
shown = sys.argv[1]
print(open(shown + '/file').read(), attempt(open, shown + '/link'), sorted(os.listdir(os.path.dirname(shown))))
print(attempt(open, shown + '/file', 'a'), attempt(os.unlink, shown + '/file'), attempt(os.mkdir, shown + '/new'), attempt(os.chmod, shown + '/file', 0o600), attempt(os.rename, shown, shown + 'x'), attempt(open, shown + '/mounted/x', 'w'))
`)
		c.ReadOnly = []string{filepath.Join(dir, "alias")}
		c.Args = append(c.Args, filepath.Join(dir, "alias"))
		want := "as it was refused ['alias', 'shown']\nrefused refused refused refused refused refused"
		if got := fine(t, uid, c); got != want {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

// What it makes arrives, but no link and no more than its disk.
func TestE2EWhatItMakesArrives(t *testing.T) {
	t.Parallel()
	users(t, func(t *testing.T, uid int) {
		dir := filepath.Join(openFolder(t), "made")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "before"), []byte("unseen"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{dir, filepath.Join(dir, "before")} {
			if err := os.Chown(p, uid, uid); err != nil {
				t.Fatal(err)
			}
		}
		c := script(t, `
import os, sys
os.chdir(sys.argv[1])
print(os.listdir('.'))
os.makedirs('deep/er')
open('deep/er/file', 'w').write('made')
os.symlink('/etc/shadow', 'link'); os.symlink('/', 'deep/all'); os.mkfifo('pipe')
`)
		c.Dir, c.Args = dir, append(c.Args, dir)
		if got := fine(t, uid, c); got != "[]" {
			t.Errorf("it saw %s", got)
		}
		if data, err := os.ReadFile(filepath.Join(dir, "deep/er/file")); string(data) != "made" {
			t.Errorf("got %q (%v)", data, err)
		}
		for _, name := range []string{"link", "deep/all", "pipe"} {
			if _, err := os.Lstat(filepath.Join(dir, name)); !os.IsNotExist(err) {
				t.Errorf("%s came along (%v)", name, err)
			}
		}
		c.Args = append(script(t, "import os, sys\nfor i in range(4): os.truncate(open('%s/%d' % (sys.argv[1], i), 'w').name, 60 << 20)").Args, dir)
		c.Disk = 64 << 20
		o := run(t, uid, c)
		if o.Code != slipway.Exhausted || !strings.Contains(o.Message, "stored") {
			t.Errorf("sparse files: got %s (%s)", o.Message, o.Code)
		}
	})
}
