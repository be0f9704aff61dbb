package oci

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

// markerFile says in an unpacked image which one it is.
const markerFile = ".slipway-image.json"

type marker struct {
	Digest   slipway.Digest `json:"digest"`
	Platform string         `json:"platform"`
}

// Unpack writes the image's /model and the folder of its model server below
// dir. The base is not read. Python packages that an image beside dir has are
// linked, and read-only. A folder that holds the same image already is left as
// it is; anything else there is a Conflict. It is written beside dir and
// renamed when every blob was read to its end and had the digest it should
// have, so dir is never half of an image.
//
// Nothing leaves the folder: only files and directories are written, an entry
// with an absolute path, "..", or that is a link or device below /model or
// /slipway is refused (Invalid), and so is more than Config.MaxBytes or
// Config.MaxEntries (Exhausted).
func (c *Client) Unpack(ctx context.Context, img slipway.Image, platform, dir string) (err error) {
	op := "unpacking the image " + img.Digest.Short()
	want := marker{Digest: img.Digest, Platform: platform}
	if done, err := unpacked(op, dir, want); done || err != nil {
		return err
	}
	s, err := c.pull(ctx, img)
	if err != nil {
		return err
	}
	layers, err := s.ownLayers(ctx, img.Digest, platform)
	if err != nil {
		return failure(op, s.repo, err)
	}
	dir = filepath.Clean(dir)
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return failure(op, s.repo, err)
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+filepath.Base(dir)+"-")
	if err != nil {
		return failure(op, s.repo, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }() // nothing, once it was renamed
	if err := s.unpackInto(ctx, layers, tmp, dir, want); err != nil {
		return failure(op, s.repo, err)
	}
	if err := os.Rename(tmp, dir); err != nil {
		// Somebody else was faster, or something else is there.
		done, checkErr := unpacked(op, dir, want)
		if done {
			return nil
		}
		return failure(op, s.repo, errors.Join(err, checkErr))
	}
	return nil
}

// unpacked reports whether dir holds the image; anything but that and nothing
// is a Conflict.
func unpacked(op, dir string, want marker) (bool, error) {
	data, err := os.ReadFile(filepath.Join(dir, markerFile))
	var got marker
	switch {
	case errors.Is(err, fs.ErrNotExist):
		entries, err := os.ReadDir(dir)
		if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
			return false, nil
		}
		return false, occupied(op, dir, err)
	case err != nil:
		return false, occupied(op, dir, err)
	}
	if json.Unmarshal(data, &got) != nil || got != want {
		return false, occupied(op, dir, nil)
	}
	return true, nil
}

func occupied(op, dir string, err error) error {
	return &slipway.Error{Op: op, Code: slipway.Conflict, Message: dir + " holds something else", Err: err, Hint: "remove it, or name another folder"}
}

// platformManifest picks the image of a platform. An image that is for one
// platform only must be for that one.
func (s *session) platformManifest(ctx context.Context, digest slipway.Digest, platform string) (*v1.Manifest, *v1.ConfigFile, error) {
	const op = "choosing the platform"
	want, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	manifests, descriptors, err := s.imageManifests(ctx, digest)
	if err != nil {
		return nil, nil, err
	}
	var have []string
	for i, m := range manifests {
		p := descriptors[i].Platform
		if p != nil && (p.OS != want.OS || p.Architecture != want.Architecture) {
			have = append(have, p.String())
			continue
		}
		config, err := s.config(ctx, m.Config)
		if err != nil {
			return nil, nil, err
		}
		if config.OS == want.OS && config.Architecture == want.Architecture {
			return m, config, nil
		}
		have = append(have, v1.Platform{OS: config.OS, Architecture: config.Architecture, Variant: config.Variant}.String())
	}
	return nil, nil, slipway.Errorf(slipway.NotFound, op, "the image is for %s, not for %s", strings.Join(have, ", "), platform).
		WithHint("build it with --platform %s", platform)
}

func (s *session) config(ctx context.Context, d v1.Descriptor) (*v1.ConfigFile, error) {
	if d.Size > maxManifest {
		return nil, slipway.Errorf(slipway.Exhausted, "reading the image's config", "it is larger than %d bytes", maxManifest)
	}
	r := s.getBlob(ctx, d)
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, &slipway.Error{Op: "reading the image's config", Code: slipway.Invalid, Err: err}
	}
	return &config, nil
}

// ownLayers returns the layers that are unpacked: those above the base, as the
// config tells them, or all of an image that another program built.
func (s *session) ownLayers(ctx context.Context, digest slipway.Digest, platform string) ([]v1.Descriptor, error) {
	m, config, err := s.platformManifest(ctx, digest, platform)
	if err != nil {
		return nil, err
	}
	n := 0
	first := len(m.Layers)
	for _, h := range config.History {
		if h.EmptyLayer {
			continue
		}
		if h.CreatedBy == pack.CreatedBy {
			first = min(first, n)
		}
		n++
	}
	if n != len(m.Layers) || first == n {
		return m.Layers, nil
	}
	return m.Layers[first:], nil
}

func (s *session) unpackInto(ctx context.Context, layers []v1.Descriptor, tmp, dir string, mark marker) (err error) {
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	u := newUnpacker(root, s.client.config)
	if layers, err = s.unpackPackages(ctx, u, layers, dir); err != nil {
		return err
	}
	for _, d := range layers {
		if err := s.unpackLayer(ctx, u, d); err != nil {
			return err
		}
	}
	raw, err := json.Marshal(mark)
	if err != nil {
		return err
	}
	if err := root.WriteFile(markerFile, raw, 0o644); err != nil {
		return err
	}
	return root.Chmod(".", 0o755)
}

func (s *session) unpackLayer(ctx context.Context, u *unpacker, d v1.Descriptor) error {
	blob := s.getBlob(ctx, d)
	defer blob.Close()
	r, err := decompress(blob, d.MediaType)
	if err != nil {
		return err
	}
	defer r.Close()
	if err := u.all(r); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, blob)
	return err
}
