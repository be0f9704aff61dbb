package oci

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/pack"
)

// Layers of packages hold nothing but files below mlmodel.ImagePackages, no
// two of them the same: so they are unpacked at the same time, in any order.

// UnpackPackages writes the files that the layers, of FindKept or of
// pack.PackageLayers, have below mlmodel.ImagePackages into dir, which must not
// be there or be empty. It is written beside dir and renamed when all is well.
//
// Errors: Conflict when dir holds something; Invalid for layers that hold
// anything but packages; Exhausted as with Unpack; Corrupt when the bytes are
// not those they should be; NotFound with ErrKeptLost when they are gone.
func (c *Client) UnpackPackages(ctx context.Context, layers []v1.Layer, dir string) error {
	const op = "unpacking the packages"
	err := c.unpackPackages(ctx, layers, filepath.Clean(dir))
	if errors.Is(err, fs.ErrExist) {
		return occupied(op, dir, err)
	}
	var known *slipway.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) {
		return err
	}
	return wireFailure(op, "the image registry", err)
}

func (c *Client) unpackPackages(ctx context.Context, layers []v1.Layer, dir string) (err error) {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }() // nothing, once it was renamed
	if err := c.unpackPackagesInto(ctx, layers, tmp); err != nil {
		return err
	}
	os.Remove(dir) // an empty folder; if it is not, the renaming says so
	return os.Rename(tmp, dir)
}

func (c *Client) unpackPackagesInto(ctx context.Context, layers []v1.Layer, tmp string) (err error) {
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := newUnpacker(root, c.config)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(c.config.Jobs)
	for _, l := range layers {
		group.Go(func() error {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			r, err := l.Uncompressed()
			if err != nil {
				return err
			}
			defer r.Close()
			return u.packages(".", 0o644).all(r)
		})
	}
	return errors.Join(group.Wait(), root.Chmod(".", 0o755))
}

// unpackPackages unpacks the layers of packages that come first, and returns
// those that follow. What an image beside dir has of them is linked.
func (s *session) unpackPackages(ctx context.Context, u *unpacker, layers []v1.Descriptor, dir string) ([]v1.Descriptor, error) {
	n := 0
	for n < len(layers) && layers[n].Annotations[pack.AnnotationPackages] != "" {
		n++
	}
	if n == 0 {
		return layers, nil
	}
	beside := listBeside(dir)
	lists := make([]layerList, n)
	group, ctx := s.group(ctx)
	for i, d := range layers[:n] {
		group.Go(func() error {
			// Nobody may write to what several images share.
			p := u.packages(strings.TrimPrefix(mlmodel.ImagePackages, "/"), 0o444)
			if !p.linked(beside[d.Digest.String()]) {
				if err := s.unpackLayer(ctx, p, d); err != nil {
					return err
				}
			}
			lists[i] = layerList{Digest: d.Digest.String(), Files: p.list}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return layers[n:], writeLists(u.root, lists)
}

// packages is an unpacker of one layer of packages, whose files get the mode.
func (u *unpacker) packages(to string, mode fs.FileMode) *unpacker {
	return &unpacker{root: u.root, left: u.left, to: to, mode: mode, made: map[string]bool{}}
}

// packageEntry writes a file below u.to, where nothing may be.
func (u *unpacker) packageEntry(name string, h *tar.Header, content io.Reader) error {
	below, inside := strings.CutPrefix(name+"/", strings.TrimPrefix(mlmodel.ImagePackages, "/")+"/")
	to := path.Join(u.to, below)
	switch {
	case h.Typeflag == tar.TypeDir && (inside || strings.HasPrefix(mlmodel.ImagePackages+"/", "/"+name+"/")):
		return nil // made with the files in it
	case !inside || below == "":
		return slipway.Errorf(slipway.Invalid, "unpacking the packages", "%.200q is no file of a package", name)
	case h.Typeflag != tar.TypeReg || strings.HasPrefix(path.Base(name), whiteout):
		return slipway.Errorf(slipway.Invalid, "unpacking the packages", "%.200q is neither file nor folder", name)
	}
	info, err := u.createAt(to, u.mode|h.FileInfo().Mode().Perm()&0o111, content)
	if errors.Is(err, fs.ErrExist) {
		return slipway.Errorf(slipway.Invalid, "unpacking the packages", "%.200q exists in two of them", name)
	}
	if err != nil {
		return err
	}
	u.list = append(u.list, packedFile{Name: strings.TrimSuffix(below, "/"), Size: info.Size(), Time: info.ModTime().UnixNano()})
	return nil
}

func (u *unpacker) createAt(name string, mode fs.FileMode, content io.Reader) (fs.FileInfo, error) {
	if err := u.parent(name); err != nil {
		return nil, err
	}
	return u.create(name, mode, content)
}

// parent makes the folder that a file is in.
func (u *unpacker) parent(name string) error {
	dir := path.Dir(name)
	if u.made[dir] {
		return nil
	}
	u.made[dir] = true
	return u.root.MkdirAll(dir, 0o755)
}
