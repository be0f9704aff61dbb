//go:build e2e

package uv_test

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

// tree returns every file of a folder with the hash of its bytes and its mode.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		sum := sha256.Sum256(data)
		name, _ := filepath.Rel(dir, file)
		files[name] = info.Mode().String() + " " + hex.EncodeToString(sum[:])
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// TestE2ESite makes the environment of a scikit-learn model twice, from PyPI,
// in different folders: the same lock and the same bytes. Times are logged.
func TestE2ESite(t *testing.T) {
	m := mlmodel.Model{Dir: t.TempDir()}
	m.Python.Version = "3.11.7"
	text := "mlflow==3.17.2\ncloudpickle==3.1.2\nnumpy==2.4.6\npandas==3.1.1\nscikit-learn==1.9.1\nscipy==1.17.1"
	if err := os.WriteFile(filepath.Join(m.Dir, "requirements.txt"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	needs, err := m.Needs()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(e2e.Cache(t), "uv-site-test")
	environ := append(os.Environ(), "UV_CACHE_DIR="+filepath.Join(e2e.Cache(t), "uv-cache"), "PIP_FIND_LINKS=")
	if err := os.RemoveAll(cache); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(cache) })
	var sites []uv.Site
	for _, sub := range []string{"a", "b/with a space"} {
		c, err := uv.New(uv.Config{Program: e2e.UV(t), CacheDir: filepath.Join(cache, sub), Environ: environ})
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.Request(needs, uv.Choose(needs.Requirements, uv.Choice{}), "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		lap := stopwatch(t)
		l, err := c.Lock(t.Context(), r)
		lap("lock", err)
		_, err = c.Lock(t.Context(), r)
		lap("lock again", err)
		site, err := c.Install(t.Context(), l, func(step string) { lap("until "+step, nil) })
		lap("install and compile", err)
		_, err = c.Install(t.Context(), l, nil)
		lap("install again", err)
		groups, err := uv.Groups(site.Dir)
		lap("groups", err)
		for _, g := range groups {
			t.Logf("%s: %d packages, %d files, %d MB", g.Name, len(g.Packages), len(g.Files), g.Size>>20)
		}
		sites = append(sites, site)
	}
	if d := cmp.Diff(sites[0].Lock.Encode(), sites[1].Lock.Encode()); d != "" {
		t.Errorf("two locks: %s", d)
	}
	first, second := tree(t, sites[0].Dir), tree(t, sites[1].Dir)
	if d := cmp.Diff(first, second); d != "" {
		t.Errorf("two sites of one lock: %s", d)
	}
	checkGroups(t, sites[0].Dir, first)
	importTimes(t, sites[0].Dir)
}

func stopwatch(t *testing.T) func(what string, err error) {
	last := time.Now()
	return func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		t.Logf("%s: %.2f s", what, time.Since(last).Seconds())
		last = time.Now()
	}
}

// checkGroups sees that each file is in one group.
func checkGroups(t *testing.T, site string, files map[string]string) {
	t.Helper()
	groups, err := uv.Groups(site)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, g := range groups {
		if !slices.IsSorted(g.Files) || len(g.Files) == 0 {
			t.Errorf("%s: %d files", g.Name, len(g.Files))
		}
		all = append(all, g.Files...)
	}
	slices.Sort(all)
	want := []string{}
	for name := range files {
		want = append(want, filepath.ToSlash(name))
	}
	slices.Sort(want)
	if d := cmp.Diff(want, all); d != "" {
		t.Error(d)
	}
}

// importTimes logs how long the packages take to import with and without
// bytecode, and sees that both work.
func importTimes(t *testing.T, site string) {
	t.Helper()
	python := "python3.11"
	c := client(t)
	if found, err := c.Interpreter(t.Context(), "3.11"); err == nil {
		python = found.Path
	}
	for _, prefix := range []string{"", t.TempDir()} { // an empty prefix folder hides the bytecode
		for range 2 {
			start := time.Now()
			cmd := exec.CommandContext(t.Context(), python, "-B", "-c", "import sklearn.ensemble, pandas, mlflow.pyfunc; print(sklearn.__file__)")
			cmd.Env = append(os.Environ(), "PYTHONPATH="+site, "PYTHONPYCACHEPREFIX="+prefix)
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.HasPrefix(string(out), site) {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("import, bytecode hidden: %v: %.2f s", prefix != "", time.Since(start).Seconds())
		}
	}
}

// TestE2ESiteOfOneLock has many want the same site at once, and looks at what
// is in it.
func TestE2ESiteOfOneLock(t *testing.T) {
	t.Parallel()
	x := newIndex(t)
	x.add("plain", "1.0", "py3-none-any", nil, "plain/__init__.py", "A = {None, 'a', 'b'}\n", "plain/__pycache__/__init__.cpython-311.pyc", "stale",
		"plain/template.py", "print 'of another Python'\n", "plain/tests/test_it.py", "assert True\n", "plain-1.0.data/scripts/tool", "#!python\n",
		"plain-1.0.dist-info/entry_points.txt", "[console_scripts]\nplain = plain:main\n")
	index := "UV_DEFAULT_INDEX=" + x.URL + "/simple"
	c := client(t, index)
	l, err := c.Lock(t.Context(), uv.Request{Requirements: []string{"plain"}, Python: "3.11", Platform: "linux/amd64"})
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	var installed atomic.Int32
	for range 6 {
		all.Go(func() {
			count := func(step string) {
				if strings.HasPrefix(step, "downloading") {
					installed.Add(1)
				}
			}
			if _, err := c.Install(t.Context(), l, count); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if installed.Load() != 1 {
		t.Errorf("it was installed %d times", installed.Load())
	}
	site, ok := c.Find(l)
	if !ok {
		t.Fatal("there is no site")
	}
	got := []string{}
	for name := range tree(t, site.Dir) {
		got = append(got, name)
	}
	slices.Sort(got)
	want := []string{"plain-1.0.dist-info/METADATA", "plain-1.0.dist-info/RECORD", "plain-1.0.dist-info/WHEEL", "plain-1.0.dist-info/entry_points.txt",
		"plain/__init__.py", "plain/__pycache__/__init__.cpython-311.pyc", "plain/template.py"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	record, err := os.ReadFile(filepath.Join(site.Dir, "plain-1.0.dist-info", "RECORD"))
	if err != nil || strings.Contains(string(record), "pycache") || strings.Contains(string(record), "tool") || !strings.Contains(string(record), "plain/template.py,sha256=") {
		t.Errorf("%v\n%s", err, record)
	}
	checkGroups(t, site.Dir, tree(t, site.Dir))
}

// TestE2EBytecodeOfInterpreters compiles the standard library's sources with
// every Python 3 of this machine, each in two processes.
func TestE2EBytecodeOfInterpreters(t *testing.T) {
	t.Parallel()
	c := client(t)
	ran := 0
	for _, version := range []string{"3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14"} {
		python, err := c.Interpreter(t.Context(), version)
		if err != nil {
			t.Logf("not run: %v", err)
			continue
		}
		var trees []map[string]string
		for range 2 {
			dir := t.TempDir()
			if err := os.CopyFS(filepath.Join(dir, "lib"), goodSources(t, python)); err != nil {
				t.Fatal(err)
			}
			if err := uv.Compile(t.Context(), c, dir, python, 1+len(trees)); err != nil {
				t.Fatal(err)
			}
			trees = append(trees, tree(t, dir))
		}
		if d := cmp.Diff(trees[0], trees[1]); d != "" || len(trees[0]) < 50 {
			t.Errorf("%s: %d files\n%s", version, len(trees[0]), d)
		}
		ran++
	}
	if ran == 0 {
		t.Error("there is no Python")
	}
}

// goodSources is a part of the interpreter's own library.
func goodSources(t *testing.T, python uv.Interpreter) fs.FS {
	minor := strings.Join(strings.Split(python.Version, ".")[:2], ".")
	return os.DirFS(filepath.Join(python.Prefix, "lib", "python"+minor, "asyncio"))
}
