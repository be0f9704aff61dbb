package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// goldens finds the golden predictions of a release's image in the image
// registry: no other step need have left them here. Where that is out of
// reach, which must not keep a target from going back, a copy does.
type goldens struct {
	images imageRegistry
	copies copies // nil: there are none
}

// copies are files of images at hand: those a target on this machine has
// unpacked, or those that were read before.
type copies interface {
	File(image slipway.Digest, path string, limit int64) ([]byte, error)
}

const (
	goldenPath  = mlmodel.ImageReleaseDir + "/" + mlmodel.GoldenFile
	goldenLimit = 64 << 20        // bytes
	goldenWait  = 5 * time.Second // for the image registry, where there is a copy
)

func (g goldens) find(ctx context.Context, r slipway.Release) (mlmodel.Golden, error) {
	var data []byte
	missing := error(slipway.Errorf(slipway.NotFound, "reading the golden predictions", "no copy of the image is here"))
	if g.copies != nil {
		data, missing = g.copies.File(r.Image.Digest, goldenPath, goldenLimit)
	}
	asking := ctx
	if missing == nil {
		var cancel context.CancelFunc
		asking, cancel = context.WithTimeout(ctx, goldenWait)
		defer cancel()
	}
	pulled, err := g.images.File(asking, r.Image, strings.TrimPrefix(goldenPath, "/"), goldenLimit)
	switch {
	case err == nil:
		data = pulled
		g.keep(r.Image.Digest, pulled)
	case missing != nil:
		return mlmodel.Golden{}, err
	}
	return mlmodel.DecodeGolden(data)
}

func (g goldens) keep(image slipway.Digest, data []byte) {
	if kept, ok := g.copies.(keptGoldens); ok {
		kept.keep(image, data)
	}
}

// keptGoldens are the golden predictions that this machine has read before, by
// the digest of their image.
type keptGoldens struct {
	dir string
}

// File returns the golden predictions, the one file that is kept.
func (k keptGoldens) File(image slipway.Digest, _ string, limit int64) ([]byte, error) {
	if _, err := slipway.ParseDigest(string(image)); err != nil {
		return nil, err
	}
	info, err := os.Stat(k.path(image))
	if err != nil {
		return nil, err
	}
	if info.Size() > limit {
		return nil, &fs.PathError{Op: "read", Path: k.path(image), Err: fs.ErrInvalid}
	}
	return os.ReadFile(k.path(image))
}

// keep writes a copy. Where that fails, the next who needs it asks the image
// registry as ever.
func (k keptGoldens) keep(image slipway.Digest, data []byte) {
	_ = writeFile(k.path(image), data, 0o600)
}

func (k keptGoldens) path(image slipway.Digest) string {
	return filepath.Join(k.dir, strings.ReplaceAll(string(image), ":", "-")+".json")
}
