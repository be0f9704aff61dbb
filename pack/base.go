package pack

import (
	"context"
	"errors"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
)

// startFrom returns the config and layers an image begins with.
func startFrom(base v1.Image, p v1.Platform) (*v1.ConfigFile, []v1.Layer, error) {
	if base == nil {
		return &v1.ConfigFile{Architecture: p.Architecture, OS: p.OS, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers"}}, nil, nil
	}
	from, err := base.ConfigFile()
	if err != nil {
		return nil, nil, baseFailure(err)
	}
	if from.OS != p.OS || from.Architecture != p.Architecture {
		return nil, nil, slipway.Errorf(slipway.Invalid, op, "the base is for %s/%s, not for %s", from.OS, from.Architecture, p.String()).
			WithHint("take a base for %s with --base", p.String())
	}
	config := from.DeepCopy()
	config.Author, config.Container, config.Created = "", "", v1.Time{}
	all, err := base.Layers()
	if err != nil {
		return nil, nil, baseFailure(err)
	}
	layers := make([]v1.Layer, len(all))
	for i, l := range all {
		if layers[i], err = inOCI(l); err != nil {
			return nil, nil, err
		}
	}
	return config, layers, nil
}

// ociNames gives Docker's layers the name the same bytes have in OCI images.
var ociNames = map[types.MediaType]types.MediaType{
	types.DockerLayer:             types.OCILayer,
	types.DockerUncompressedLayer: types.OCIUncompressedLayer,
	types.OCILayer:                types.OCILayer,
	types.OCIUncompressedLayer:    types.OCIUncompressedLayer,
	types.OCILayerZStd:            types.OCILayerZStd,
}

func inOCI(l v1.Layer) (v1.Layer, error) {
	t, err := l.MediaType()
	if err != nil {
		return nil, baseFailure(err)
	}
	name, ok := ociNames[t]
	if !ok {
		return nil, slipway.Errorf(slipway.Invalid, op, "the base has a layer of type %.100q", t).WithHint("take another base with --base")
	}
	return renamed{l, name}, nil
}

// renamed is a layer of a base under another media type.
type renamed struct {
	v1.Layer
	mediaType types.MediaType
}

func (r renamed) MediaType() (types.MediaType, error) { return r.mediaType, nil }

// Unwrap returns the base's own layer, which knows where it can be mounted from.
func (r renamed) Unwrap() v1.Layer { return r.Layer }

func baseFailure(err error) error { return readFailure("reading the base", err) }

func packagesFailure(err error) error { return readFailure("reading the packages' layers", err) }

func readFailure(what string, err error) error {
	var known *slipway.Error
	if errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: what, Err: err}
}
