//go:build e2e

package uv_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/uv"
)

// TestE2EExtra puts packages beside a lock, in versions that go with it.
func TestE2EExtra(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	c := client(t, "UV_DEFAULT_INDEX="+x.URL+"/simple")
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"plain==1.0"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	dir, err := c.Extra(t.Context(), l, "needy")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "needy.py")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "plain")); err == nil {
		t.Error("what the lock has is there again")
	}
	l.Packages[0].Version = "2.0"
	if _, err := c.Extra(t.Context(), l, "needy"); err == nil {
		t.Error("needy needs an older plain")
	}
	none, err := c.Extra(t.Context(), l, "plain")
	if files, err := os.ReadDir(none); err != nil || len(files) > 0 {
		t.Errorf("%v %v", files, err)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestE2EInterrupted cancels an installation: nothing stays.
func TestE2EInterrupted(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	c := client(t, "UV_DEFAULT_INDEX="+x.URL+"/simple")
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"plain"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	_, err = c.Install(ctx, l, func(string) { cancel() })
	if _, there := c.Find(l); err == nil || there {
		t.Errorf("%v, there: %v", err, there)
	}
	if _, err := c.Install(t.Context(), l, nil); err != nil {
		t.Error(err)
	}
}

// TestE2ECredentials takes packages from an index with a password: it is in no
// argument of uv, no lock, no site and no other file of ours.
func TestE2ECredentials(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	x.user = "user:open-sesame"
	dir := t.TempDir()
	wrapper := filepath.Join(dir, "uv")
	script := "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '" + filepath.Join(dir, "arguments") + "'\nexec '" + e2e.UV(t) + "' \"$@\"\n"
	if err := os.WriteFile(wrapper, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	environ := []string{"PATH=" + dir + ":" + os.Getenv("PATH"), "HOME=" + dir, "PYENV_ROOT=" + pyenv(), "PIP_EXTRA_INDEX_URL=" + x.with("user:open-sesame"),
		"UV_DEFAULT_INDEX=" + newIndex(t).URL + "/simple", "UV_CACHE_DIR=" + t.TempDir(), "UV_PYTHON_DOWNLOADS=never"}
	c, err := uv.New(uv.Config{CacheDir: filepath.Join(dir, "cache"), Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"needy"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Install(t.Context(), l, nil); err != nil {
		t.Fatal(err)
	}
	arguments, err := os.ReadFile(filepath.Join(dir, "arguments"))
	if err != nil || !strings.Contains(string(arguments), "pip compile") || !strings.Contains(string(arguments), "pip install") {
		t.Errorf("%v\n%s", err, arguments)
	}
	err = filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if strings.Contains(string(data), "sesame") {
			t.Errorf("%s holds the password", file)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// TestE2EProject runs where a project and its uv.toml name another index: they
// do not count, nor do they in the cache folder's parents.
func TestE2EProject(t *testing.T) {
	t.Parallel()
	x, evil := stocked(t), newIndex(t)
	evil.add("plain", "9.0", "py3-none-any", nil, "plain/__init__.py", "A = 'evil'\n")
	dir := t.TempDir()
	for name, text := range map[string]string{"uv.toml": "[[index]]\nurl = \"" + evil.URL + "/simple\"\ndefault = true\n",
		"pyproject.toml": "[project]\nname = \"a\"\nversion = \"1\"\n[tool.uv.sources]\nplain = {url = \"" + evil.URL + "/files/plain-9.0-py3-none-any.whl\"}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	c, err := uv.New(uv.Config{Program: e2e.UV(t), CacheDir: filepath.Join(dir, "cache"), Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "UV_DEFAULT_INDEX=" + x.URL + "/simple"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"plain"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil || l.Packages[0].Version != "2.0" {
		t.Errorf("%+v %v", l, err)
	}
}

// TestE2EOtherMachine makes an arm64 environment on any machine.
func TestE2EOtherMachine(t *testing.T) {
	t.Parallel()
	x := newIndex(t)
	x.add("fast", "1.0", "py3-none-manylinux_2_28_x86_64", nil, "fast.py", "A = 'x86'\n")
	x.add("fast", "1.0", "py3-none-manylinux_2_17_aarch64", nil, "fast.py", "A = 'arm'\n")
	c := client(t, "UV_DEFAULT_INDEX="+x.URL+"/simple")
	for platform, want := range map[string]string{"linux/amd64": "x86", "linux/arm64": "arm"} {
		l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"fast"}, Python: "3.11", Platform: platform})
		if err != nil {
			t.Fatal(err)
		}
		site, err := c.Install(t.Context(), l, nil)
		if err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(filepath.Join(site.Dir, "fast.py")); err != nil || !strings.Contains(string(data), want) {
			t.Errorf("%s: %s %v", platform, data, err)
		}
	}
}

// TestE2EKept resolves once and again only when asked to.
func TestE2EKept(t *testing.T) {
	t.Parallel()
	x := newIndex(t)
	x.add("plain", "1.0", "py3-none-any", nil, "plain.py", "")
	c := client(t, "UV_DEFAULT_INDEX="+x.URL+"/simple")
	r := uv.Request{Requirements: []string{"plain"}, Python: "3.11", Platform: "linux/amd64"}
	for _, step := range []struct {
		upgrade bool
		want    string
	}{{false, "1.0"}, {false, "1.0"}, {true, "2.0"}, {false, "2.0"}} {
		r.Upgrade = step.upgrade
		l, err := c.Lock(t.Context(), r)
		if err != nil || l.Packages[0].Version != step.want {
			t.Errorf("%+v: %+v %v", step, l, err)
		}
		x.add("plain", "2.0", "py3-none-any", nil, "plain.py", "")
	}
}

// TestE2EOldest makes an environment with the oldest uv that we say works.
func TestE2EOldest(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	program := filepath.Join(filepath.Dir(e2e.Python(t, "uv=="+uv.MinimumVersion)), "uv")
	c, err := uv.New(uv.Config{Program: program, CacheDir: t.TempDir(), Environ: []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYENV_ROOT=" + pyenv(), "UV_DEFAULT_INDEX=" + x.URL + "/simple"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"needy"}, Constraints: []string{"plain==1.0"}, Settings: []string{"UV_PRERELEASE=allow"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Install(t.Context(), l, nil); err != nil {
		t.Error(err)
	}
	_, err = c.Lock(t.Context(), uv.Request{Requirements: []string{"source"}, Python: "3.11", Platform: "linux/amd64"})
	checkFailure(t, err, slipway.Invalid, "source==1.0 is published as source only", "pip wheel")
}
