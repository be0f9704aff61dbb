package uv

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// leftovers are files of a dist-info folder that tell of the installation
// instead of the package. importlib.metadata and pip do without them.
var leftovers = []string{"INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}

// clean takes out of a site what depends on the machine that made it: console
// scripts, which name its interpreter; bytecode that came in wheels; notes of
// the installer. It is made slim. RECORD files tell of what is left, sorted. All
// can read it.
func clean(dir string) error {
	const op = "cleaning the model's Python packages"
	if err := errors.Join(removeLeftovers(dir), slim(dir)); err != nil {
		return fileError(op, err)
	}
	records, err := filepath.Glob(filepath.Join(dir, "*.dist-info", "RECORD"))
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	for _, record := range records {
		if err := rewriteRecord(dir, record); err != nil {
			return fileError(op, err)
		}
	}
	return nil
}

func removeLeftovers(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "bin", "__init__.py")); errors.Is(err, fs.ErrNotExist) { // else it is a package of that name
		if err := os.RemoveAll(filepath.Join(dir, "bin")); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, ".lock")); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && entry.Name() == "__pycache__" {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
			return fs.SkipDir
		}
		if strings.HasSuffix(filepath.Dir(file), ".dist-info") && slices.Contains(leftovers, entry.Name()) {
			return os.Remove(file)
		}
		return normalMode(file, entry)
	})
}

// normalMode lets everybody read, and run what somebody may run.
func normalMode(file string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	want := fs.FileMode(0o644)
	if info.IsDir() || info.Mode().Perm()&0o111 != 0 {
		want = 0o755
	}
	if info.Mode()&fs.ModeSymlink != 0 || info.Mode().Perm() == want {
		return nil
	}
	return os.Chmod(file, want)
}

// rewriteRecord keeps the lines of a RECORD whose files are there.
func rewriteRecord(dir, record string) error {
	rows, err := readRecord(record)
	if err != nil {
		return err
	}
	rows = slices.DeleteFunc(rows, func(row []string) bool {
		_, err := os.Lstat(filepath.Join(dir, filepath.FromSlash(row[0])))
		return err != nil
	})
	slices.SortFunc(rows, func(a, b []string) int { return strings.Compare(a[0], b[0]) })
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		return err
	}
	return writeFile(record, b.Bytes())
}

// readRecord reads the lines of a RECORD: path, hash, size. Paths that lead out
// of the site are left out.
func readRecord(record string) ([][]string, error) {
	file, err := os.Open(record)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	lines := csv.NewReader(io.LimitReader(file, maxRecord))
	lines.FieldsPerRecord, lines.LazyQuotes = -1, true
	var rows [][]string
	for {
		row, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		name := path.Clean(row[0])
		if len(row) == 3 && row[0] != "" && filepath.IsLocal(filepath.FromSlash(name)) {
			rows = append(rows, []string{name, row[1], row[2]})
		}
	}
}

// maxRecord bounds a RECORD, in bytes: torch's has 2 MB.
const maxRecord = 64 << 20
