package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// uvVersion is the uv that makes the Python environments.
const uvVersion = "0.13.9"

// Cache returns the folder that keeps what tests install and build, across
// runs: $SLIPWAY_TEST_CACHE, else slipway-test in the user's cache folder
// ($XDG_CACHE_HOME or ~/.cache). It is made when it is missing.
func Cache(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("SLIPWAY_TEST_CACHE")
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			t.Fatalf("no folder for the test cache: %v; set SLIPWAY_TEST_CACHE", err)
		}
		dir = filepath.Join(base, "slipway-test")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatalf("making the test cache: %v", err)
	}
	return dir
}

// Python returns the path of a Python interpreter in an environment that holds
// exactly the requirements (pip's syntax: "scikit-learn==1.5.2") and what they
// need. Environments are kept in the Cache, one for each Python version and
// list of requirements; processes that ask for the same one wait for each
// other. Commands that the requirements install are beside the interpreter.
func Python(t testing.TB, requirements ...string) string {
	t.Helper()
	base, version := systemPython(t)
	want := slices.Sorted(slices.Values(requirements))
	dir := filepath.Join(Cache(t), "python-"+fingerprint(version, want))
	once(t, dir, func() {
		uv := installUV(t, base, version)
		command(t, uv, "venv", "--python", base, "--no-project", dir)
		if len(want) > 0 {
			args := []string{"pip", "install", "--python", filepath.Join(dir, "bin", "python"), "--compile-bytecode"}
			command(t, uv, append(args, want...)...)
		}
	})
	return filepath.Join(dir, "bin", "python")
}

func installUV(t testing.TB, base, version string) string {
	t.Helper()
	dir := filepath.Join(Cache(t), "uv-"+fingerprint(version, []string{uvVersion}))
	once(t, dir, func() {
		command(t, base, "-m", "venv", dir)
		command(t, filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--quiet", "uv=="+uvVersion)
	})
	return filepath.Join(dir, "bin", "uv")
}

// systemPython returns the machine's Python and its version, installing the
// Debian packages when they are missing and we may.
func systemPython(t testing.TB) (path, version string) {
	t.Helper()
	probe := func() error {
		var err error
		if path, err = exec.LookPath("python3"); err != nil {
			return err
		}
		out, err := exec.CommandContext(t.Context(), path, "-c",
			"import sys, venv, ensurepip; print('.'.join(map(str, sys.version_info[:3])))").CombinedOutput()
		version = strings.TrimSpace(string(out))
		if err != nil {
			return fmt.Errorf("%s: %w: %s", path, err, version)
		}
		return nil
	}
	err := probe()
	if err == nil {
		return path, version
	}
	installDebian(t, err, "python3", "python3-venv")
	if err := probe(); err != nil {
		t.Fatalf("Python is installed but does not work: %v", err)
	}
	return path, version
}

// installDebian installs packages, or fails the test saying why it cannot.
func installDebian(t testing.TB, why error, packages ...string) {
	t.Helper()
	apt, err := exec.LookPath("apt-get")
	if err != nil || os.Geteuid() != 0 {
		t.Fatalf("this test needs %s (%v): install them; only root on Debian can have it done by the test",
			strings.Join(packages, " and "), why)
	}
	unlock := lock(t, filepath.Join(Cache(t), "apt"))
	defer unlock()
	command(t, apt, "-q", "update")
	command(t, apt, append([]string{"-q", "install", "-y", "--no-install-recommends"}, packages...)...)
}

// once runs build with an empty place for dir, unless an earlier run finished
// it. Python environments hold their own path, so they cannot be built aside
// and renamed; a mark beside the folder, set last, says that it is whole.
func once(t testing.TB, dir string, build func()) {
	t.Helper()
	mark := dir + ".ready"
	if _, err := os.Stat(mark); err == nil {
		return
	}
	unlock := lock(t, dir)
	defer unlock()
	if _, err := os.Stat(mark); err == nil {
		return
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatalf("clearing %s: %v", dir, err)
	}
	t.Logf("building %s (once)", dir)
	build()
	if err := os.WriteFile(mark, nil, 0o644); err != nil {
		t.Fatalf("marking %s as ready: %v", dir, err)
	}
}

// lock waits for the file lock named path.lock. The kernel lets it go when its
// process ends, however it ends.
func lock(t testing.TB, path string) (unlock func()) {
	t.Helper()
	f, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatalf("opening a lock: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("locking %s: %v", f.Name(), err)
	}
	return func() { f.Close() } // closing lets the lock go
}

// command runs a program to its end and fails the test with its output if it
// does not succeed.
func command(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "UV_CACHE_DIR="+filepath.Join(Cache(t), "uv-cache"),
		"UV_LINK_MODE=hardlink", "UV_NO_PROGRESS=1", "DEBIAN_FRONTEND=noninteractive", "PYTHONPATH=", "VIRTUAL_ENV=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, tail(out, 4000))
	}
}

func tail(b []byte, limit int) []byte {
	return b[max(0, len(b)-limit):]
}

func fingerprint(version string, requirements []string) string {
	sum := sha256.Sum256([]byte(version + "\n" + strings.Join(requirements, "\n")))
	return version + "-" + hex.EncodeToString(sum[:6])
}
