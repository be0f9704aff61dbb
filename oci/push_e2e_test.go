//go:build e2e

package oci_test

import (
	"io"
	"log"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// TestImageRegistryReal runs the suite against github.com/distribution/distribution.
func TestImageRegistryReal(t *testing.T) {
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
