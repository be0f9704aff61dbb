package oci

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
)

// Names of whiteouts (OCI image specification 1.1, "Whiteouts").
const (
	whiteout       = ".wh."
	opaqueWhiteout = ".wh..wh..opq"
)

// File returns one file of the image, from the newest layer that has it; of an
// image for several platforms, the first platform's. Only the layers above the
// file are read. Errors: NotFound; Exhausted when it is larger than limit bytes;
// Corrupt when a blob is not what its digest says, as far as it was read.
func (c *Client) File(ctx context.Context, img slipway.Image, name string, limit int64) ([]byte, error) {
	op := "reading " + name + " of the image " + img.Digest.Short()
	s, err := c.pull(ctx, img)
	if err != nil {
		return nil, err
	}
	manifests, _, err := s.imageManifests(ctx, img.Digest)
	if err != nil {
		return nil, failure(op, s.repo, err)
	}
	layers := manifests[0].Layers
	for i := len(layers) - 1; i >= 0; i-- {
		found, err := s.findInBlob(ctx, layers[i], name, limit)
		if err != nil {
			return nil, failure(op, s.repo, err)
		}
		if found.data != nil {
			return found.data, nil
		}
		if found.removed {
			break
		}
	}
	return nil, slipway.Errorf(slipway.NotFound, op, "the image has no such file")
}

// findInBlob reads a small layer to its end, so that its digest is checked
// before anything of it is used.
func (s *session) findInBlob(ctx context.Context, d v1.Descriptor, name string, limit int64) (finding, error) {
	blob := s.getBlob(ctx, d)
	defer blob.Close()
	r, err := decompress(blob, d.MediaType)
	if err != nil {
		return finding{}, err
	}
	defer r.Close()
	found, err := findInLayer(bounded(r, s.client.config.MaxBytes), name, limit)
	if err == nil && d.Size <= readable {
		_, err = io.Copy(io.Discard, blob)
	}
	return found, err
}

// finding is what a layer says about a path.
type finding struct {
	data    []byte // not nil: the file
	removed bool   // a whiteout hides it in the layers below
}

func findInLayer(r io.Reader, name string, limit int64) (finding, error) {
	var found finding
	want := strings.TrimPrefix(path.Clean(name), "/")
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return finding{}, brokenLayer(err)
		}
		entry, err := entryName(h.Name)
		if err != nil {
			return finding{}, err
		}
		if hides(entry, want) {
			found.removed = true
		}
		if entry != want || h.Typeflag != tar.TypeReg {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(archive, limit+1))
		if err != nil {
			return finding{}, brokenLayer(err)
		}
		if int64(len(data)) > limit {
			return finding{}, slipway.Errorf(slipway.Exhausted, "reading a file of an image", "%s is larger than %d bytes", name, limit)
		}
		return finding{data: data}, nil
	}
}

// hides reports whether entry is a whiteout of want or of a folder above it.
func hides(entry, want string) bool {
	dir, base := path.Split(entry)
	if base == opaqueWhiteout {
		return strings.HasPrefix(want, dir)
	}
	gone, ok := strings.CutPrefix(base, whiteout)
	gone = dir + gone
	return ok && (want == gone || strings.HasPrefix(want, gone+"/"))
}

// entryName returns the path of a tar entry, relative to the image's root and
// clean, and refuses those that no honest tool writes.
func entryName(name string) (string, error) {
	refuse := func(why string) (string, error) {
		return "", slipway.Errorf(slipway.Invalid, "reading a layer", "an entry %.200q %s", name, why)
	}
	if strings.HasPrefix(name, "/") {
		return refuse("has an absolute path")
	}
	if strings.ContainsRune(name, 0) {
		return refuse("has a zero byte in its name")
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return refuse("leads out of the image")
		}
	}
	return path.Clean(name), nil
}

// brokenLayer is for what makes no tar archive, or no compressed one. An error
// of the download, the disk or the caller stays what it is.
func brokenLayer(err error) error {
	var known *slipway.Error
	var ours *fs.PathError
	if errors.As(err, &known) || errors.As(err, &ours) || errors.Is(err, context.Canceled) {
		return err
	}
	return &slipway.Error{Op: "reading a layer", Code: slipway.Corrupt, Message: "it is broken", Err: err}
}
