package pack

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// CreatedBy tells our layers from those of the base, in the config's history.
const CreatedBy = "slipway"

// image is a finished image: its manifest and config as bytes, and its layers.
type image struct {
	manifest []byte
	config   []byte
	layers   []v1.Layer
}

var _ v1.Image = (*image)(nil)

func (i *image) Layers() ([]v1.Layer, error)         { return i.layers, nil }
func (i *image) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (i *image) RawManifest() ([]byte, error)        { return i.manifest, nil }
func (i *image) RawConfigFile() ([]byte, error)      { return i.config, nil }
func (i *image) Size() (int64, error)                { return int64(len(i.manifest)), nil }
func (i *image) Digest() (v1.Hash, error)            { return partial.Digest(i) }
func (i *image) Manifest() (*v1.Manifest, error)     { return partial.Manifest(i) }
func (i *image) ConfigName() (v1.Hash, error)        { return partial.ConfigName(i) }
func (i *image) ConfigFile() (*v1.ConfigFile, error) { return partial.ConfigFile(i) }
func (i *image) LayerByDigest(h v1.Hash) (v1.Layer, error) {
	return i.find(h, v1.Layer.Digest)
}
func (i *image) LayerByDiffID(h v1.Hash) (v1.Layer, error) {
	return i.find(h, v1.Layer.DiffID)
}

func (i *image) find(h v1.Hash, of func(v1.Layer) (v1.Hash, error)) (v1.Layer, error) {
	if name, err := i.ConfigName(); err == nil && name == h {
		return partial.ConfigLayer(i)
	}
	for _, l := range i.layers {
		if got, err := of(l); err == nil && got == h {
			return l, nil
		}
	}
	return nil, fmt.Errorf("the image has no layer %s", h)
}

// assemble puts the packages and our layers, of which some may be nil, on the
// base and describes the whole.
func assemble(m mlmodel.Manifest, v Variant, ours ...*layer) (v1.Image, error) {
	p, err := parsePlatform(v.Platform)
	if err != nil {
		return nil, err
	}
	config, layers, err := startFrom(v.Base, p)
	if err != nil {
		return nil, err
	}
	labels := m.Labels()
	upper, err := stack(v.Packages, ours)
	if err != nil {
		return nil, err
	}
	for _, l := range upper {
		diffID, err := l.DiffID()
		if err != nil {
			return nil, packagesFailure(err)
		}
		layers = append(layers, l)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, diffID)
		config.History = append(config.History, v1.History{CreatedBy: CreatedBy})
	}
	configure(&config.Config, labels)
	annotations := maps.Clone(labels)
	if v.Base != nil {
		digest, err := v.Base.Digest()
		if err != nil {
			return nil, baseFailure(err)
		}
		annotations["org.opencontainers.image.base.digest"] = digest.String()
	}
	return seal(config, layers, annotations)
}

// stack returns the layers that come upon the base.
func stack(packages []v1.Layer, ours []*layer) ([]v1.Layer, error) {
	var all []v1.Layer
	for _, l := range packages {
		t, err := l.MediaType()
		if err != nil {
			return nil, packagesFailure(err)
		}
		if ociNames[t] != t {
			return nil, slipway.Errorf(slipway.Internal, op, "a layer of packages is of type %.100q", t)
		}
		all = append(all, l)
	}
	for _, l := range ours {
		if l != nil {
			all = append(all, l)
		}
	}
	return all, nil
}

// configure says how the image is run: by the unprivileged user, without
// writing anything, so that a read-only root will do.
func configure(c *v1.Config, labels map[string]string) {
	port := fmt.Sprintf("%d/tcp", mlmodel.Port)
	c.User = fmt.Sprintf("%d:%d", mlmodel.User, mlmodel.User)
	c.Entrypoint, c.Cmd = []string{mlmodel.ImageServer}, nil
	c.ExposedPorts = map[string]struct{}{port: {}}
	c.Env = setEnv(c.Env, "SLIPWAY_MODEL", mlmodel.ImageModelDir)
	c.Env = setEnv(c.Env, "SLIPWAY_ADDR", fmt.Sprintf(":%d", mlmodel.Port))
	if c.Labels == nil {
		c.Labels = map[string]string{}
	}
	maps.Copy(c.Labels, labels)
	// The base's own are about another program.
	c.Healthcheck, c.OnBuild, c.Volumes, c.StopSignal, c.Hostname, c.Image = nil, nil, nil, "", "", ""
}

func setEnv(env []string, key, value string) []string {
	env = slices.DeleteFunc(env, func(s string) bool { return strings.HasPrefix(s, key+"=") })
	return append(env, key+"="+value)
}

func seal(config *v1.ConfigFile, layers []v1.Layer, annotations map[string]string) (v1.Image, error) {
	raw, err := json.Marshal(config)
	if err != nil {
		return nil, failure(err)
	}
	digest, size, err := v1.SHA256(strings.NewReader(string(raw)))
	if err != nil {
		return nil, failure(err)
	}
	m := v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		Config:        v1.Descriptor{MediaType: types.OCIConfigJSON, Digest: digest, Size: size},
		Annotations:   annotations,
	}
	for _, l := range layers {
		d, err := Descriptor(l)
		if err != nil {
			return nil, baseFailure(err)
		}
		m.Layers = append(m.Layers, d)
	}
	rawManifest, err := json.Marshal(m)
	if err != nil {
		return nil, failure(err)
	}
	return &image{manifest: rawManifest, config: raw, layers: layers}, nil
}

// Descriptor lists a layer. Annotations are those of layers of our own, which
// say what they were made of; a base's are about another image.
func Descriptor(l v1.Layer) (v1.Descriptor, error) {
	var d v1.Descriptor
	var err error
	if d.Digest, err = l.Digest(); err != nil {
		return d, err
	}
	if d.Size, err = l.Size(); err != nil {
		return d, err
	}
	if d.MediaType, err = l.MediaType(); err != nil {
		return d, err
	}
	described, ok := l.(interface {
		Descriptor() (*v1.Descriptor, error)
	})
	if !ok {
		return d, nil
	}
	own, err := described.Descriptor()
	if err != nil {
		return d, err
	}
	d.Annotations = own.Annotations
	return d, nil
}

// Index joins the images of several platforms, in the order given. Its
// annotations are those that all have in common.
func Index(images ...v1.Image) (v1.ImageIndex, error) {
	if len(images) == 0 {
		return nil, slipway.Errorf(slipway.Internal, op, "an index needs at least one image")
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	var common map[string]string
	for n, i := range images {
		m, err := i.Manifest()
		if err != nil {
			return nil, failure(err)
		}
		config, err := i.ConfigFile()
		if err != nil {
			return nil, failure(err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: i, Descriptor: v1.Descriptor{Platform: config.Platform()}})
		if n == 0 {
			common = maps.Clone(m.Annotations)
		}
		maps.DeleteFunc(common, func(k, v string) bool { return m.Annotations[k] != v })
	}
	return mutate.Annotations(index, common).(v1.ImageIndex), nil
}
