package docker

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
)

// Media types of the OCI image specification 1.1.
const (
	typeManifest = "application/vnd.oci.image.manifest.v1+json"
	typeIndex    = "application/vnd.oci.image.index.v1+json"
	typeConfig   = "application/vnd.oci.image.config.v1+json"
	typeGzip     = "application/vnd.oci.image.layer.v1.tar+gzip"
	typeZstd     = "application/vnd.oci.image.layer.v1.tar+zstd"
)

type descriptor struct {
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	Config        descriptor        `json:"config"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

// layout is an OCI layout as it is written.
type layout struct {
	dir         string
	compression string
}

// write makes the layout of the config and the files of its layers.
func (l layout) write(ctx context.Context, config []byte, layers []string, annotations map[string]string) error {
	if err := os.MkdirAll(l.blobs(), 0o755); err != nil {
		return err
	}
	want, err := diffIDs(config)
	if err != nil {
		return err
	}
	if len(want) != len(layers) {
		return broken("it has %d layers, and its config tells of %d", len(layers), len(want))
	}
	m := manifest{SchemaVersion: 2, MediaType: typeManifest, Layers: make([]descriptor, len(layers)), Annotations: annotations}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2)
	for i, file := range layers {
		group.Go(func() (err error) {
			m.Layers[i], err = l.layer(ctx, file, want[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if m.Config, err = l.blob(typeConfig, config); err != nil {
		return err
	}
	return l.finish(m)
}

// finish writes what says that the layout is whole, last.
func (l layout) finish(m manifest) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	d, err := l.blob(typeManifest, raw)
	if err != nil {
		return err
	}
	raw, err = json.Marshal(index{SchemaVersion: 2, MediaType: typeIndex, Manifests: []descriptor{d}})
	return errors.Join(err,
		os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644),
		os.WriteFile(filepath.Join(l.dir, "index.json"), raw, 0o644))
}

func (l layout) blobs() string { return filepath.Join(l.dir, "blobs", "sha256") }

func (l layout) blob(mediaType string, content []byte) (descriptor, error) {
	d := descriptor{mediaType, digestOf(content), int64(len(content))}
	return d, os.WriteFile(filepath.Join(l.blobs(), strings.TrimPrefix(d.Digest, "sha256:")), content, 0o644)
}

// layer stores a layer, compressed, and checks that it is the one whose tar
// has the digest diffID.
func (l layout) layer(ctx context.Context, file, diffID string) (descriptor, error) {
	in, err := os.Open(file)
	if err != nil {
		return descriptor{}, err
	}
	defer in.Close()
	out, err := os.CreateTemp(l.dir, "layer-")
	if err != nil {
		return descriptor{}, err
	}
	defer os.Remove(out.Name()) // nothing, once it is renamed
	d, diff, err := l.copyLayer(&contextReader{ctx, in}, out)
	err = errors.Join(err, out.Chmod(0o644), out.Close())
	switch {
	case err != nil:
		return descriptor{}, err
	case diff != diffID:
		return descriptor{}, broken("a layer is %.80s, and should be %.80s", diff, diffID)
	}
	return d, os.Rename(out.Name(), filepath.Join(l.blobs(), strings.TrimPrefix(d.Digest, "sha256:")))
}

// copyLayer writes a layer to out; one that is compressed already stays as it
// is: that is how engines with containerd's image store keep them.
func (l layout) copyLayer(in io.Reader, out io.Writer) (descriptor, string, error) {
	buffered := bufio.NewReaderSize(in, 1<<20)
	magic, _ := buffered.Peek(4) // a shorter one is no tar: its digest is wrong
	blob, diff := newMeter(out), sha256.New()
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		err := keep(io.TeeReader(buffered, blob), diff, func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) })
		return blob.descriptor(typeGzip), sumOf(diff), err
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		err := keep(io.TeeReader(buffered, blob), diff, func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r, zstd.WithDecoderConcurrency(1)) })
		return blob.descriptor(typeZstd), sumOf(diff), err
	}
	mediaType, zip, err := l.writer(blob)
	if err != nil {
		return descriptor{}, "", err
	}
	_, err = io.Copy(io.MultiWriter(zip, diff), buffered)
	if err := errors.Join(err, zip.Close()); err != nil {
		return descriptor{}, "", err
	}
	return blob.descriptor(mediaType), sumOf(diff), nil
}

// keep reads a compressed layer to its end, and what is in it to diff.
func keep(blob io.Reader, diff io.Writer, open func(io.Reader) (io.Reader, error)) error {
	zip, err := open(blob)
	if err == nil {
		_, err = io.Copy(diff, zip)
	}
	if err == nil {
		_, err = io.Copy(io.Discard, blob)
	}
	if err != nil {
		return broken("a layer: %v", err)
	}
	return nil
}

// writer compresses as package pack does: the same bytes of a layer give the
// same blob, so that an image registry has it already.
func (l layout) writer(w io.Writer) (string, io.WriteCloser, error) {
	if l.compression == "gzip" {
		zip, err := gzip.NewWriterLevel(w, 4)
		return typeGzip, zip, err
	}
	zip, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(4<<20), zstd.WithEncoderConcurrency(2))
	return typeZstd, zip, err
}

// diffIDs reads which layers a config tells of.
func diffIDs(config []byte) ([]string, error) {
	var c struct {
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return nil, broken("its config: %v", err)
	}
	for _, id := range c.RootFS.DiffIDs {
		if _, err := slipway.ParseDigest(id); err != nil {
			return nil, broken("its config: %v", err)
		}
	}
	return c.RootFS.DiffIDs, nil
}

// meter hashes and counts what is written through it.
type meter struct {
	to   io.Writer
	hash hash.Hash
	n    int64
}

func newMeter(to io.Writer) *meter { return &meter{to: to, hash: sha256.New()} }

func (m *meter) Write(p []byte) (int, error) {
	n, err := m.to.Write(p)
	m.hash.Write(p[:n])
	m.n += int64(n)
	return n, err
}

func (m *meter) descriptor(mediaType string) descriptor {
	return descriptor{mediaType, sumOf(m.hash), m.n}
}

func sumOf(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

func digestOf(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// contextReader stops a long copy when the build is given up.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
