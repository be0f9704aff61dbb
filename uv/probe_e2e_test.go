//go:build e2e

package uv_test

import (
	"os"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/uv"
)

// The real uv says what it is and which Pythons there are.
func TestE2EProbe(t *testing.T) {
	t.Parallel()
	c, err := uv.New(uv.Config{Program: e2e.UV(t), CacheDir: t.TempDir(), Environ: os.Environ()})
	if err != nil {
		t.Fatal(err)
	}
	p, err := c.Probe(t.Context())
	if err != nil || p.Version == "" || len(p.Pythons) == 0 {
		t.Errorf("%+v, %v, want a version and at least the Python that tests use", p, err)
	}
}
