package oci

import (
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway/mlmodel"
)

// Versions of a model share their Python packages, which are a hundred times
// larger than the model. An unpacked image lists what it has of which layer,
// and the next one beside it links those files instead of fetching them. When
// an image is removed, the others keep theirs: nobody has to clean up.

// listFile says in an unpacked image which files came of which layer of packages.
const listFile = ".slipway-layers.json"

const maxList = 64 << 20

type layerList struct {
	Digest string       `json:"digest"`
	Files  []packedFile `json:"files"`
	dir    string       // the site-packages folder they are in
}

type packedFile struct {
	Name string `json:"name"` // below mlmodel.ImagePackages
	Size int64  `json:"size"`
	Time int64  `json:"time"` // it was written, in nanoseconds
}

func writeLists(root *os.Root, lists []layerList) error {
	raw, err := json.Marshal(lists)
	if err != nil {
		return err
	}
	return root.WriteFile(listFile, raw, 0o644)
}

// listBeside returns the layers that the images beside dir have. One that
// cannot be read has none.
func listBeside(dir string) map[string]layerList {
	found := map[string]layerList{}
	entries, err := os.ReadDir(filepath.Dir(dir))
	if err != nil {
		return nil
	}
	for _, e := range entries {
		if !e.IsDir() || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		image := filepath.Join(filepath.Dir(dir), e.Name())
		for _, l := range readLists(filepath.Join(image, listFile)) {
			l.dir = filepath.Join(image, filepath.FromSlash(mlmodel.ImagePackages))
			found[l.Digest] = l
		}
	}
	return found
}

func readLists(file string) []layerList {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	var lists []layerList
	if json.NewDecoder(io.LimitReader(f, maxList)).Decode(&lists) != nil {
		return nil
	}
	return lists
}

// linked links all files of the layer, or none: when one was changed since it
// was written, or the file system does not link. Images are linked when they
// are complete, so each file was checked against the layer's digest once.
func (u *unpacker) linked(l layerList) bool {
	if len(l.Files) == 0 {
		return false
	}
	for i, f := range l.Files {
		if !u.link(l.dir, f) {
			u.unlink(l.Files[:i])
			return false
		}
	}
	u.list = l.Files
	return true
}

func (u *unpacker) link(from string, f packedFile) bool {
	if !fs.ValidPath(f.Name) {
		return false
	}
	old := filepath.Join(from, filepath.FromSlash(f.Name))
	info, err := os.Lstat(old)
	if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size || info.ModTime().UnixNano() != f.Time {
		return false
	}
	to := path.Join(u.to, f.Name)
	return u.parent(to) == nil && os.Link(old, filepath.Join(u.root.Name(), filepath.FromSlash(to))) == nil
}

func (u *unpacker) unlink(files []packedFile) {
	for _, f := range files {
		_ = u.root.Remove(path.Join(u.to, f.Name)) // what stays is in the way of the unpacker, which says so
	}
}
