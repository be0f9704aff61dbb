//go:build e2e

package e2e_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/oci"
)

// The base holds a Python that runs with nothing but what is in it, as the
// user of the images, too.
func TestE2EPythonBase(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		e2e.NotRun(t, "chroot needs root")
	}
	ref, version := e2e.PythonBase(t, e2e.ImageRegistry(t))
	if again, _ := e2e.PythonBase(t, e2e.ImageRegistry(t)); again != ref || !strings.HasSuffix(ref, "/python:"+version+"-slim") {
		t.Errorf("the base is %s, and again %s", ref, again)
	}
	dir := unpackBase(t, ref)
	const program = `import ssl, sqlite3, ctypes, lzma, bz2, zlib, uuid, readline, curses, hashlib, json, asyncio, multiprocessing, tempfile, sys
ctypes.CDLL("libgomp.so.1"), ctypes.CDLL("libstdc++.so.6")
open(tempfile.mktemp(), "w").write("x")
print("%d.%d" % sys.version_info[:2], "ok")`
	for _, user := range []string{"0:0", "65532:65532"} {
		cmd := exec.CommandContext(t.Context(), "chroot", "--userspec="+user, dir, "/usr/bin/python"+version, "-c", program)
		cmd.Env = []string{"PATH=/usr/bin"}
		if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != version+" ok" {
			t.Errorf("as %s: %v\n%s", user, err, out)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "tmp")); err != nil || info.Mode() != os.ModeDir|os.ModeSticky|0o777 {
		t.Errorf("/tmp: %v, %v", info, err)
	}
}

func unpackBase(t *testing.T, ref string) string {
	t.Helper()
	base, err := oci.New(oci.Config{}).Base(t.Context(), ref, "linux/"+runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := base.Layers()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		var said bytes.Buffer
		cmd := exec.CommandContext(t.Context(), "tar", "-C", dir, "-xpf", "-")
		cmd.Stdin, cmd.Stderr = r, &said
		if err := cmd.Run(); err != nil {
			t.Fatalf("unpacking the base: %v\n%s", err, &said)
		}
		r.Close()
	}
	return dir
}
