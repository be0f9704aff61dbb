package main

import (
	"context"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
)

// registryOfOne is an image registry that holds one file, until it is gone.
type registryOfOne struct {
	imageRegistry
	file string
}

func (r *registryOfOne) File(context.Context, slipway.Image, string, int64) ([]byte, error) {
	if r.file == "" {
		return nil, slipway.Errorf(slipway.Unavailable, "asking the image registry", "it is gone")
	}
	return []byte(r.file), nil
}

// What a rollback will be verified by is there also when the image registry is
// gone by then; what never was read is not, and nothing else is read for it.
func TestGoldensAreKept(t *testing.T) {
	t.Parallel()
	images := &registryOfOne{file: `{"schemaVersion": 1, "source": "self-checked", "predictions": []}`}
	g := goldens{images, keptGoldens{t.TempDir()}}
	release := slipway.Release{Image: slipway.Image{Digest: "sha256:" + slipway.Digest(strings.Repeat("ab", 32))}}
	read, err := g.find(t.Context(), release)
	if err != nil {
		t.Fatal(err)
	}
	images.file = ""
	kept, err := g.find(t.Context(), release)
	if err != nil || kept.Source != read.Source {
		t.Errorf("got %+v, %v; want %+v", kept, err, read)
	}
	for _, other := range []slipway.Digest{"sha256:" + slipway.Digest(strings.Repeat("cd", 32)), "../../etc/passwd"} {
		if _, err := g.find(t.Context(), slipway.Release{Image: slipway.Image{Digest: other}}); slipway.CodeOf(err) != slipway.Unavailable {
			t.Errorf("%s: got %v", other, err)
		}
	}
}
