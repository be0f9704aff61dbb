package pack

import (
	"archive/tar"
	"cmp"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
)

// cache is a folder of compressed layers: layers/SHELF/DIFFID/DIGEST. A name
// says what must be inside, so an entry is checked by hashing it, and two
// builds that make the same entry rename the same bytes onto each other.
type cache struct{ dir string }

// shelf is a folder of the cache for layers of one kind.
type shelf struct {
	name  string
	codec codec
	whose string // what its layers are made of, for errors
	most  int    // layers that stay
	bytes int64  // that stay
}

// servers are a few versions for two platforms.
var servers = shelf{name: gzipped.name, codec: gzipped, whose: "model server", most: 8, bytes: 1 << 30}

// packages are those of a few environments.
func packages(c codec) shelf {
	return shelf{name: "packages-" + c.name, codec: c, whose: "site-packages folder", most: 1000, bytes: 4 << 30}
}

func openCache(dir string) (cache, error) {
	dir = filepath.Join(cacheDir(dir), "layers")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		e := &slipway.Error{Op: op, Code: slipway.Invalid, Message: "the cache cannot be written", Err: err,
			Hint: "set XDG_CACHE_HOME to a folder that can be"}
		if full := failure(err); slipway.CodeOf(full) == slipway.Exhausted {
			return cache{}, full
		}
		return cache{}, e
	}
	return cache{dir}, nil
}

// spool compresses a layer into a file without a name: it is freed when the
// layer is forgotten or the process ends, in whatever way.
func (c cache) spool(fill func(*tar.Writer) error) (*layer, error) {
	f, err := os.CreateTemp(c.dir, "spool-")
	if err != nil {
		return nil, failure(err)
	}
	if err := os.Remove(f.Name()); err != nil {
		return nil, failure(errors.Join(err, f.Close()))
	}
	l, err := compress(f, gzipped, fill)
	if err != nil {
		return nil, failure(errors.Join(err, f.Close()))
	}
	l.blob = f
	return l, nil
}

// layer returns the layer of that diffID from the cache, or makes and keeps it.
func (c cache) layer(s shelf, diffID v1.Hash, fill func(*tar.Writer) error) (*layer, error) {
	dir := filepath.Join(c.dir, s.name, diffID.Hex)
	if l := find(dir, s.codec, diffID); l != nil {
		return l, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure(err)
	}
	l, err := c.store(dir, s, diffID, fill)
	return l, failure(err)
}

// find returns the entry whose bytes have the digest its name says, or nil:
// a broken entry is no error, it is made again.
func find(dir string, c codec, diffID v1.Hash) *layer {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		f, err := os.Open(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		h := sha256.New()
		n, err := io.Copy(h, f)
		if digest := hashOf(h); err == nil && digest.Hex == e.Name() {
			now := time.Now()
			_ = os.Chtimes(dir, now, now) // used: it goes last. Where it cannot be said, it goes earlier
			return &layer{blob: f, size: n, digest: digest, diffID: diffID, codec: c}
		}
		f.Close()
	}
	return nil
}

// store puts a layer into dir, once it is what dir's name says.
func (c cache) store(dir string, s shelf, diffID v1.Hash, fill func(*tar.Writer) error) (*layer, error) {
	f, err := os.CreateTemp(c.dir, "spool-")
	if err != nil {
		return nil, err
	}
	l, err := compress(f, s.codec, fill)
	if err == nil && l.diffID != diffID {
		err = slipway.Errorf(slipway.Corrupt, op, "the %s changed while it was packed", s.whose).
			WithHint("build while nothing writes to it")
	}
	if err == nil {
		err = f.Chmod(0o600)
	}
	if err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, l.digest.Hex))
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	l.blob = f
	return l, nil
}

// prune forgets the layers of a shelf that were not used for longest, and what
// builds that were killed left behind a day ago.
func (c cache) prune(s shelf) error {
	folders, err := byAge(filepath.Join(c.dir, s.name))
	if err != nil {
		return failure(err)
	}
	slices.Reverse(folders)
	left := s.bytes
	for i, f := range folders {
		dir := filepath.Join(c.dir, s.name, f.Name())
		if left -= sizeOf(dir); i >= s.most || left < 0 {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}
	spools, listErr := byAge(c.dir)
	for _, s := range spools {
		if !s.IsDir() && time.Since(s.ModTime()) > 24*time.Hour {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, s.Name())))
		}
	}
	return failure(errors.Join(err, listErr))
}

// sizeOf returns the bytes of the files in a folder; what cannot be read has none.
func sizeOf(dir string) (size int64) {
	files, err := byAge(dir)
	if err != nil {
		return 0
	}
	for _, f := range files {
		size += f.Size()
	}
	return size
}

// byAge lists a folder, oldest first. What another build removes meanwhile is
// left out.
func byAge(dir string) ([]fs.FileInfo, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var infos []fs.FileInfo
	for _, e := range entries {
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	return infos, nil
}
