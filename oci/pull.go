package oci

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// Base returns an image to build on, by tag or digest. Its layers are read only
// where they have to be uploaded elsewhere; ctx must live as long as the image.
// "scratch" is nil.
func (c *Client) Base(ctx context.Context, ref, platform string) (v1.Image, error) {
	if ref == "scratch" {
		return nil, nil
	}
	op := "reading the base " + ref
	r, err := parseReference(op, ref)
	if err != nil {
		return nil, err
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err, Hint: "write linux/amd64 or linux/arm64"}
	}
	s, err := c.open(ctx, r.Context(), transport.PullScope)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(r, remote.WithContext(ctx), remote.WithTransport(s.http.Transport), remote.WithPlatform(*p))
	if err != nil {
		return nil, failure(op, r.Context(), err)
	}
	return img, nil
}

// Resolve returns the image a tag or digest names, without its size.
func (c *Client) Resolve(ctx context.Context, ref string) (slipway.Image, error) {
	op := "looking up " + ref
	r, err := parseReference(op, ref)
	if err != nil {
		return slipway.Image{}, err
	}
	s, err := c.open(ctx, r.Context(), transport.PullScope)
	if err != nil {
		return slipway.Image{}, err
	}
	m, err := s.getManifest(ctx, r.Identifier())
	if err != nil {
		return slipway.Image{}, failure(op, s.repo, err)
	}
	img := slipway.Image{Repository: s.repo.Name(), Digest: slipwayDigest(m.digest)}
	if t, ok := r.(name.Tag); ok {
		img.Tags = []string{t.TagStr()}
	}
	return img, nil
}

// getBlob reads a blob. What comes is hashed: the reader ends with io.EOF only
// when size and digest are right. It goes on where a connection broke.
func (s *session) getBlob(ctx context.Context, d v1.Descriptor) io.ReadCloser {
	return &download{ctx: ctx, session: s, want: d, hash: sha256.New(), left: s.client.config.Attempts}
}

type download struct {
	ctx     context.Context // of the reads, which have none of their own
	session *session
	want    v1.Descriptor
	hash    hash.Hash
	offset  int64
	left    int // attempts without headway
	body    io.ReadCloser
}

func (d *download) Read(p []byte) (int, error) {
	for {
		n, err := d.readOnce(p)
		if n > 0 || err == nil || errors.Is(err, io.EOF) {
			return n, err
		}
		d.left--
		if d.left <= 0 || !transientError(err) {
			return 0, failure("reading "+slipwayDigest(d.want.Digest).Short(), d.session.repo, err)
		}
		if err := errors.Join(d.Close(), sleep(d.ctx, d.session.client.config.Backoff)); err != nil {
			return 0, err
		}
	}
}

func (d *download) readOnce(p []byte) (int, error) {
	if d.body == nil {
		if err := d.open(); err != nil {
			return 0, err
		}
	}
	n, err := d.body.Read(p)
	d.hash.Write(p[:n])
	d.offset += int64(n)
	if d.offset > d.want.Size {
		return 0, d.corrupt("more bytes than %d", d.want.Size)
	}
	if n > 0 {
		d.left = d.session.client.config.Attempts
	}
	if err == io.EOF {
		if n > 0 {
			return n, nil
		}
		return 0, d.finish()
	}
	return n, err
}

// finish tells the end of the blob from the end of a connection.
func (d *download) finish() error {
	if d.offset < d.want.Size {
		return io.ErrUnexpectedEOF
	}
	if got := hex.EncodeToString(d.hash.Sum(nil)); got != d.want.Digest.Hex {
		return d.corrupt("bytes with the digest sha256:%s", got)
	}
	return io.EOF
}

func (d *download) corrupt(format string, args ...any) error {
	return corrupt("reading "+d.want.Digest.String(), "the image registry gave "+format, args...)
}

func (d *download) open() error {
	var header http.Header
	if d.offset > 0 {
		header = http.Header{"Range": {fmt.Sprintf("bytes=%d-%d", d.offset, d.want.Size-1)}}
	}
	resp, err := d.session.send(d.ctx, http.MethodGet, d.session.url("/blobs/%s", d.want.Digest), header)
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusPartialContent && d.offset > 0:
	case resp.StatusCode != http.StatusOK:
		return refused(resp)
	case d.offset > 0: // it knows no ranges
		if _, err := io.CopyN(io.Discard, resp.Body, d.offset); err != nil {
			resp.Body.Close()
			return err
		}
	}
	d.body = resp.Body
	return nil
}

func (d *download) Close() error {
	if d.body == nil {
		return nil
	}
	err := d.body.Close()
	d.body = nil
	return err
}
