package pack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway/mlmodel"
)

// layer is a compressed layer whose bytes rest somewhere readable.
type layer struct {
	blob   io.ReaderAt // compressed; an *os.File is closed when the layer is no longer reachable
	size   int64       // of blob
	digest v1.Hash     // of blob
	diffID v1.Hash     // of the tar
	codec  codec       // of blob

	annotations map[string]string // of its descriptor
}

var _ v1.Layer = (*layer)(nil)

func (l *layer) Digest() (v1.Hash, error)             { return l.digest, nil }
func (l *layer) DiffID() (v1.Hash, error)             { return l.diffID, nil }
func (l *layer) Size() (int64, error)                 { return l.size, nil }
func (l *layer) MediaType() (types.MediaType, error)  { return l.codec.mediaType, nil }
func (l *layer) Uncompressed() (io.ReadCloser, error) { return l.codec.reader(l.reader()) }

// Descriptor is how a manifest lists the layer, annotations included.
func (l *layer) Descriptor() (*v1.Descriptor, error) {
	return &v1.Descriptor{MediaType: l.codec.mediaType, Size: l.size, Digest: l.digest, Annotations: l.annotations}, nil
}

// Compressed returns a reader that can also seek, so that an upload resumes
// where it broke.
func (l *layer) Compressed() (io.ReadCloser, error) { return seeker{l.reader()}, nil }

func (l *layer) reader() *io.SectionReader { return io.NewSectionReader(l.blob, 0, l.size) }

type seeker struct{ *io.SectionReader }

func (seeker) Close() error { return nil }

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

func (m *meter) sum() v1.Hash { return hashOf(m.hash) }

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// compress writes the layer that fill makes to w in one pass.
func compress(w io.Writer, c codec, fill func(*tar.Writer) error) (*layer, error) {
	blob := newMeter(w)
	zip, err := c.writer(blob)
	if err != nil {
		return nil, err
	}
	diff, err := archive(zip, fill)
	if err := errors.Join(err, zip.Close()); err != nil { // closed in any case: it may hold goroutines
		return nil, err
	}
	return &layer{size: blob.n, digest: blob.sum(), diffID: diff.sum(), codec: c}, nil
}

// archive writes the tar that fill makes to w and returns its measures.
func archive(w io.Writer, fill func(*tar.Writer) error) (*meter, error) {
	diff := newMeter(w)
	archive := tar.NewWriter(diff)
	if err := fill(archive); err != nil {
		return nil, err
	}
	return diff, archive.Close()
}

// compressSmall makes a layer in memory.
func compressSmall(fill func(*tar.Writer) error) (*layer, error) {
	var b bytes.Buffer
	l, err := compress(&b, gzipped, fill)
	if err != nil {
		return nil, err
	}
	l.blob = bytes.NewReader(b.Bytes())
	return l, nil
}

// Every entry belongs to root and is readable by all: the server runs as
// mlmodel.User and changes nothing. Where the model directory's own owners,
// modes and times entered, so would the machine it was downloaded to.

func directoryHeader(name string) *tar.Header {
	return header(tar.TypeDir, name+"/", 0, 0o755)
}

func fileHeader(name string, size, mode int64) *tar.Header {
	return header(tar.TypeReg, name, size, mode)
}

func header(kind byte, name string, size, mode int64) *tar.Header {
	return &tar.Header{Typeflag: kind, Name: name, Size: size, Mode: mode, ModTime: time.Unix(0, 0)}
}

// releaseLayer holds what Slipway adds to the model, last and alone: it is
// small, and read without the others.
func releaseLayer(m mlmodel.Manifest, g mlmodel.Golden, lock []byte) (*layer, error) {
	manifest, err := m.Encode()
	if err != nil {
		return nil, failure(err)
	}
	golden, err := g.Encode()
	if err != nil {
		return nil, failure(err)
	}
	dir := inTar(mlmodel.ImageReleaseDir)
	return compressSmall(func(w *tar.Writer) error {
		if err := w.WriteHeader(directoryHeader(dir)); err != nil {
			return err
		}
		if err := writeBytes(w, dir+"/"+mlmodel.GoldenFile, golden); err != nil {
			return err
		}
		if len(lock) > 0 {
			if err := writeBytes(w, dir+"/"+mlmodel.LockFile, lock); err != nil {
				return err
			}
		}
		return writeBytes(w, dir+"/"+mlmodel.ManifestFile, manifest)
	})
}

func writeBytes(w *tar.Writer, name string, data []byte) error {
	if err := w.WriteHeader(fileHeader(name, int64(len(data)), 0o644)); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}
