package oci

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// markerFile says in an unpacked image which one it is.
const markerFile = ".slipway-image.json"

type marker struct {
	Digest   slipway.Digest `json:"digest"`
	Platform string         `json:"platform"`
}

// Unpack writes the image's /model and the folder of its model server below
// dir. A folder that holds the same image already is left as it is; anything
// else there is a Conflict. It is written beside dir and renamed when every
// blob was read to its end and had the digest it should have, so dir is never
// half of an image.
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
	m, err := s.platformManifest(ctx, img.Digest, platform)
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
	if err := s.unpackInto(ctx, m, tmp, want); err != nil {
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
func (s *session) platformManifest(ctx context.Context, digest slipway.Digest, platform string) (*v1.Manifest, error) {
	const op = "choosing the platform"
	want, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	manifests, descriptors, err := s.imageManifests(ctx, digest)
	if err != nil {
		return nil, err
	}
	var have []string
	for i, m := range manifests {
		p := descriptors[i].Platform
		if p == nil {
			if p, err = s.configPlatform(ctx, m.Config); err != nil {
				return nil, err
			}
		}
		if p.OS == want.OS && p.Architecture == want.Architecture {
			return m, nil
		}
		have = append(have, p.String())
	}
	return nil, slipway.Errorf(slipway.NotFound, op, "the image is for %s, not for %s", strings.Join(have, ", "), platform).
		WithHint("build it with --platform %s", platform)
}

func (s *session) configPlatform(ctx context.Context, d v1.Descriptor) (*v1.Platform, error) {
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
	return config.Platform(), nil
}

func (s *session) unpackInto(ctx context.Context, m *v1.Manifest, tmp string, mark marker) (err error) {
	root, err := os.OpenRoot(tmp)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	config := s.client.config
	u := &unpacker{root: root, read: config.MaxBytes, bytes: config.MaxBytes, entries: config.MaxEntries}
	for _, d := range m.Layers {
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
	limit := &limited{r: r, left: u.read}
	if err := u.layer(limit); err != nil {
		return err
	}
	// What follows the archive belongs to the blob and counts in its digest.
	if _, err := io.Copy(io.Discard, limit); err != nil {
		return brokenLayer(err)
	}
	u.read = limit.left
	_, err = io.Copy(io.Discard, blob)
	return err
}

// decompress returns the tar archive in a layer.
func decompress(r io.Reader, t types.MediaType) (io.ReadCloser, error) {
	switch t {
	case types.OCILayer, types.DockerLayer:
		zip, err := gzip.NewReader(r)
		if err != nil {
			return nil, brokenLayer(err)
		}
		return zip, nil
	case types.OCILayerZStd:
		zip, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, brokenLayer(err)
		}
		return zip.IOReadCloser(), nil
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		return io.NopCloser(r), nil
	}
	return nil, slipway.Errorf(slipway.Invalid, "reading a layer", "it is of type %.100q", t)
}

// limited ends a stream that grows too large.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, slipway.Errorf(slipway.Exhausted, "reading the layers", "they unpack to more bytes than are allowed")
	}
	return n, err
}

// unpacker writes what the layers say below root, one after the other.
type unpacker struct {
	root    *os.Root
	read    int64 // bytes that may still be read from the layers
	bytes   int64 // that may still be written
	entries int   // that may still come
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
		if u.entries--; u.entries < 0 {
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
func (u *unpacker) write(name string, mode fs.FileMode, content io.Reader) (err error) {
	if err := u.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	if err := u.root.RemoveAll(name); err != nil {
		return err
	}
	f, err := u.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|mode&0o111)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	// Counted apart from what was read: a sparse file is larger than its archive.
	limit := &limited{r: content, left: u.bytes}
	if _, err := io.Copy(f, limit); err != nil {
		return brokenLayer(fmt.Errorf("writing %.200q: %w", name, err))
	}
	u.bytes = limit.left
	return nil
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
