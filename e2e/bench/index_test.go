//go:build bench

package bench_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
)

const (
	pypi      = "https://pypi.org"
	pypiFiles = "https://files.pythonhosted.org"
)

// startIndex returns pip's settings for a way to PyPI that says for how long
// files are good, as PyPI does. A proxy that this machine may reach it by
// leaves that out, and pip would keep nothing in the peer's image of what it
// keeps elsewhere. With an index of the machine's own there is nothing to set.
func startIndex(t *testing.T) (env []string) {
	t.Helper()
	if os.Getenv("PIP_INDEX_URL") != "" {
		return nil
	}
	server := httptest.NewUnstartedServer(nil)
	here := "http://" + server.Listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("/simple/", passOn(t, pypi, func(r *http.Response) error { return linkTo(r, here+"/files") }))
	mux.Handle("/files/", http.StripPrefix("/files", passOn(t, pypiFiles, func(r *http.Response) error {
		r.Header.Set("Cache-Control", "max-age=365000000, immutable, public")
		return nil
	})))
	server.Config.Handler = mux
	server.Start()
	t.Cleanup(server.Close)
	return []string{"PIP_INDEX_URL=" + here + "/simple/", "PIP_TRUSTED_HOST=" + server.Listener.Addr().String()} // trusted, or nothing is cached
}

func passOn(t *testing.T, to string, change func(*http.Response) error) *httputil.ReverseProxy {
	t.Helper()
	target, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			r.Out.Header.Del("Accept-Encoding") // pages are changed
		},
		ModifyResponse: change,
	}
}

// linkTo has the links of a page lead to files that are served here.
func linkTo(r *http.Response, files string) error {
	page, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	r.Body.Close()
	page = bytes.ReplaceAll(page, []byte(pypiFiles), []byte(files))
	r.Body = io.NopCloser(bytes.NewReader(page))
	r.ContentLength = int64(len(page))
	r.Header.Set("Content-Length", strconv.Itoa(len(page)))
	r.Header.Set("Cache-Control", "max-age=600, public")
	if at := r.Header.Get("Location"); at != "" {
		r.Header.Set("Location", strings.TrimPrefix(at, pypi))
	}
	return nil
}
