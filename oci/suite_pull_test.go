package oci_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
)

var pullCases = []suiteCase{
	{"a download resumes where it broke", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		files := map[string]string{"weights": noise(t, 300_000)}
		c := quick(oci.Config{})
		p := push(t, c, f.repository(), image(t, files))
		f.add(&rule{method: "GET", part: "/blobs/", times: 3, do: breakAnswer})
		wantUnpacked(t, c, p.Image, files)
	}},
	{"lies are noticed", func(t *testing.T, registry http.Handler) {
		files := map[string]string{"weights": noise(t, 300_000)}
		f := newFront(t, registry)
		p := push(t, quick(oci.Config{}), f.repository(), image(t, files))
		for _, lie := range []rule{
			{method: "GET", part: "/manifests/", do: change(flip)},
			{method: "GET", part: "/blobs/", do: change(flip)},
			{method: "GET", part: "/blobs/", do: change(func(rec *httptest.ResponseRecorder) {
				rec.Header().Del("Content-Length")
				rec.Body = bytes.NewBuffer(append(rec.Body.Bytes(), "and more"...))
			})},
		} {
			liar := newFront(t, registry, &lie)
			img := p.Image
			img.Repository = liar.host + strings.TrimPrefix(img.Repository, f.host)
			dir := filepath.Join(t.TempDir(), "image")
			wantCode(t, quick(oci.Config{}).Unpack(t.Context(), img, "linux/amd64", dir), slipway.Corrupt, "")
			if entries, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(entries) != 0 {
				t.Errorf("%v, %v: an image that failed must leave nothing", entries, err)
			}
		}
	}},
	{"what is gone is noticed", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		p := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}))
		if err := c.Check(t.Context(), p.Image); err != nil {
			t.Fatal(err)
		}
		for _, fault := range []struct {
			rule rule
			code slipway.Code
			says string
		}{
			{rule{method: "HEAD", part: "/blobs/", do: answer(404, "")}, slipway.NotFound, "no longer has its blob"},
			{rule{method: "HEAD", part: "/blobs/", do: setHeader("Content-Length", "7")}, slipway.Corrupt, "7 bytes"},
			{rule{method: "HEAD", part: "/blobs/", do: setHeader("Docker-Content-Digest", "sha256:1234")}, slipway.Corrupt, "sha256:1234"},
		} {
			faulty := newFront(t, registry, &fault.rule)
			img := p.Image
			img.Repository = faulty.host + strings.TrimPrefix(img.Repository, f.host)
			wantCode(t, c.Check(t.Context(), img), fault.code, fault.says)
		}
		p.Image.Digest = slipway.Digest("sha256:" + strings.Repeat("0", 64))
		wantCode(t, c.Check(t.Context(), p.Image), slipway.NotFound, "")
	}},
	{"one file", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		p := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}))
		data, err := c.File(t.Context(), p.Image, mlmodel.ImageReleaseDir+"/"+mlmodel.ManifestFile, 1<<20)
		var m mlmodel.Manifest
		if err != nil || json.Unmarshal(data, &m) != nil || m.Model.Version != "3" {
			t.Errorf("%s, %v", data, err)
		}
		_, err = c.File(t.Context(), p.Image, "/model/none", 1<<20)
		wantCode(t, err, slipway.NotFound, "no such file")
		_, err = c.File(t.Context(), p.Image, "/model/.slipway/release.json", 10)
		wantCode(t, err, slipway.Exhausted, "larger than 10 bytes")
	}},
	{"unpacking again and at the same time", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		p := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}))
		other := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "y"}))
		dir := filepath.Join(t.TempDir(), "images", "one")
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if err := c.Unpack(t.Context(), p.Image, "linux/amd64", dir); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		before := len(f.requests("GET", "/v2/"))
		if err := c.Unpack(t.Context(), p.Image, "linux/amd64", dir); err != nil || len(f.requests("GET", "/v2/")) != before {
			t.Errorf("%v, or it was pulled again", err)
		}
		wantCode(t, c.Unpack(t.Context(), other.Image, "linux/amd64", dir), slipway.Conflict, "something else")
		info, err := os.Stat(filepath.Join(dir, "slipway", "modelserver"))
		if err != nil || info.Mode() != 0o755 {
			t.Errorf("the server: %v, %v", info, err)
		}
		if names, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(names) != 1 {
			t.Errorf("%v, %v: it left something beside", names, err)
		}
	}},
}
