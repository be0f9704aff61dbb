//go:build e2e

package oci_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/oci"
)

// TestE2EImageRegistry runs the suite against github.com/distribution/distribution.
func TestE2EImageRegistry(t *testing.T) {
	t.Parallel()
	target := &url.URL{Scheme: "http", Host: e2e.ImageRegistry(t)}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host
		},
		ErrorLog: log.New(io.Discard, "", 0), // the suite breaks connections
	}
	suite(t, func() http.Handler { return proxy })
}

// TestE2EPassword pushes to an image registry that asks for Basic credentials.
func TestE2EPassword(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "htpasswd")
	write(t, file, "user:$2a$05$Bd7lAyW6HhWEhsaJYgI3letjHMA4WbBhn0A4IoVVP3siAcUn.xC9a\n", 0o600) // "secret"
	host := e2e.StartImageRegistry(t, "-htpasswd", file)
	files := map[string]string{"MLmodel": "x"}
	img := image(t, files)
	for _, test := range []struct {
		name     string
		keychain authn.Keychain
		code     slipway.Code
	}{
		{"none", nil, slipway.Unauthorized},
		{"wrong", fixed{"user", "guess"}, slipway.Unauthorized},
		{"right", fixed{"user", "secret"}, ""},
	} {
		c := quick(oci.Config{Keychain: test.keychain})
		p, err := c.Push(t.Context(), host+"/password", img, nil, nil)
		if slipway.CodeOf(err) != test.code {
			t.Errorf("%s credentials: %v, want code %q", test.name, err, test.code)
		}
		if err == nil {
			wantUnpacked(t, c, p.Image, files)
		}
	}
}

// TestE2EReadOnly pushes to an image registry in maintenance.
func TestE2EReadOnly(t *testing.T) {
	t.Parallel()
	host := e2e.StartImageRegistry(t, "-read-only")
	_, err := quick(oci.Config{}).Push(t.Context(), host+"/x", image(t, map[string]string{"MLmodel": "x"}), nil, nil)
	wantCode(t, err, slipway.Unauthorized, "read-only")
}
