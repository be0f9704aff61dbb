package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// ReferrerType is the artifact type of the referrer that holds an image's
// mlmodel.Manifest.
const ReferrerType = "application/vnd.slipway.release.v1+json"

const emptyType types.MediaType = "application/vnd.oci.empty.v1+json"

// refer attaches what the image says about itself as a referrer, the same
// bytes every time. problem is why the image registry refused it.
func (s *session) refer(ctx context.Context, c *cargo) (digest slipway.Digest, problem, err error) {
	const op = "attaching the referrer"
	annotations, err := ownAnnotations(c.top().raw)
	if err != nil || len(annotations) == 0 { // the image is not ours
		return "", nil, failure(op, s.repo, err)
	}
	content, err := ownManifest(c.images[0])
	if err != nil || content == nil {
		return "", nil, failure(op, s.repo, err)
	}
	m, blobs, err := buildReferrer(c.top().descriptor(), content, annotations)
	if err != nil {
		return "", nil, failure(op, s.repo, err)
	}
	err = s.attach(ctx, c.top(), m, blobs, annotations)
	if err == nil {
		return slipwayDigest(m.digest), nil, nil
	}
	err = failure(op, s.repo, err)
	if ctx.Err() != nil {
		return "", nil, err
	}
	return "", err, nil
}

// ownManifest returns the release.json in the image's last layer; nil where
// there is none, for the image is not ours.
func ownManifest(img v1.Image) ([]byte, error) {
	layers, err := img.Layers()
	if err != nil || len(layers) == 0 {
		return nil, err
	}
	r, err := layers[len(layers)-1].Uncompressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	found, err := findInLayer(r, mlmodel.ImageReleaseDir+"/"+mlmodel.ManifestFile, maxManifest)
	return found.data, err
}

// buildReferrer makes a manifest that points at the image (OCI image
// specification 1.1, "Guidelines for Artifact Usage").
func buildReferrer(subject v1.Descriptor, content []byte, annotations map[string]string) (manifest, []*blob, error) {
	config, configBlob, err := inline([]byte("{}"), emptyType)
	if err != nil {
		return manifest{}, nil, err
	}
	layer, layerBlob, err := inline(content, ReferrerType)
	if err != nil {
		return manifest{}, nil, err
	}
	raw, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: ReferrerType,
		Config: config, Layers: []v1.Descriptor{layer}, Subject: &subject, Annotations: annotations,
	})
	if err != nil {
		return manifest{}, nil, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	return manifest{raw, types.OCIManifestSchema1, digest}, []*blob{configBlob, layerBlob}, err
}

// ownAnnotations returns the annotations of Slipway's own.
func ownAnnotations(raw []byte) (map[string]string, error) {
	var m struct{ Annotations map[string]string }
	err := json.Unmarshal(raw, &m)
	own := map[string]string{}
	for k, v := range m.Annotations {
		if strings.HasPrefix(k, "dev.slipway.") {
			own[k] = v
		}
	}
	return own, err
}

func inline(data []byte, mediaType types.MediaType) (v1.Descriptor, *blob, error) {
	digest, size, err := v1.SHA256(bytes.NewReader(data))
	d := v1.Descriptor{MediaType: mediaType, Digest: digest, Size: size}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
	return d, &blob{digest: digest, size: size, open: open}, err
}

// attach stores the referrer. Where the image registry does not say that it
// keeps referrers, it is listed under the tag the specification has for that
// (OCI distribution specification 1.1, "Referrers Tag Schema").
func (s *session) attach(ctx context.Context, subject, m manifest, blobs []*blob, annotations map[string]string) error {
	missing, err := s.missing(ctx, blobs)
	if err != nil {
		return err
	}
	if _, err := s.uploadAll(ctx, missing, nil); err != nil {
		return err
	}
	header, err := s.putManifest(ctx, m.digest.String(), m)
	if err != nil || header.Get("OCI-Subject") != "" {
		return err
	}
	listed := m.descriptor()
	listed.ArtifactType, listed.Annotations = ReferrerType, annotations
	return s.listReferrer(ctx, strings.Replace(subject.digest.String(), ":", "-", 1), listed)
}

func (s *session) listReferrer(ctx context.Context, tag string, d v1.Descriptor) error {
	index := &v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	old, err := s.getManifest(ctx, tag)
	var r *refusal
	switch {
	case errors.As(err, &r) && r.status == http.StatusNotFound:
	case err != nil:
		return err
	default:
		if index, err = v1.ParseIndexManifest(bytes.NewReader(old.raw)); err != nil {
			return err
		}
	}
	for _, have := range index.Manifests {
		if have.Digest == d.Digest {
			return nil
		}
	}
	index.Manifests = append(index.Manifests, d)
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return err
	}
	_, err = s.putManifest(ctx, tag, manifest{raw, types.OCIImageIndex, digest})
	return err
}
