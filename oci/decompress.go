package oci

import (
	"io"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
)

// decompress returns the tar archive in a layer.
func decompress(r io.Reader, t types.MediaType) (io.ReadCloser, error) {
	switch t {
	case types.OCILayer, types.DockerLayer:
		zip, err := gzip.NewReader(r)
		if err != nil {
			return nil, brokenLayer(err)
		}
		return zip, nil
	case types.OCILayerZStd:
		zip, err := zstd.NewReader(r, zstd.WithDecoderMaxMemory(128<<20), zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, brokenLayer(err)
		}
		return zip.IOReadCloser(), nil
	case types.OCIUncompressedLayer, types.DockerUncompressedLayer:
		return io.NopCloser(r), nil
	}
	return nil, slipway.Errorf(slipway.Invalid, "reading a layer", "it is of type %.100q", t)
}

// limited ends a stream that grows too large.
type limited struct {
	r    io.Reader
	left *atomic.Int64 // shared by what is limited together
}

func bounded(r io.Reader, most int64) *limited {
	left := &atomic.Int64{}
	left.Store(most)
	return &limited{r, left}
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left.Add(-int64(n)) < 0 {
		return 0, slipway.Errorf(slipway.Exhausted, "reading the layers", "they unpack to more bytes than are allowed")
	}
	return n, err
}
