package uv_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

func TestPipAsUV(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ in, want map[string]string }{
		"index":                {map[string]string{"PIP_INDEX_URL": "https://u:p@a/simple"}, map[string]string{"UV_DEFAULT_INDEX": "https://u:p@a/simple"}},
		"uv's own index":       {map[string]string{"PIP_INDEX_URL": "https://a", "UV_INDEX_URL": "https://b"}, map[string]string{"UV_INDEX_URL": "https://b"}},
		"more indexes":         {map[string]string{"PIP_EXTRA_INDEX_URL": " https://a\n https://b "}, map[string]string{"UV_INDEX": "https://a https://b"}},
		"uv's own others":      {map[string]string{"PIP_EXTRA_INDEX_URL": "https://a", "UV_EXTRA_INDEX_URL": "https://b"}, map[string]string{"UV_EXTRA_INDEX_URL": "https://b"}},
		"links":                {map[string]string{"PIP_FIND_LINKS": "/a https://b"}, map[string]string{"UV_FIND_LINKS": "/a,https://b"}},
		"hosts and constraint": {map[string]string{"PIP_TRUSTED_HOST": "a b:8080", "PIP_CONSTRAINT": "c.txt"}, map[string]string{"UV_INSECURE_HOST": "a b:8080", "UV_CONSTRAINT": "c.txt"}},
		"certificates":         {map[string]string{"PIP_CERT": "/c", "PIP_CLIENT_CERT": "/d", "SSL_CERT_FILE": "/e"}, map[string]string{"SSL_CERT_FILE": "/e", "SSL_CLIENT_CERT": "/d"}},
		"proxy":                {map[string]string{"PIP_PROXY": "http://p", "https_proxy": "http://q"}, map[string]string{"HTTP_PROXY": "http://p", "https_proxy": "http://q"}},
		"numbers":              {map[string]string{"PIP_DEFAULT_TIMEOUT": "180", "PIP_RETRIES": "many"}, map[string]string{"UV_HTTP_TIMEOUT": "180"}},
		"switches":             {map[string]string{"PIP_NO_INDEX": "true", "PIP_PRE": "0", "PIP_KEYRING_PROVIDER": "import"}, map[string]string{"UV_NO_INDEX": "1"}},
		"keyring":              {map[string]string{"PIP_PRE": "1", "PIP_KEYRING_PROVIDER": "subprocess"}, map[string]string{"UV_PRERELEASE": "allow", "UV_KEYRING_PROVIDER": "subprocess"}},
	} {
		got := uv.PipAsUV(test.in)
		for name := range got {
			if strings.HasPrefix(name, "PIP_") {
				delete(got, name)
			}
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRedact(t *testing.T) {
	t.Parallel()
	environ := []string{"UV_DEFAULT_INDEX=https://me:p%40ssw0rd@a/simple", "UV_INDEX=https://token-only@b/simple", "UV_INDEX_MINE_PASSWORD=swordfish"}
	for text, want := range map[string]string{
		"at https://me:p%40ssw0rd@a/simple/x":      "at https://a/simple/x",
		"the password p@ssw0rd":                    "the password ****",
		"token-only, swordfish":                    "****, ****",
		"https://x/file.whl?sig=abc&se=1 is there": "https://x/file.whl is there",
		"somebody@example.com":                     "somebody@example.com",
		"(`http://other:user@c/d`)":                "(`http://c/d`)",
		"(`http://other:p@ss@c/d`)":                "(`http://c/d`)",
	} {
		if got := uv.Redact(environ, text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestKey(t *testing.T) {
	t.Parallel()
	base := uv.Request{Requirements: []string{"a==1", "b"}, Python: "3.11", Platform: "linux/amd64"}
	same := base
	same.Requirements, same.Upgrade = []string{"b", "a==1", "b"}, true
	if base.Key() != same.Key() || len(base.Key()) != 32 {
		t.Errorf("%s %s", base.Key(), same.Key())
	}
	keys := map[string]int{base.Key(): 0}
	for i, change := range []func(*uv.Request){
		func(r *uv.Request) { r.Requirements = []string{"a==1"} }, func(r *uv.Request) { r.Constraints = []string{"b"} },
		func(r *uv.Request) { r.Requirements, r.Constraints = []string{"a==1"}, []string{"b"} },
		func(r *uv.Request) { r.Settings = []string{"UV_PRERELEASE=allow"} },
		func(r *uv.Request) { r.Python = "3.12" }, func(r *uv.Request) { r.Platform = "linux/arm64" },
	} {
		other := base
		change(&other)
		if j, taken := keys[other.Key()]; taken {
			t.Errorf("changes %d and %d give one key", i+1, j)
		}
		keys[other.Key()] = i + 1
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		in     []string
		choice uv.Choice
		want   []string
	}{
		"exact":            {[]string{"mlflow==3.17.2", "numpy==2.4.6"}, uv.Choice{}, []string{"mlflow-skinny==3.17.2", "numpy==2.4.6", "pandas"}},
		"extras and range": {[]string{"MLflow[extras] >=3,<4"}, uv.Choice{}, []string{"mlflow-skinny>=3,<4", "numpy", "pandas"}},
		"old":              {[]string{"mlflow==1.30.0", "scikit-learn==1.1.2"}, uv.Choice{}, []string{"mlflow-skinny==1.30.0", "scikit-learn==1.1.2", "numpy<2", "pandas<2"}},
		"of 2.15":          {[]string{"mlflow==2.15.1", "Pandas==2.0.0"}, uv.Choice{}, []string{"mlflow-skinny==2.15.1", "Pandas==2.0.0", "numpy<2"}},
		"full":             {[]string{"mlflow==3.17.2"}, uv.Choice{Full: true}, []string{"mlflow==3.17.2"}},
		"skinny already":   {[]string{"mlflow-skinny==3.17.2"}, uv.Choice{}, []string{"mlflow-skinny==3.17.2"}},
		"no mlflow":        {[]string{"numpy"}, uv.Choice{MLflow: "3.17.2"}, []string{"numpy", "mlflow-skinny==3.17.2", "pandas"}},
		"bad version":      {[]string{"numpy", "pandas"}, uv.Choice{MLflow: "1 @ http://x"}, []string{"numpy", "pandas", "mlflow-skinny"}},
		"gpu":              {[]string{"mlflow==3.17.2", "xgboost==3.2.0", "numpy", "pandas"}, uv.Choice{}, []string{"mlflow-skinny==3.17.2", "xgboost==3.2.0", "numpy", "pandas"}},
		"cpu":              {[]string{"mlflow==3.17.2", "xgboost==3.2.0", "numpy", "pandas", "torch"}, uv.Choice{CPU: true}, []string{"mlflow-skinny==3.17.2", "xgboost-cpu==3.2.0", "numpy", "pandas", "torch"}},
	} {
		var in []mlmodel.Requirement
		for _, line := range test.in {
			r, err := mlmodel.ParseRequirement(line)
			if err != nil {
				t.Fatal(err)
			}
			in = append(in, r)
		}
		var got []string
		for _, r := range uv.Choose(in, test.choice) {
			got = append(got, r.String())
		}
		if d := cmp.Diff(test.want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

var one = uv.Lock{Python: "3.11", Platform: "linux/amd64", Packages: []uv.Package{{Name: "a-b", Version: "1.0+cpu", Hashes: []string{sha([]byte("1")), sha([]byte("2"))}}}}

func TestLock(t *testing.T) {
	t.Parallel()
	got, err := uv.ParseLock(one.Encode())
	if d := cmp.Diff(one, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	if p, ok := got.Package("A_b"); !ok || p.Version != "1.0+cpu" {
		t.Error("a package is not found by another spelling")
	}
	good := string(one.Encode())
	for name, text := range map[string]string{
		"empty": "", "no header": good[strings.Index(good, "\n")+1:], "other Python": strings.Replace(good, "3.11", "2.7", 1),
		"other platform": strings.Replace(good, "amd64", "s390x", 1), "an option": good + "--index-url http://evil\n",
		"an address": good + "c @ http://evil/c.whl \\\n    --hash=" + sha(nil) + "\n", "no hash": good + "c==1\n", "twice": good + good[strings.Index(good, "\n")+1:],
		"short hash": good + "c==1 --hash=sha256:abc\n", "by hand": good + "\n", "a range": good + "c>=1 \\\n    --hash=" + sha(nil) + "\n",
	} {
		if _, err := uv.ParseLock([]byte(text)); slipway.CodeOf(err) != slipway.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzLock(f *testing.F) {
	f.Add(string(one.Encode()))
	f.Add("a==1 \\\n --hash=sha256:00\n# x\n")
	f.Fuzz(func(t *testing.T, text string) {
		if l, err := uv.ParseLock([]byte(text)); err == nil && string(l.Encode()) != text {
			t.Errorf("%q", text)
		}
		packages, err := uv.ParsePins(text)
		if err != nil {
			return
		}
		l := uv.Lock{Python: "3.11", Platform: "linux/amd64", Packages: packages}
		if again, err := uv.ParseLock(l.Encode()); err != nil || !cmp.Equal(again, l) {
			t.Errorf("%v %+v", err, l)
		}
	})
}

func TestNoUV(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, c := range []uv.Config{{CacheDir: dir}, {CacheDir: dir, Program: "/nowhere/uv"}, {CacheDir: dir, Environ: []string{"PATH=" + dir}}} {
		if _, err := uv.New(c); slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "pip install") {
			t.Errorf("%v", err)
		}
	}
}

// offline returns a client whose uv must not be run.
func offline(t *testing.T, environ ...string) *uv.Client {
	t.Helper()
	c, err := uv.New(uv.Config{Program: "/bin/false", CacheDir: t.TempDir(), Environ: environ})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestIndexOfModel sees that a model's own index is used only where the user
// named it, too.
func TestIndexOfModel(t *testing.T) {
	t.Parallel()
	c := offline(t, "PIP_EXTRA_INDEX_URL=https://me:secret@Mine.example/simple/", "UV_FIND_LINKS=/wheels,https://links.example/", "UV_INDEX_URL=https://main.example/simple")
	for index, allowed := range map[string]bool{
		"https://mine.example/simple": true, "https://pypi.org/simple/": true, "/wheels": true, "https://links.example": true, "https://main.example/simple": true,
		"http://evil.example/simple": false, "http://mine.example/simple": false, "https://mine.example/other": false, "wheels": false,
	} {
		_, err := c.Request(mlmodel.Needs{Python: "3.11", From: "requirements.txt", Indexes: []string{index}}, nil, "linux/amd64")
		if (err == nil) != allowed || err != nil && (slipway.CodeOf(err) != slipway.Unauthorized || !strings.Contains(err.Error(), index) || slipway.HintOf(err) == "") {
			t.Errorf("%s: %v", index, err)
		}
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "c.txt"), []byte("numpy<3 # no\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := offline(t, "PIP_CONSTRAINT="+filepath.Join(dir, "c.txt"), "UV_EXCLUDE_NEWER=2026-01-01", "UV_PYTHON=9")
	needs := mlmodel.Needs{Python: "3.11", Constraints: []mlmodel.Requirement{{Name: "pandas", Specifier: "<4"}}, Prerelease: true}
	got, err := c.Request(needs, []mlmodel.Requirement{{Name: "a", Specifier: "==1"}}, "linux/arm64")
	want := uv.Request{Requirements: []string{"a==1"}, Constraints: []string{"pandas<4", "numpy<3"}, Python: "3.11", Platform: "linux/arm64",
		Settings: []string{"UV_EXCLUDE_NEWER=2026-01-01", "UV_PRERELEASE=allow"}}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v %s", err, d)
	}
	for _, bad := range []uv.Request{{Python: "3", Platform: "linux/amd64"}, {Python: "3.11", Platform: "windows/amd64"},
		{Python: "3.11", Platform: "linux/amd64", Requirements: []string{"--index-url=http://evil"}}, {Python: "3.11", Platform: "linux/amd64", Requirements: []string{"a\n-r /etc/passwd"}}} {
		if _, err := c.Lock(t.Context(), bad); slipway.CodeOf(err) != slipway.Invalid {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	c := offline(t)
	failed := errors.New("the registry went away")
	if _, err := c.Adopt(t.Context(), one, func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "half"), nil, 0o644), failed)
	}); !errors.Is(err, failed) {
		t.Errorf("%v", err)
	}
	if _, there := c.Find(one); there {
		t.Error("half a site is there")
	}
	fill := func(dir string) error { return os.WriteFile(filepath.Join(dir, "a.py"), nil, 0o644) }
	site, err := c.Adopt(t.Context(), one, fill)
	if files, _ := os.ReadDir(site.Dir); err != nil || len(files) != 1 || files[0].Name() != "a.py" {
		t.Errorf("%v %v", err, files)
	}
	if again, err := c.Install(t.Context(), one, nil); err != nil || again.Dir != site.Dir {
		t.Errorf("%+v %v", again, err)
	}
}

func TestKeep(t *testing.T) {
	t.Parallel()
	c := offline(t)
	r := uv.Request{Requirements: []string{"a-b"}, Python: "3.11", Platform: "linux/amd64"}
	if _, kept := c.Kept(r); kept {
		t.Error("a lock that nobody made")
	}
	if err := c.Keep(t.Context(), r, one); err != nil {
		t.Fatal(err)
	}
	if l, err := c.Lock(t.Context(), r); err != nil || !cmp.Equal(l, one) {
		t.Errorf("%v %+v", err, l)
	}
	r.Python = "3.12"
	if err := c.Keep(t.Context(), r, one); slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("a lock of another Python: %v", err)
	}
}

// TestPrune has more sites than are kept: the ones that nobody used lately go,
// but for the newest.
func TestPrune(t *testing.T) {
	t.Parallel()
	c := offline(t)
	fill := func(string) error { return nil }
	var locks []uv.Lock
	for i := range 11 {
		l := uv.Lock{Python: fmt.Sprintf("3.%d", 8+i), Platform: "linux/amd64"}
		site, err := c.Adopt(t.Context(), l, fill)
		if err != nil {
			t.Fatal(err)
		}
		locks = append(locks, l)
		if i == 1 {
			continue // used lately
		}
		old := time.Now().Add(-48*time.Hour + time.Duration(i)*time.Minute)
		if err := os.Chtimes(filepath.Dir(site.Dir), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Adopt(t.Context(), one, fill); err != nil {
		t.Fatal(err)
	}
	var gone []int
	for i, l := range locks {
		if _, there := c.Find(l); !there {
			gone = append(gone, i)
		}
	}
	if d := cmp.Diff([]int{0, 2, 3, 4}, gone); d != "" {
		t.Error(d)
	}
}
