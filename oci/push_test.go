package oci_test

import (
	"io"
	"log"
	"net/http"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

func mutateConfig(img v1.Image, c *v1.ConfigFile) (v1.Image, error) { return mutate.ConfigFile(img, c) }

// TestImageRegistryInProcess runs the suite against go-containerregistry's, whose
// repositories share their blobs: each case gets its own.
// The same suite runs against the real one in push_e2e_test.go.
func TestImageRegistryInProcess(t *testing.T) {
	t.Parallel()
	quiet := log.New(io.Discard, "", 0)
	suite(t, func() http.Handler {
		return withStatus(registry.New(registry.Logger(quiet), registry.WithReferrersSupport(true)))
	})
}
