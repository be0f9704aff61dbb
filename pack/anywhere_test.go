package pack_test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

const goarch = runtime.GOARCH

// TestMain lets the test binary be the process that builds as somebody else.
func TestMain(m *testing.M) {
	if umask, ok := os.LookupEnv("SLIPWAY_TEST_UMASK"); ok {
		n, err := strconv.ParseUint(umask, 8, 16)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		syscall.Umask(int(n))
	}
	os.Exit(m.Run())
}

// TestChild prints the digest for TestSameAnywhere, which starts it.
func TestChild(t *testing.T) {
	dir := os.Getenv("SLIPWAY_TEST_CHILD")
	if dir == "" {
		return // an ordinary run: TestSameAnywhere is the test
	}
	image := digest(t, build(t, copied(t, sample(t), dir)))
	site := t.TempDir()
	layers := digests(t, packPackages(t, t.TempDir(), site, tinySite(t, site), pack.Zstd))
	fmt.Fprintln(os.Stdout, "digest", image, layers)
}

// TestDiskFull builds in a process whose files may not grow beyond 64 KB.
func TestDiskFull(t *testing.T) {
	if os.Getenv("SLIPWAY_TEST_DISK") == "full" {
		signal.Ignore(syscall.SIGXFSZ) // or the runtime dies of it
		try(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 64 << 10, Max: 64 << 10}))
		c := sample(t)
		c.ModelDir = os.Getenv("SLIPWAY_TEST_MODEL")
		_, err := pack.Image(t.Context(), c)
		wantError(t, err, slipway.Exhausted, "the disk is full")
		for _, f := range cachedLayers(t, c.CacheDir) {
			if strings.Contains(f, "spool-") {
				t.Errorf("%s is left", f)
			}
		}
		return
	}
	t.Parallel()
	dir := t.TempDir()
	big := make([]byte, 1<<20)
	_, err := rand.Read(big)
	try(t, err)
	try(t, os.WriteFile(filepath.Join(dir, "weights"), big, 0o644))
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestDiskFull$")
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_DISK=full", "SLIPWAY_TEST_MODEL="+dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// copied is the sample in another folder, with the modes the umask leaves.
func copied(t testing.TB, c pack.Config, dir string) pack.Config {
	t.Helper()
	try(t, os.CopyFS(filepath.Join(dir, "model"), os.DirFS(c.ModelDir)))
	server, err := os.ReadFile(c.Server)
	try(t, err)
	try(t, os.WriteFile(filepath.Join(dir, "server"), server, 0o777))
	c.ModelDir, c.Server = filepath.Join(dir, "model"), filepath.Join(dir, "server")
	return c
}

func TestSameAnywhere(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, umask, zone string
		processors        string
		user              uint32 // 0: who runs the test
	}{
		{name: "another folder", umask: "022", zone: "UTC"},
		{name: "a strict umask", umask: "077", zone: "UTC"},
		{name: "a loose umask", umask: "000", zone: "UTC"},
		{name: "another time zone", umask: "022", zone: "Pacific/Kiritimati"},
		{name: "one processor", umask: "022", zone: "UTC", processors: "1"},
		{name: "many processors", umask: "022", zone: "UTC", processors: "16"},
		{name: "another user", umask: "027", zone: "America/New_York", user: 12345},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.user != 0 && os.Getuid() != 0 {
				t.Log("not root: the other user is the one who runs the test")
				test.user = 0
			}
			want := pinned + " " + pinnedPackages[pack.Zstd]
			if got := childDigest(t, test.user, "SLIPWAY_TEST_UMASK="+test.umask, "TZ="+test.zone, "GOMAXPROCS="+test.processors); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func childDigest(t *testing.T, user uint32, env ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-pack-")
	try(t, err)
	t.Cleanup(func() { try(t, os.RemoveAll(dir)) })
	program, fixtures := publish(t, dir)
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestChild$", "-test.v")
	cmd.Dir = fixtures
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_CHILD="+filepath.Join(dir, "work"), "TMPDIR="+dir, "HOME="+dir)
	cmd.Env = append(cmd.Env, env...)
	if user != 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user}}
		try(t, os.Chmod(dir, 0o777))
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	_, rest, _ := strings.Cut(string(out), "digest ")
	got, _, _ := strings.Cut(rest, "\n")
	return got
}

// publish puts the test binary and its fixtures where any user may read them:
// both can be below a folder that only one may enter.
func publish(t *testing.T, dir string) (program, fixtures string) {
	t.Helper()
	self, err := os.Executable()
	try(t, err)
	data, err := os.ReadFile(self)
	try(t, err)
	program = filepath.Join(dir, "test")
	try(t, os.WriteFile(program, data, 0o755))
	try(t, os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS("testdata")))
	try(t, os.Chmod(dir, 0o755))
	return program, dir
}

func TestSameWhateverTheTimes(t *testing.T) {
	t.Parallel()
	c := copied(t, sample(t), t.TempDir())
	for i, at := range []time.Time{time.Unix(0, 0), time.Now(), time.Now().AddDate(30, 0, 0)} {
		file := filepath.Join(c.ModelDir, "MLmodel")
		try(t, os.Chtimes(file, at, at))
		try(t, os.Chmod(file, []os.FileMode{0o600, 0o755, 0o444}[i]))
		if got := digest(t, build(t, c)); got != pinned {
			t.Errorf("%s: got %s, want %s", at, got, pinned)
		}
	}
}

// TestChangeIsNoticed changes a file after the folder was listed (at 1) or
// after it was opened and its size promised (at 2).
func TestChangeIsNoticed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		at     int
		change func(file string) error
	}{
		{"grows", 2, func(file string) error { return appendTo(file, "more") }},
		{"shrinks", 2, func(file string) error { return os.Truncate(file, 3) }},
		{"is written again", 2, func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("y", 1000)), 0o644) }},
		{"becomes a link", 1, func(file string) error { return errors.Join(os.Remove(file), os.Symlink("/etc/passwd", file)) }},
		{"becomes a pipe", 1, func(file string) error { return errors.Join(os.Remove(file), syscall.Mkfifo(file, 0o644)) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			write(t, dir, map[string]string{"f": strings.Repeat("x", 1000)})
			file := filepath.Join(dir, "f")
			try(t, os.Chtimes(file, time.Time{}, time.Now().Add(-time.Hour)))
			err := pack.WriteModelWhile(t.Context(), dir, test.at, func() error { return test.change(file) })
			wantError(t, err, slipway.Corrupt, `"f" changed while it was packed`)
		})
	}
}

func appendTo(file, text string) error {
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
