//go:build bench

package bench_test

import (
	"archive/tar"
	"errors"
	"io"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func fetch(t *testing.T, image string) v1.Image {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	img, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatalf("the image registry has no %s: %v", image, err)
	}
	return img
}

// compressed are the sizes of an image's layers in the image registry, bytes.
func compressed(t *testing.T, image string) (sizes []int64) {
	t.Helper()
	manifest, err := fetch(t, image).Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range manifest.Layers {
		sizes = append(sizes, l.Size)
	}
	return sizes
}

// unpacked is how much the files in the layers of an image hold, bytes: what
// Docker says of its own.
func unpacked(t *testing.T, image string) (size int64) {
	t.Helper()
	layers, err := fetch(t, image).Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		r, err := l.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		size += inArchive(t, r)
		r.Close()
	}
	return size
}

func inArchive(t *testing.T, r io.Reader) (size int64) {
	t.Helper()
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return size
		}
		if err != nil {
			t.Fatal(err)
		}
		size += h.Size
	}
}

func sum(sizes []int64) (all int64) {
	for _, s := range sizes {
		all += s
	}
	return all
}
