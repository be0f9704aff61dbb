package oci

import (
	"bytes"
	"io"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-dev/slipway"
)

// cargo is an artifact, taken apart.
type cargo struct {
	manifests []manifest // the outermost last
	blobs     []*blob    // each once
	images    []v1.Image
	image     slipway.Image
}

func (c *cargo) top() manifest { return c.manifests[len(c.manifests)-1] }

func load(what Artifact, repo name.Repository) (*cargo, error) {
	c := &cargo{image: slipway.Image{Repository: repo.Name()}}
	if err := c.add(what, repo.Registry); err != nil {
		return nil, failure("reading the image", repo, err)
	}
	c.image.Digest = slipwayDigest(c.top().digest)
	return c, nil
}

func (c *cargo) add(what Artifact, host name.Registry) error {
	switch what := what.(type) {
	case v1.Image:
		if err := c.addImage(what, host); err != nil {
			return err
		}
	case v1.ImageIndex:
		index, err := what.IndexManifest()
		if err != nil {
			return err
		}
		for _, d := range index.Manifests {
			child, err := what.Image(d.Digest)
			if err != nil {
				return err
			}
			if err := c.add(child, host); err != nil {
				return err
			}
		}
	default:
		return slipway.Errorf(slipway.Internal, "reading the image", "%T is neither image nor index", what)
	}
	return c.addManifest(what)
}

func (c *cargo) addManifest(what Artifact) error {
	raw, err := what.RawManifest()
	if err != nil {
		return err
	}
	mediaType, err := what.MediaType()
	if err != nil {
		return err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	c.manifests = append(c.manifests, manifest{raw, mediaType, digest})
	return err
}

func (c *cargo) addImage(img v1.Image, host name.Registry) error {
	config, err := partial.ConfigLayer(img)
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	size, err := c.addBlob(config, host, false)
	if err != nil {
		return err
	}
	for _, l := range layers {
		n, err := c.addBlob(l, host, true)
		if err != nil {
			return err
		}
		size += n
	}
	if len(c.images) == 0 {
		c.image.Size = size
	}
	c.images = append(c.images, img)
	c.image.Platforms = append(c.image.Platforms, file.Platform().String())
	return nil
}

func (c *cargo) addBlob(l v1.Layer, host name.Registry, layer bool) (int64, error) {
	digest, err := l.Digest()
	if err != nil {
		return 0, err
	}
	size, err := l.Size()
	if err != nil {
		return 0, err
	}
	for _, b := range c.blobs {
		if b.digest == digest {
			return size, nil
		}
	}
	b := &blob{digest: digest, size: size, layer: layer, open: func() (io.ReadCloser, error) { return l.Compressed() }}
	if from := origin(l); from != nil && from.Registry == host && from.Name() != c.image.Repository {
		b.from = from
	}
	c.blobs = append(c.blobs, b)
	return size, nil
}

// origin returns the repository that a layer of a base or a kept one comes from.
func origin(l v1.Layer) *name.Repository {
	for {
		if k, ok := l.(*keptLayer); ok {
			return &k.session.repo
		}
		if m, ok := l.(*remote.MountableLayer); ok {
			repo := m.Reference.Context()
			return &repo
		}
		wrapped, ok := l.(interface{ Unwrap() v1.Layer })
		if !ok {
			return nil
		}
		l = wrapped.Unwrap()
	}
}

// mounts returns the other repositories that blobs may be mounted from.
func (c *cargo) mounts() []name.Repository {
	var repos []name.Repository
	seen := map[string]bool{c.image.Repository: true}
	for _, b := range c.blobs {
		if b.from != nil && !seen[b.from.Name()] {
			seen[b.from.Name()] = true
			repos = append(repos, *b.from)
		}
	}
	return repos
}

func (c *cargo) pushed(uploaded []*blob) Pushed {
	p := Pushed{Image: c.image}
	for _, b := range c.blobs {
		p.Bytes += b.size
		if b.layer {
			p.Layers++
		}
	}
	for _, b := range uploaded {
		p.UploadedBytes += b.size
		if b.layer {
			p.UploadedLayers++
		}
	}
	return p
}

func slipwayDigest(h v1.Hash) slipway.Digest { return slipway.Digest(h.String()) }
