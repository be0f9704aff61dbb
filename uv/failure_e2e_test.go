//go:build e2e

package uv_test

import (
	"os"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/uv"
)

// client returns a Client of the real uv with an empty cache, whose package
// index is the one named by env.
func client(t *testing.T, env ...string) *uv.Client {
	t.Helper()
	environ := []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir(), "PYENV_ROOT=" + pyenv(), "UV_HTTP_RETRIES=0", "UV_PYTHON_DOWNLOADS=never"}
	c, err := uv.New(uv.Config{Program: e2e.UV(t), CacheDir: t.TempDir(), Environ: append(environ, env...)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// pyenv is where pyenv keeps interpreters, for tests whose HOME is another.
func pyenv() string {
	if root := os.Getenv("PYENV_ROOT"); root != "" {
		return root
	}
	return os.Getenv("HOME") + "/.pyenv"
}

// stocked returns an index with wheels of every kind that fails.
func stocked(t *testing.T) *index {
	x := newIndex(t)
	x.add("plain", "1.0", "py3-none-any", nil, "plain/__init__.py", "A = 1\n")
	x.add("plain", "2.0", "py3-none-any", nil, "plain/__init__.py", "A = 2\n")
	x.add("needy", "1.0", "py3-none-any", []string{"plain<2"}, "needy.py", "A = 1\n")
	x.add("broken", "1.0", "py3-none-any", []string{"nowhere==3"}, "broken.py", "A = 1\n")
	x.add("gpu", "1.0", "py3-none-manylinux_2_28_x86_64", nil, "gpu.py", "A = 1\n")
	x.add("young", "1.0", "py3-none-manylinux_2_39_x86_64", nil, "young.py", "A = 1\n")
	x.add("old", "1.0", "cp38-cp38-manylinux_2_28_x86_64", nil, "old.py", "A = 1\n")
	x.requires[x.add("future", "1.0", "py3-none-any", nil, "future.py", "A = 1\n")] = ">=3.99"
	x.put("source-1.0.tar.gz", []byte("no matter"))
	x.put("torn-1.0-py3-none-any.whl", []byte("not a zip"))
	return x
}

// TestE2EFailures is the table of what uv cannot do, and what the error says.
func TestE2EFailures(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	c := client(t, "UV_DEFAULT_INDEX="+x.URL+"/simple")
	for name, test := range map[string]struct {
		requirements string
		platform     string
		code         slipway.Code
		want, hint   string
	}{
		"conflict":           {"needy plain==2.0", "", slipway.Invalid, "needy depend on plain<2", "loosen one"},
		"conflict of pins":   {"plain==1.0 plain==2.0", "", slipway.Invalid, "you require plain==1.0 and plain==2.0", "loosen one"},
		"no package":         {"nowhere", "", slipway.NotFound, "the index has no package nowhere", "UV_INDEX"},
		"no package below":   {"broken", "", slipway.NotFound, "the index has no package nowhere", "UV_INDEX"},
		"no version":         {"plain==3", "", slipway.NotFound, "the index has no plain==3", "UV_PRERELEASE"},
		"newer glibc":        {"young", "", slipway.Invalid, "young==1.0 has no wheel for linux/amd64", "pip wheel young==1.0"},
		"other processor":    {"gpu", "linux/arm64", slipway.Invalid, "gpu==1.0 has no wheel for linux/arm64", "UV_FIND_LINKS"},
		"older Python only":  {"old", "", slipway.Invalid, "old==1.0 has no wheel for the model's Python (3.11)", "pip wheel old==1.0"},
		"newer Python only":  {"future", "", slipway.Invalid, "future==1.0 needs Python>=3.99, the model has Python 3.11", "another Python"},
		"source only":        {"source", "", slipway.Invalid, "source==1.0 is published as source only", "pip wheel source==1.0"},
		"broken wheel":       {"torn", "", slipway.Corrupt, "the wheel of torn==1.0 is broken", "another version"},
		"other hash":         {"plain==1.0|--hash=" + sha(nil), "", slipway.Corrupt, "no file of plain 1.0 with a hash", "new hashes"},
		"no such comparison": {"plain<<3", "", slipway.Invalid, "is no requirement", "name==1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := uv.Request{Python: "3.11", Platform: test.platform}
			if r.Platform == "" {
				r.Platform = "linux/amd64"
			}
			for _, q := range strings.Fields(test.requirements) {
				r.Requirements = append(r.Requirements, strings.ReplaceAll(q, "|", " "))
			}
			_, err := c.Lock(t.Context(), r)
			checkFailure(t, err, test.code, test.want, test.hint)
		})
	}
}

func checkFailure(t *testing.T, err error, code slipway.Code, want, hint string) {
	t.Helper()
	if slipway.CodeOf(err) != code || !strings.Contains(err.Error(), want) || !strings.Contains(slipway.HintOf(err), hint) {
		t.Errorf("code %s, hint %q\n%v", slipway.CodeOf(err), slipway.HintOf(err), err)
	}
	if err != nil && strings.Contains(err.Error()+slipway.HintOf(err), "sesame") {
		t.Errorf("the error tells the password: %v", err)
	}
}

// TestE2EIndexFails asks indexes that do not answer as they should.
func TestE2EIndexFails(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	x.user = "user:open-sesame"
	down := func(status int) string {
		x := stocked(t)
		x.set(status)
		return "UV_DEFAULT_INDEX=" + x.with("user:sesame")
	}
	for name, test := range map[string]struct {
		env        string
		code       slipway.Code
		want, hint string
	}{
		"wrong password": {"UV_DEFAULT_INDEX=" + x.with("user:sesame"), slipway.Unauthorized, "wants other credentials", ".netrc"},
		"no password":    {"PIP_INDEX_URL=" + x.URL + "/simple", slipway.Unauthorized, "wants other credentials", "PIP_INDEX_URL"},
		"403":            {down(403), slipway.Unauthorized, "refuses these credentials", "may read packages"},
		"500":            {down(500), slipway.Unavailable, "500 Internal Server Error", "again"},
		"429":            {down(429), slipway.Unavailable, "429 Too Many Requests", "again"},
		"no name":        {"PIP_INDEX_URL=https://user:sesame@nowhere.invalid/simple", slipway.Unavailable, "https://nowhere.invalid is out of reach", "HTTPS_PROXY"},
		"no port":        {"PIP_INDEX_URL=http://user:sesame@127.0.0.1:9/simple", slipway.Unavailable, "http://127.0.0.1:9 is out of reach", "HTTPS_PROXY"},
		"no folder":      {"PIP_FIND_LINKS=/nowhere/at/all", slipway.NotFound, "no folder of wheels /nowhere/at/all", "PIP_FIND_LINKS"},
		"no index":       {"PIP_NO_INDEX=1", slipway.NotFound, "plain is in no folder of wheels", "UV_FIND_LINKS"},
		"offline":        {"UV_OFFLINE=1", slipway.Unavailable, "UV_OFFLINE forbids", "unset UV_OFFLINE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := client(t, test.env).Lock(t.Context(), uv.Request{Requirements: []string{"plain"}, Python: "3.11", Platform: "linux/amd64"})
			checkFailure(t, err, test.code, test.want, test.hint)
		})
	}
}

// TestE2EWheelChanged locks a wheel that the index changes, takes away, or
// cannot send.
func TestE2EWheelChanged(t *testing.T) {
	t.Parallel()
	x := stocked(t)
	index := "UV_DEFAULT_INDEX=" + x.URL + "/simple"
	l, err := client(t, index).Lock(t.Context(), uv.Request{Requirements: []string{"plain==1.0"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	install := func() error {
		c := client(t, index)
		_, err := c.Install(t.Context(), l, nil)
		if _, there := c.Find(l); there != (err == nil) {
			t.Errorf("a site is there: %v, after %v", there, err)
		}
		return err
	}
	good := x.files["plain-1.0-py3-none-any.whl"]
	x.add("plain", "1.0", "py3-none-any", nil, "plain/__init__.py", "A = 'changed'\n")
	checkFailure(t, install(), slipway.Corrupt, "the index has another file for plain==1.0 than when it was locked", "--upgrade")
	x.put("plain-1.0-py3-none-any.whl", good)
	x.set(503)
	checkFailure(t, install(), slipway.Unavailable, "503", "again")
	x.set(0)
	if err := install(); err != nil {
		t.Error(err)
	}
}
