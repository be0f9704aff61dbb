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

// cache is a folder of compressed layers: layers/COMPRESSION/DIFFID/DIGEST.
// A name says what must be inside, so an entry is checked by hashing it, and
// two builds that make the same entry rename the same bytes onto each other.
type cache struct{ dir string }

// keep is how many server layers stay: a few versions for two platforms.
const keep = 8

func openCache(dir string) (cache, error) {
	dir = filepath.Join(cacheDir(dir), "layers")
	if err := os.MkdirAll(filepath.Join(dir, compression), 0o700); err != nil {
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
	l, err := compress(f, fill)
	if err != nil {
		return nil, failure(errors.Join(err, f.Close()))
	}
	l.blob = f
	return l, nil
}

// layer returns the layer of that diffID from the cache, or makes and keeps it.
func (c cache) layer(diffID v1.Hash, fill func(*tar.Writer) error) (*layer, error) {
	dir := filepath.Join(c.dir, compression, diffID.Hex)
	if l := find(dir, diffID); l != nil {
		return l, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, failure(err)
	}
	l, err := c.store(dir, fill)
	if err != nil {
		return nil, failure(err)
	}
	if l.diffID != diffID {
		return nil, changed("model server")
	}
	return l, c.prune()
}

// find returns the entry whose bytes have the digest its name says, or nil:
// a broken entry is no error, it is made again.
func find(dir string, diffID v1.Hash) *layer {
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
			return &layer{blob: f, size: n, digest: digest, diffID: diffID}
		}
		f.Close()
	}
	return nil
}

func (c cache) store(dir string, fill func(*tar.Writer) error) (*layer, error) {
	f, err := os.CreateTemp(c.dir, "spool-")
	if err != nil {
		return nil, err
	}
	l, err := compress(f, fill)
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

// prune forgets the server layers made first, and what builds that were killed
// left behind a day ago.
func (c cache) prune() error {
	folders, err := byAge(filepath.Join(c.dir, compression))
	if err != nil {
		return failure(err)
	}
	for _, old := range folders[:max(0, len(folders)-keep)] {
		err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, compression, old.Name())))
	}
	spools, listErr := byAge(c.dir)
	for _, s := range spools {
		if !s.IsDir() && time.Since(s.ModTime()) > 24*time.Hour {
			err = errors.Join(err, os.RemoveAll(filepath.Join(c.dir, s.Name())))
		}
	}
	return failure(errors.Join(err, listErr))
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
