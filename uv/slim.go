package uv

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

// unbuilt are the sources that extension modules were compiled from. (Headers
// stay: some packages compile where they run.)
var unbuilt = map[string]bool{".pyx": true, ".pxd": true, ".pxi": true, ".tp": true}

// slim takes out of a site what nothing reads where a model serves: the
// packages' own tests, a tenth of the scientific packages; the Cython sources
// of compiled modules; type stubs. What a module of the site imports from
// tests stays, and so do the stubs of a package that loads its modules by them
// (lazy_loader, SPEC 1 of Scientific Python).
func slim(dir string) error {
	needed, err := readImports(dir)
	if err != nil {
		return err
	}
	return fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		file := filepath.Join(dir, filepath.FromSlash(name))
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isTests(name) && !needed.tests[name]:
			if err := os.RemoveAll(file); err != nil {
				return err
			}
			return fs.SkipDir
		case !entry.Type().IsRegular():
			return nil
		case unbuilt[path.Ext(name)], path.Ext(name) == ".pyi" && !needed.stubs[top(name)]:
			return os.Remove(file)
		}
		return nil
	})
}

// isTests reports whether a folder of a site is a package's tests. One at the
// top is a package of that name.
func isTests(name string) bool { return path.Base(name) == "tests" && name != "tests" }

// top is the package a file of a site belongs to.
func top(name string) string {
	first, _, _ := strings.Cut(name, "/")
	return first
}

// imports are what modules of a site need of what is usually not needed.
type imports struct {
	tests map[string]bool // folders
	stubs map[string]bool // packages
}

// readImports reads the modules of a site that are not in folders of tests.
func readImports(dir string) (imports, error) {
	found := imports{tests: map[string]bool{}, stubs: map[string]bool{}}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && isTests(name):
			return fs.SkipDir
		case !entry.Type().IsRegular(), path.Ext(name) != ".py":
			return nil
		}
		source, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		found.read(name, string(source))
		return err
	})
	return found, err
}

// imported are the statements that name tests: from .tests.data import table.
var imported = regexp.MustCompile(`(?m)^[ \t]*(?:from|import)[ \t]+([\w.]+)(?:[ \t]+import[ \t]+([^#\n]*))?`)

var aTest = regexp.MustCompile(`\btests\b`)

func (i imports) read(name, source string) {
	if strings.Contains(source, "attach_stub") {
		i.stubs[top(name)] = true
	}
	if !strings.Contains(source, "tests") {
		return
	}
	for _, statement := range imported.FindAllStringSubmatch(source, -1) {
		module := statement[1]
		if aTest.MatchString(statement[2]) {
			module = strings.TrimSuffix(module, ".") + ".tests"
		}
		if before, _, ok := strings.Cut(absolute(name, module)+"/", "/tests/"); ok {
			i.tests[before+"/tests"] = true
		}
	}
}

// absolute is the path of a module in a site, as the module in a file names it.
func absolute(file, module string) string {
	rest := strings.TrimLeft(module, ".")
	names := strings.ReplaceAll(rest, ".", "/")
	up := len(module) - len(rest)
	if up == 0 {
		return names
	}
	return path.Join(path.Dir(file), strings.Repeat("../", up-1), names)
}
