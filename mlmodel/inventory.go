package mlmodel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// File is one file of a model directory.
type File struct {
	Path   string         `json:"path"` // relative, with slashes
	Size   int64          `json:"size"` // bytes
	SHA256 slipway.Digest `json:"sha256"`
}

// DownloadedMeta is written into a model directory by MLflow's own client when
// it downloads; it is no part of the model.
const DownloadedMeta = "registered_model_meta"

// DigestFiles returns the digest over all files of a model: the SHA-256 of one
// line "DIGEST SIZE PATH\n" a file, sorted by path. DownloadedMeta does not
// count.
func DigestFiles(files []File) slipway.Digest {
	sorted := slices.Clone(files)
	slices.SortFunc(sorted, func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	h := sha256.New()
	for _, f := range sorted {
		if f.Path != DownloadedMeta {
			fmt.Fprintf(h, "%s %d %s\n", f.SHA256, f.Size, f.Path)
		}
	}
	return sum(h.Sum(nil))
}

// Inventory lists and hashes the regular files below dir, sorted by path,
// leaving out ReleaseDir. Links and other special files are refused: code Invalid.
func Inventory(dir string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if rel == ReleaseDir {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() {
			return slipway.Errorf(slipway.Invalid, "reading the model directory", "%s is not a regular file", rel).
				WithHint("replace it by a copy of what it points at")
		}
		f, err := hashFile(path)
		f.Path = filepath.ToSlash(rel)
		files = append(files, f)
		return err
	})
	return files, err
}

func hashFile(path string) (File, error) {
	f, err := os.Open(path)
	if err != nil {
		return File{}, err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return File{Size: n, SHA256: sum(h.Sum(nil))}, err
}

func sum(b []byte) slipway.Digest {
	return slipway.Digest("sha256:" + hex.EncodeToString(b))
}
