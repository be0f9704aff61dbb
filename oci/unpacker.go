package oci

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// unpacker writes what layers say below root.
type unpacker struct {
	root *os.Root
	left *budget

	// Of a layer of packages; see packageEntry.
	to   string          // where the packages go; "": the layer is none of packages
	mode fs.FileMode     // of files
	made map[string]bool // folders
	list []packedFile    // what was written
}

// budget is what may still come, over all layers.
type budget struct {
	read, bytes, entries atomic.Int64 // bytes of the layers, bytes of files, entries
}

func newUnpacker(root *os.Root, c Config) *unpacker {
	u := &unpacker{root: root, left: &budget{}}
	u.left.read.Store(c.MaxBytes)
	u.left.bytes.Store(c.MaxBytes)
	u.left.entries.Store(int64(c.MaxEntries))
	return u
}

// all reads a layer to its end. What follows the archive belongs to the blob
// and counts in its digest.
func (u *unpacker) all(r io.Reader) error {
	limit := &limited{r, &u.left.read}
	if err := u.layer(limit); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, limit); err != nil {
		return brokenLayer(err)
	}
	return nil
}

func (u *unpacker) layer(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return brokenLayer(err)
		}
		if u.left.entries.Add(-1) < 0 {
			return slipway.Errorf(slipway.Exhausted, "unpacking the layers", "they hold more entries than are allowed")
		}
		name, err := entryName(h.Name)
		if err != nil {
			return err
		}
		if err := u.entry(name, h, archive); err != nil {
			return err
		}
	}
}

func (u *unpacker) entry(name string, h *tar.Header, content io.Reader) error {
	if u.to != "" {
		return u.packageEntry(name, h, content)
	}
	dir, base := path.Split(name)
	if gone, ok := strings.CutPrefix(base, whiteout); ok {
		return u.remove(path.Clean(dir), base, gone)
	}
	if !ours(name) {
		return nil
	}
	switch h.Typeflag {
	case tar.TypeDir:
		return u.mkdir(name)
	case tar.TypeReg:
		return u.write(name, h.FileInfo().Mode().Perm(), content)
	}
	return slipway.Errorf(slipway.Invalid, "unpacking the layers", "%.200q is neither file nor folder", name).
		WithHint("use an image that Slipway built")
}

// ours reports whether a path is one that is unpacked.
func ours(name string) bool {
	for _, top := range []string{mlmodel.ImageModelDir, path.Dir(mlmodel.ImageServer)} {
		top = strings.TrimPrefix(top, "/")
		if name == top || strings.HasPrefix(name, top+"/") {
			return true
		}
	}
	return false
}

// mkdir makes a folder, in the place of a file of a lower layer.
func (u *unpacker) mkdir(name string) error {
	info, err := u.root.Lstat(name)
	if err == nil && !info.IsDir() {
		if err := u.root.Remove(name); err != nil {
			return err
		}
	}
	return u.root.MkdirAll(name, 0o755)
}

// write makes a file, in the place of what lower layers have there.
func (u *unpacker) write(name string, mode fs.FileMode, content io.Reader) error {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	_, err := u.create(name, 0o644|mode&0o111, content)
	return err
}

// create makes a file where nothing is.
func (u *unpacker) create(name string, mode fs.FileMode, content io.Reader) (info fs.FileInfo, err error) {
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Counted apart from what was read: a sparse file is larger than its archive.
	if _, err := io.Copy(f, &limited{content, &u.left.bytes}); err != nil {
		return nil, brokenLayer(fmt.Errorf("writing %.200q: %w", name, err))
	}
	return f.Stat()
}

// remove does what a whiteout says. It reaches only what is unpacked: the
// marker is written after all layers.
func (u *unpacker) remove(dir, base, gone string) error {
	if base != opaqueWhiteout {
		if gone == "" || gone == "." || gone == ".." {
			return slipway.Errorf(slipway.Invalid, "unpacking the layers", "a whiteout of nothing in %.200q", dir)
		}
		return u.root.RemoveAll(path.Join(dir, gone))
	}
	entries, err := fs.ReadDir(u.root.FS(), dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		err = errors.Join(err, u.root.RemoveAll(path.Join(dir, e.Name())))
	}
	return err
}
