package pack

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
)

// WriteModelWhile packs the model directory and calls change before the write
// of that number: 1 is the header of /model, 2 that of the first file.
func WriteModelWhile(ctx context.Context, dir string, at int, change func() error) (err error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	files, err := listModel(root)
	if err != nil {
		return err
	}
	_, err = writeModel(ctx, tar.NewWriter(&tripwire{at, change}), root, files)
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
