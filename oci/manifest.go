package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
)

const (
	maxManifest = 8 << 20
	maxChildren = 100
)

// publish stores the manifests by digest, the outermost last, and then the tags.
func (s *session) publish(ctx context.Context, c *cargo, tags []string) error {
	for _, m := range c.manifests {
		if _, err := s.putManifest(ctx, m.digest.String(), m); err != nil {
			return failure("pushing the manifest", s.repo, err)
		}
	}
	for _, t := range tags {
		if _, err := s.putManifest(ctx, t, c.top()); err != nil {
			return failure("setting the tag "+t, s.repo, err)
		}
	}
	return nil
}

// manifest is the bytes of a manifest or an index.
type manifest struct {
	raw       []byte
	mediaType types.MediaType
	digest    v1.Hash
}

func (m manifest) descriptor() v1.Descriptor {
	return v1.Descriptor{MediaType: m.mediaType, Digest: m.digest, Size: int64(len(m.raw))}
}

// putManifest stores a manifest under a digest or a tag. The header tells what
// the image registry made of it.
func (s *session) putManifest(ctx context.Context, ref string, m manifest) (http.Header, error) {
	config := s.client.config
	for attempt := 1; ; attempt++ {
		resp, err := s.putOnce(ctx, ref, m)
		var after string
		if err == nil {
			if resp.StatusCode/100 == 2 {
				defer discard(resp)
				return resp.Header, checkHeader(resp, m.digest)
			}
			r := refused(resp)
			err, after = r, r.after
			// It was stored a moment ago, and some need longer to know.
			if !transientStatus(r.status) && !r.has("MANIFEST_BLOB_UNKNOWN") {
				return nil, err
			}
		} else if !transientError(err) {
			return nil, err
		}
		delay, ok := config.delay(attempt, after)
		if !ok || attempt >= config.Attempts {
			return nil, err
		}
		if err := sleep(ctx, delay); err != nil {
			return nil, err
		}
	}
}

func (s *session) putOnce(ctx context.Context, ref string, m manifest) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, s.url("/manifests/%s", ref).String(), bytes.NewReader(m.raw))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", string(m.mediaType))
	return s.http.Do(req)
}

// getManifest reads a manifest or an index by digest, which is checked, or by tag.
func (s *session) getManifest(ctx context.Context, ref string) (manifest, error) {
	accept := http.Header{"Accept": {
		string(types.OCIManifestSchema1), string(types.OCIImageIndex), string(types.DockerManifestSchema2), string(types.DockerManifestList),
	}}
	resp, err := s.send(ctx, http.MethodGet, s.url("/manifests/%s", ref), accept)
	if err != nil {
		return manifest{}, err
	}
	if resp.StatusCode != http.StatusOK {
		return manifest{}, refused(resp)
	}
	defer discard(resp)
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxManifest+1))
	if err != nil {
		return manifest{}, err
	}
	if len(raw) > maxManifest {
		return manifest{}, slipway.Errorf(slipway.Exhausted, "reading the manifest "+ref, "it is larger than %d bytes", maxManifest)
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return manifest{}, err
	}
	if want, err := v1.NewHash(ref); err == nil && want != digest {
		return manifest{}, corrupt("reading the manifest "+ref, "the image registry gave %s for it", digest)
	}
	return manifest{raw, mediaTypeOf(raw, resp.Header.Get("Content-Type")), digest}, checkHeader(resp, digest)
}

// mediaTypeOf prefers what the manifest says itself, for that is what the
// digest covers.
func mediaTypeOf(raw []byte, header string) types.MediaType {
	var m struct {
		MediaType types.MediaType `json:"mediaType"`
	}
	if json.Unmarshal(raw, &m) == nil && m.MediaType != "" {
		return m.MediaType
	}
	return types.MediaType(header)
}

// imageManifests returns the image's manifest, or those of all its platforms
// with their descriptors.
func (s *session) imageManifests(ctx context.Context, digest slipway.Digest) ([]*v1.Manifest, []v1.Descriptor, error) {
	top, err := s.getManifest(ctx, string(digest))
	if err != nil {
		return nil, nil, err
	}
	if !top.mediaType.IsIndex() {
		m, err := parseManifest(top)
		return []*v1.Manifest{m}, []v1.Descriptor{top.descriptor()}, err
	}
	index, err := v1.ParseIndexManifest(bytes.NewReader(top.raw))
	if err != nil {
		return nil, nil, notAnImage(top, err)
	}
	if len(index.Manifests) == 0 || len(index.Manifests) > maxChildren {
		return nil, nil, slipway.Errorf(slipway.Invalid, "reading the image", "an index of %d images", len(index.Manifests))
	}
	var manifests []*v1.Manifest
	for _, d := range index.Manifests {
		child, err := s.getManifest(ctx, d.Digest.String())
		if err != nil {
			return nil, nil, err
		}
		m, err := parseManifest(child)
		if err != nil {
			return nil, nil, err
		}
		manifests = append(manifests, m)
	}
	return manifests, index.Manifests, nil
}

func parseManifest(m manifest) (*v1.Manifest, error) {
	if !m.mediaType.IsImage() {
		return nil, notAnImage(m, nil)
	}
	parsed, err := v1.ParseManifest(bytes.NewReader(m.raw))
	if err != nil {
		return nil, notAnImage(m, err)
	}
	for _, d := range append(parsed.Layers, parsed.Config) {
		if d.Size < 0 || d.Digest.Algorithm != "sha256" {
			return nil, notAnImage(m, nil)
		}
	}
	return parsed, nil
}

func notAnImage(m manifest, err error) error {
	return &slipway.Error{Op: "reading the image", Code: slipway.Invalid, Message: slipwayDigest(m.digest).Short() + " is no image", Err: err}
}
