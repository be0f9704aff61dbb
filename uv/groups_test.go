package uv_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/uv"
)

func write(t *testing.T, dir, name string, size int) {
	t.Helper()
	file := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, int64(size)); err != nil { // a hole, so that many big files cost nothing
		t.Fatal(err)
	}
}

func record(t *testing.T, dir, dist string, lines string) {
	t.Helper()
	write(t, dir, dist+".dist-info/RECORD", 0)
	if err := os.WriteFile(filepath.Join(dir, dist+".dist-info/RECORD"), []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, "big/core.so", 8<<20)
	write(t, dir, "big/a.py", 1)
	write(t, dir, "big/__pycache__/a.cpython-311.pyc", 1)
	write(t, dir, "google/api/x.py", 1)
	write(t, dir, "google/__pycache__/y.cpython-311.pyc", 1)
	write(t, dir, "google/y.py", 9<<20)
	write(t, dir, "loose.pth", 1)
	record(t, dir, "big-1.0", "big/core.so,,\nbig/a.py,sha256=x,1\nbig-1.0.dist-info/RECORD,,\n../../etc/passwd,,\ngoogle/y.py,,\n")
	record(t, dir, "small-2.0", "google/api/x.py,,\nsmall-2.0.dist-info/RECORD,,\n\"with \"\"quotes\"\", and commas\",,\n")
	record(t, dir, "yy-3.0", "google/y.py,,\nyy-3.0.dist-info/RECORD,,\n")
	got, err := uv.Groups(dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		got[i].Size = 0
	}
	want := []uv.Group{
		{Name: "big", Packages: []string{"big 1.0"}, Files: []string{"big-1.0.dist-info/RECORD", "big/__pycache__/a.cpython-311.pyc", "big/a.py", "big/core.so", "google/__pycache__/y.cpython-311.pyc", "google/y.py"}},
		{Name: "packages", Packages: []string{"small 2.0", "yy 3.0"}, Files: []string{"google/api/x.py", "loose.pth", "small-2.0.dist-info/RECORD", "yy-3.0.dist-info/RECORD"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestManyGroups(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i := range 70 {
		name := fmt.Sprintf("p%02d", i)
		write(t, dir, name+".so", 8<<20+i)
		record(t, dir, name+"-1", name+".so,,\n"+name+"-1.dist-info/RECORD,,\n")
	}
	groups, err := uv.Groups(dir)
	if err != nil || len(groups) != 58 || groups[0].Name != "p69" || len(groups[57].Packages) != 13 || len(groups[57].Files) != 26 {
		t.Errorf("%d groups, %v", len(groups), err)
	}
}

func TestSourceOf(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"a/__pycache__/b.cpython-311.pyc": "a/b.py", "__pycache__/b.cpython-311.pyc": "b.py", "a/b.pyc": "a/b.pyc",
		"a/__pycache__/b.txt": "a/__pycache__/b.txt", "a/b.py": "a/b.py", "a/__pycache__/b.cpython-38.opt-1.pyc": "a/b.py",
	} {
		if got := uv.SourceOf(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("a/b.py,sha256=x,1\n")
	f.Add("\"a,\"\"b\",,\n../x,,\n/etc/passwd,,\na\x00b,,\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "RECORD")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		rows, err := uv.ReadRecord(file)
		for _, row := range rows {
			if !filepath.IsLocal(row[0]) || len(row) != 3 {
				t.Errorf("%q %v", row, err)
			}
		}
	})
}
