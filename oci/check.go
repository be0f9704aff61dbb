package oci

import (
	"bytes"
	"context"
	"io"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// readable is up to which size a blob is read back after a push. A larger one
// is asked for its size and digest: the image registry hashed it when it
// arrived, whoever unpacks it hashes it again, and to read it would double the
// time of a push.
const readable = 4 << 20

// readBack compares what the image registry holds with what was pushed: every
// manifest and every blob up to readable byte for byte, larger blobs by size
// and digest.
func (s *session) readBack(ctx context.Context, c *cargo) error {
	const op = "reading back what was pushed"
	group, ctx := s.group(ctx)
	for _, m := range c.manifests {
		group.Go(func() error {
			got, err := s.getManifest(ctx, m.digest.String())
			if err == nil && !bytes.Equal(got.raw, m.raw) {
				err = corrupt(op, "the manifest %s differs", m.digest)
			}
			return failure(op, s.repo, err)
		})
	}
	for _, b := range c.blobs {
		group.Go(func() error { return failure(op, s.repo, s.readBlob(ctx, b)) })
	}
	return group.Wait()
}

// readTags wants the tags to point at what was pushed. Code Conflict: they
// point elsewhere, because somebody else set them since.
func (s *session) readTags(ctx context.Context, c *cargo, tags []string) error {
	const op = "reading back the tags"
	group, ctx := s.group(ctx)
	for _, t := range tags {
		group.Go(func() error {
			got, err := s.getManifest(ctx, t)
			if err == nil && got.digest != c.top().digest {
				err = slipway.Errorf(slipway.Conflict, op, "the tag %s points at %s, not at what was pushed: somebody else set it", t, slipwayDigest(got.digest).Short())
			}
			return failure(op, s.repo, err)
		})
	}
	return group.Wait()
}

func (s *session) readBlob(ctx context.Context, b *blob) error {
	if b.size > readable {
		has, err := s.has(ctx, b)
		if err == nil && !has {
			err = corrupt("checking "+b.digest.String(), "the image registry took it and does not have it")
		}
		return err
	}
	r := s.getBlob(ctx, v1.Descriptor{Digest: b.digest, Size: b.size})
	defer r.Close()
	_, err := io.Copy(io.Discard, r)
	return err
}

// Check reports whether the image can still be pulled: its manifest and every
// blob of every platform are there, in their size. The error's code is NotFound
// when something is gone, Corrupt when it is not what it was.
func (c *Client) Check(ctx context.Context, img slipway.Image) error {
	op := "checking the image " + img.Digest.Short()
	s, err := c.pull(ctx, img)
	if err != nil {
		return err
	}
	manifests, _, err := s.imageManifests(ctx, img.Digest)
	if err != nil {
		return failure(op, s.repo, err)
	}
	seen := map[v1.Hash]bool{}
	group, ctx := s.group(ctx)
	for _, m := range manifests {
		for _, d := range append(m.Layers, m.Config) {
			if seen[d.Digest] {
				continue
			}
			seen[d.Digest] = true
			group.Go(func() error {
				has, err := s.has(ctx, &blob{digest: d.Digest, size: d.Size})
				if err == nil && !has {
					err = slipway.Errorf(slipway.NotFound, op, "%s no longer has its blob %s", s.repo.Name(), slipwayDigest(d.Digest).Short()).
						WithHint("push the image again, and keep the image registry from cleaning it up")
				}
				return failure(op, s.repo, err)
			})
		}
	}
	return group.Wait()
}

// pull opens the repository of an image named by digest.
func (c *Client) pull(ctx context.Context, img slipway.Image) (*session, error) {
	if _, err := slipway.ParseDigest(string(img.Digest)); err != nil {
		return nil, err
	}
	repo, err := parseRepository(img.Repository)
	if err != nil {
		return nil, err
	}
	return c.open(ctx, repo, transport.PullScope)
}
