package slipway_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var testFunc = regexp.MustCompile(`(?m)^func (Test\w*)\(t \*testing\.T\)`)

// `make e2e` runs the tests called TestE2E… under the tag e2e; one that has
// only the tag, or only the name, would never run.
func TestEndToEndTestsAreRun(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && path != "." {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		tagged := strings.HasPrefix(string(src), "//go:build e2e\n")
		for _, m := range testFunc.FindAllStringSubmatch(string(src), -1) {
			if named := strings.HasPrefix(m[1], "TestE2E"); named != tagged && m[1] != "TestMain" {
				t.Errorf("%s: %s: the tag e2e and the name TestE2E… go together", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
