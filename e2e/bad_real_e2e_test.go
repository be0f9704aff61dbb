//go:build e2e

package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// A real image registry that refuses: read-only, or without credentials. The
// version before goes on serving from the registry it came from.
func TestE2EImageRegistryRefuses(t *testing.T) {
	t.Parallel()
	r := newReal(t, "logistic", "forest")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	passwords := filepath.Join(r.home, "htpasswd")
	const hash = "$2b$05$dng14Ll84TB.OA9WMZYZNubo5ml6HRHpDbLS8cvMdAS4k3uzHA0Ti" // bcrypt of the password below
	if err := os.WriteFile(passwords, []byte("ada:"+hash+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	closed := e2e.StartImageRegistry(t, "-htpasswd", passwords)
	two := "models:/" + string(r.model) + "/2"
	for _, test := range []struct{ name, image, said string }{
		{"read-only", e2e.StartImageRegistry(t, "-read-only") + "/iris", "read-only"},
		{"unauthorised", closed + "/iris", "docker login"},
	} {
		before := r.record()
		r.refused(1, []string{test.said}, "deploy", two, "--image", test.image)
		r.answersLike("1", "logistic")
		if after := r.record(); after.Revision != before.Revision || len(after.History) != len(before.History) {
			t.Errorf("%s: the journal changed", test.name)
		}
		if got := r.tags("2"); got["slipway.status"] != "failed" || got["slipway.reason"] == "" {
			t.Errorf("%s: tags of version 2: %v", test.name, got)
		}
	}
	const password = "correct horse"
	r.env = append(r.env, "ACR_LOGIN_SERVER="+closed, "ACR_USERNAME=ada", "ACR_PASSWORD="+password)
	got := r.want(0, []string{"Pushed to " + closed}, "deploy", two, "--image", closed+"/iris")
	r.answersLike("2", "forest")
	r.nowhere(password, got)
}

// A full disk, wherever it is met, says so and changes nothing; with space
// again the same command works.
func TestE2EDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Fatal("this test mounts a small disk and needs root")
	}
	for name, folder := range map[string]string{"cache": ".cache", "state": ".local/state"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newReal(t, "logistic", "forest")
			disk := filepath.Join(r.home, folder)
			r.mount(t, disk)
			r.promote("champion", "1")
			r.outcome(0, "deploy", r.champion())
			free := fill(t, disk)
			before := r.record()
			r.promote("champion", "2")
			r.refused(1, []string{"no space left on device"}, "deploy", r.champion())
			r.answersLike("1", "logistic")
			if after := r.record(); after.Current != nil || after.Live == nil || after.Live.ID != before.Live.ID {
				t.Errorf("the journal afterwards: %+v", after)
			}
			if litter := temporary(t, disk); len(litter) > 0 {
				t.Errorf("litter: %v", litter)
			}
			free()
			if got := r.outcome(0, "deploy", r.champion(), "--retry"); got.Kind != "live" {
				t.Errorf("with space again: %+v", got)
			}
			r.answersLike("2", "forest")
		})
	}
}

// mount puts a disk of 48 MB at dir until the end of the test. What serves is
// stopped first: it may live there.
func (w *world) mount(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=48m"); err != nil {
		t.Fatalf("mounting a small disk: %v", err)
	}
	t.Cleanup(func() {
		if got := w.run("stop", w.target()); got.code != 0 {
			t.Errorf("%s", got)
		}
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all space of the disk and returns how to give it back.
func fill(t *testing.T, dir string) (free func()) {
	t.Helper()
	path := filepath.Join(dir, "ballast")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 4096)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
}

// temporary lists the files whose names say that they are on their way.
func temporary(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && (strings.HasPrefix(d.Name(), ".new-") || strings.HasSuffix(d.Name(), ".tmp")) {
			found = append(found, path)
		}
		return nil // what is gone by now is no litter
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}
