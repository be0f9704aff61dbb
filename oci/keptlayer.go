package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

// keptLayer is a layer in an image registry, read only when it must be.
type keptLayer struct {
	ctx     context.Context // of the reads, which have none of their own
	session *session
	listed  v1.Descriptor // with the annotations an image has
	diffID  v1.Hash
}

var _ v1.Layer = (*keptLayer)(nil)

func (l *keptLayer) Digest() (v1.Hash, error)            { return l.listed.Digest, nil }
func (l *keptLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l *keptLayer) Size() (int64, error)                { return l.listed.Size, nil }
func (l *keptLayer) MediaType() (types.MediaType, error) { return l.listed.MediaType, nil }

// Descriptor is how an image's manifest lists the layer: as if it was made anew.
func (l *keptLayer) Descriptor() (*v1.Descriptor, error) { return l.listed.DeepCopy(), nil }

func (s *session) keptLayer(ctx context.Context, d v1.Descriptor) (*keptLayer, error) {
	diffID, err := checkKeptLayer(d)
	if err != nil {
		return nil, err
	}
	l := &keptLayer{ctx: ctx, session: s, diffID: diffID,
		listed: v1.Descriptor{MediaType: d.MediaType, Size: d.Size, Digest: d.Digest}}
	if made := d.Annotations[pack.AnnotationPackages]; made != "" {
		l.listed.Annotations = map[string]string{pack.AnnotationPackages: made}
	}
	return l, nil
}

// checkKeptLayer returns the diffID of what is a layer of packages.
func checkKeptLayer(d v1.Descriptor) (v1.Hash, error) {
	refuse := func(format string, args ...any) (v1.Hash, error) {
		return v1.Hash{}, slipway.Errorf(slipway.Invalid, "reading the environment", format, args...)
	}
	diffID, err := v1.NewHash(d.Annotations[annotationDiffID])
	made := d.Annotations[pack.AnnotationPackages]
	switch {
	case err != nil || diffID.Algorithm != "sha256":
		return refuse("a layer says %.100q of its content", d.Annotations[annotationDiffID])
	case d.Digest.Algorithm != "sha256" || d.Size <= 0 || len(d.URLs) > 0 || len(d.Data) > 0:
		return refuse("a layer is elsewhere or empty")
	case d.MediaType != types.OCILayerZStd && d.MediaType != types.OCILayer:
		return refuse("a layer is of type %.100q", string(d.MediaType))
	case len(made) > maxPackages || !utf8.ValidString(made) || strings.ContainsFunc(made, unicode.IsControl):
		return refuse("a layer has odd packages, %.100q", made)
	}
	return diffID, nil
}

// blob opens the compressed bytes.
func (l *keptLayer) blob() io.ReadCloser {
	return &lost{l.session.getBlob(l.ctx, l.listed), l}
}

// lost says of bytes that are gone what to do about it.
type lost struct {
	io.ReadCloser
	layer *keptLayer
}

func (r *lost) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != io.EOF && slipway.CodeOf(err) == slipway.NotFound {
		repo := r.layer.session.repo.Name()
		err = &slipway.Error{Op: "reading " + slipwayDigest(r.layer.listed.Digest).Short(), Code: slipway.NotFound,
			Message: repo + " has the environment, but not all its layers", Err: ErrKeptLost,
			Hint: "run it once more with --upgrade, which makes them anew, and keep the image registry from cleaning up " + repo}
	}
	return n, err
}

// Uncompressed returns the tar archive. It ends with io.EOF only when digest
// and diffID are right.
func (l *keptLayer) Uncompressed() (io.ReadCloser, error) {
	blob := l.blob()
	r, err := decompress(blob, l.listed.MediaType)
	if err != nil {
		return nil, errors.Join(err, blob.Close())
	}
	return &inflated{
		limited: bounded(r, l.session.client.config.MaxBytes), zip: r, blob: blob, hash: sha256.New(), want: l.diffID,
	}, nil
}

// inflated is what a blob unpacks to.
type inflated struct {
	*limited
	zip, blob io.ReadCloser
	hash      hash.Hash
	want      v1.Hash
}

func (r *inflated) Read(p []byte) (int, error) {
	n, err := r.limited.Read(p)
	r.hash.Write(p[:n])
	if !errors.Is(err, io.EOF) {
		if err != nil {
			err = brokenLayer(err)
		}
		return n, err
	}
	// What follows the archive belongs to the blob and counts in its digest.
	if _, err := io.Copy(io.Discard, r.blob); err != nil {
		return n, err
	}
	if err := checkDiffID(r.hash, r.want); err != nil {
		return 0, err
	}
	return n, io.EOF
}

func (r *inflated) Close() error { return errors.Join(r.zip.Close(), r.blob.Close()) }

func checkDiffID(h hash.Hash, want v1.Hash) error {
	if got := hex.EncodeToString(h.Sum(nil)); got != want.Hex {
		return corrupt("reading a layer", "it unpacks to sha256:%s, and should to %s", got, want)
	}
	return nil
}

// Compressed returns the blob. It is unpacked on the way, so that no image is
// made of a layer whose diffID is wrong: the last byte comes only when all is
// well, for whoever uploads it stops reading there.
func (l *keptLayer) Compressed() (io.ReadCloser, error) {
	in, out := io.Pipe()
	v := &verified{blob: l.blob(), left: l.listed.Size, aside: out, done: make(chan error, 1)}
	go func() {
		err := l.verify(in)
		in.CloseWithError(err)
		v.done <- err
	}()
	return v, nil
}

// verify reads a blob and compares what it unpacks to.
func (l *keptLayer) verify(blob io.Reader) error {
	r, err := decompress(blob, l.listed.MediaType)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, bounded(r, l.session.client.config.MaxBytes)); err != nil {
		return brokenLayer(err)
	}
	if _, err := io.Copy(io.Discard, blob); err != nil {
		return err
	}
	return checkDiffID(h, l.diffID)
}

type verified struct {
	blob  io.ReadCloser
	left  int64 // bytes that are to come
	aside *io.PipeWriter
	done  chan error // of the goroutine that unpacks
	ended error
}

func (v *verified) Read(p []byte) (int, error) {
	if v.ended != nil {
		return 0, v.ended
	}
	n, err := v.blob.Read(p)
	if n > 0 {
		if _, broken := v.aside.Write(p[:n]); broken != nil {
			v.ended = fmt.Errorf("reading a layer: %w", broken)
			return 0, v.ended
		}
	}
	if v.left -= int64(n); v.left > 0 || err != nil && err != io.EOF {
		return n, err
	}
	if v.ended = v.finish(); !errors.Is(v.ended, io.EOF) {
		return 0, v.ended
	}
	return n, nil
}

// finish returns io.EOF when digest and diffID are right.
func (v *verified) finish() error {
	if _, err := io.Copy(io.Discard, v.blob); err != nil {
		return err
	}
	if err := v.aside.Close(); err != nil {
		return err
	}
	if err := <-v.done; err != nil {
		return err
	}
	return io.EOF
}

func (v *verified) Close() error {
	v.aside.CloseWithError(io.ErrClosedPipe)
	return v.blob.Close()
}
