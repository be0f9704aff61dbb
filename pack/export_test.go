package pack

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// WriteModelWhile packs the model directory and calls change before the write
// of that number: 1 is the header of /model, 2 that of the first file.
func WriteModelWhile(ctx context.Context, dir string, at int, change func() error) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	model := modelFolder(root)
	files, err := listModel(model)
	if err != nil {
		return err
	}
	_, err = writeModel(ctx, tar.NewWriter(&tripwire{at, change}), model, files)
	return err
}

type tripwire struct {
	left   int
	change func() error
}

func (t *tripwire) Write(p []byte) (int, error) {
	if len(p) == 0 { // padding of a header
		return 0, nil
	}
	if t.left--; t.left == 0 {
		if err := t.change(); err != nil {
			return 0, err
		}
	}
	return io.Discard.Write(p)
}

// PackagesWhile packs packages and calls change before it compresses the first.
func PackagesWhile(ctx context.Context, cacheDir, site string, groups []PackageGroup, change func() error) (layers []v1.Layer, err error) {
	root, err := os.OpenRoot(site)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	cache, err := openCache(cacheDir)
	if err != nil {
		return nil, err
	}
	shelf := packages(zstandard)
	shelf.codec.writer = func(w io.Writer) (io.WriteCloser, error) {
		if err := change(); err != nil {
			return nil, err
		}
		return zstandard.writer(w)
	}
	p := packing{folder: siteFolder(root), cache: cache, shelf: shelf, layers: make([]v1.Layer, len(groups))}
	return p.layers, p.all(ctx, groups)
}

// Prune forgets layers of a shelf.
func Prune(dir, name string, most int, bytes int64) error {
	return cache{dir}.prune(shelf{name: name, most: most, bytes: bytes})
}
