package uv_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/uv"
)

func TestSlim(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		files map[string]string
		gone  []string // the others stay
	}{
		"tests": {map[string]string{
			"a/__init__.py": "", "a/tests/__init__.py": "from .b import tests", "a/tests/data/x.npz": "", "a/b/tests/test_b.py": "import a.tests", "a/tests.py": "", "a/testing/__init__.py": "",
		}, []string{"a/tests/__init__.py", "a/tests/data/x.npz", "a/b/tests/test_b.py"}},
		"a package of that name": {map[string]string{"tests/__init__.py": "", "tests/tests/x.py": ""}, []string{"tests/tests/x.py"}},
		"imported as a whole":    {map[string]string{"a/b.py": "import a.tests\n", "a/tests/x.py": "", "b/tests/x.py": ""}, []string{"b/tests/x.py"}},
		"imported in part":       {map[string]string{"a/b.py": "def f():\n\tfrom a.c.tests.d import e as g", "a/c/tests/d.py": "", "a/tests/x.py": ""}, []string{"a/tests/x.py"}},
		"imported by name":       {map[string]string{"a/__init__.py": "from a import b, tests # all", "a/tests/x.py": ""}, nil},
		"imported from beside":   {map[string]string{"a/b/c.py": "from .tests import x", "a/b/tests/x.py": "", "a/tests/x.py": ""}, []string{"a/tests/x.py"}},
		"imported from above":    {map[string]string{"a/b/c.py": "from .. import tests", "a/b/tests/x.py": "", "a/tests/x.py": ""}, []string{"a/b/tests/x.py"}},
		"the package's own":      {map[string]string{"a/__init__.py": "from . import tests", "a/tests/x.py": ""}, nil},
		"named, not imported":    {map[string]string{"a/b.py": "# see a.tests\nx = 'tests'\nfrom a import protests, c # tests\n", "a/tests/x.py": ""}, []string{"a/tests/x.py"}},
		"sources and stubs":      {map[string]string{"a/b.pyx": "", "a/b.pxd": "", "a/b.pxi": "", "a/b.h": "", "a/b.so": "", "a/b.pyi": "", "a/py.typed": ""}, []string{"a/b.pyx", "a/b.pxd", "a/b.pxi", "a/b.pyi"}},
		"stubs that are read":    {map[string]string{"a/__init__.py": "import lazy_loader\nlazy_loader.attach_stub(__name__, __file__)", "a/__init__.pyi": "", "a/b/c.pyi": "", "b/c.pyi": ""}, []string{"b/c.pyi"}},
		"a way out of the site":  {map[string]string{"a.py": "from ...... import tests", "a/tests/x.py": ""}, []string{"a/tests/x.py"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			want := map[string]string{}
			for file, content := range test.files {
				want[file] = content
				writeIn(t, dir, file, content)
			}
			for _, file := range test.gone {
				delete(want, file)
			}
			if err := uv.Slim(dir); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, filesIn(t, dir)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func writeIn(t *testing.T, dir, name, content string) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func filesIn(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
