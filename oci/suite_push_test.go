package oci_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

var pushCases = []suiteCase{
	{"a push uploads everything once", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		files := map[string]string{"MLmodel": "x", "data/weights": noise(t, 10_000)}
		img := image(t, files)
		c := quick(oci.Config{})
		first := push(t, c, f.repository(), img, "3", "champion")
		again := push(t, c, f.repository(), img, "3", "champion")
		digest, _ := img.Digest()
		if string(first.Image.Digest) != digest.String() || first.Image.Ref() != again.Image.Ref() {
			t.Errorf("pushed %s and %s, want %s", first.Image.Ref(), again.Image.Ref(), digest)
		}
		if first.Layers != 3 || first.UploadedLayers != 3 || first.UploadedBytes != first.Bytes || first.Bytes < 10_000 || first.Image.Size != first.Bytes {
			t.Errorf("first push: %+v", first)
		}
		if again.UploadedLayers != 0 || again.UploadedBytes != 0 || again.Bytes != first.Bytes {
			t.Errorf("second push: %+v", again)
		}
		if diff := cmp.Diff([]string{"linux/amd64"}, first.Image.Platforms); diff != "" {
			t.Error(diff)
		}
		wantUnpacked(t, c, first.Image, files)
	}},
	{"a next version uploads only its model and release", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		config := packing(t, map[string]string{"MLmodel": "one"})
		for i, model := range []string{"one", "two"} {
			if err := os.WriteFile(filepath.Join(config.ModelDir, "MLmodel"), []byte(model+noise(t, 100)), 0o644); err != nil {
				t.Fatal(err)
			}
			config.Manifest.Model.Version = slipway.Version(model)
			img, err := pack.Image(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := c.Plan(t.Context(), f.repository(), img)
			if err != nil {
				t.Fatal(err)
			}
			p := push(t, c, f.repository(), img)
			if want := 3 - i; p.UploadedLayers != want || plan.UploadedLayers != want || plan.UploadedBytes != p.UploadedBytes {
				t.Errorf("version %s: uploaded %d layers, planned %d, want %d", model, p.UploadedLayers, plan.UploadedLayers, want)
			}
		}
	}},
	{"two platforms", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		config := packing(t, map[string]string{"MLmodel": "x"})
		arm := config.Server + "-arm"
		if err := os.WriteFile(arm, []byte("#!/bin/arm\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		images, err := pack.Images(t.Context(), config, pack.Variant{Server: config.Server, Platform: "linux/amd64"}, pack.Variant{Server: arm, Platform: "linux/arm64"})
		if err != nil {
			t.Fatal(err)
		}
		index, err := pack.Index(images...)
		if err != nil {
			t.Fatal(err)
		}
		c := quick(oci.Config{})
		p := push(t, c, f.repository(), index, "3")
		if diff := cmp.Diff([]string{"linux/amd64", "linux/arm64"}, p.Image.Platforms); diff != "" || p.UploadedLayers != 4 {
			t.Errorf("uploaded %d layers, want 4; platforms: %s", p.UploadedLayers, diff)
		}
		if err := c.Check(t.Context(), p.Image); err != nil {
			t.Error(err)
		}
		dir := filepath.Join(t.TempDir(), "image")
		if err := c.Unpack(t.Context(), p.Image, "linux/arm64", dir); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "slipway", "modelserver")); string(got) != "#!/bin/arm\n" {
			t.Errorf("server %q, %v", got, err)
		}
		wantCode(t, c.Unpack(t.Context(), p.Image, "linux/s390x", dir+"2"), slipway.NotFound, "linux/amd64, linux/arm64")
	}},
	{"chunks follow each other", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		files := map[string]string{"weights": noise(t, 300_000)}
		c := quick(oci.Config{Chunk: 64 << 10})
		p := push(t, c, f.repository(), image(t, files))
		patches := f.requests("PATCH", "/uploads/")
		if len(patches) != 5 || patches[0].contentRange != "0-65535" || patches[1].contentRange != "65536-131071" {
			t.Errorf("patches: %+v", patches)
		}
		wantUnpacked(t, c, p.Image, files)
	}},
	{"the least chunk is honoured", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", do: setHeader("OCI-Chunk-Min-Length", "100000")})
		c := quick(oci.Config{Chunk: 64 << 10})
		push(t, c, f.repository(), image(t, map[string]string{"weights": noise(t, 300_000)}))
		patches := f.requests("PATCH", "/uploads/")
		if len(patches) < 2 || patches[0].sent != 100_000 {
			t.Errorf("patches: %+v", patches)
		}
	}},
	{"a relative location", func(t *testing.T, registry http.Handler) {
		relative := change(func(rec *httptest.ResponseRecorder) {
			if _, path, ok := strings.Cut(rec.Header().Get("Location"), "/v2/"); ok {
				rec.Header().Set("Location", "/v2/"+path)
			}
		})
		f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", do: relative}, &rule{method: "PATCH", part: "/uploads/", do: relative})
		push(t, quick(oci.Config{Chunk: 64 << 10}), f.repository(), image(t, map[string]string{"weights": noise(t, 100_000)}))
	}},
	{"an absolute location", func(t *testing.T, registry http.Handler) {
		var f *front
		absolute := change(func(rec *httptest.ResponseRecorder) {
			if _, path, ok := strings.Cut(rec.Header().Get("Location"), "/v2/"); ok {
				rec.Header().Set("Location", "http://"+f.host+"/v2/"+path)
			}
		})
		f = newFront(t, registry, &rule{method: "POST", part: "/uploads/", do: absolute}, &rule{method: "PATCH", part: "/uploads/", do: absolute})
		push(t, quick(oci.Config{Chunk: 64 << 10}), f.repository(), image(t, map[string]string{"weights": noise(t, 100_000)}))
	}},
	{"a base on the same host is not uploaded again", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		base, err := random.Image(50_000, 2)
		if err != nil {
			t.Fatal(err)
		}
		config, err := base.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		platform := config.OS + "/" + config.Architecture
		if platform == "/" {
			base = withPlatform(t, base)
			platform = "linux/amd64"
		}
		push(t, c, f.repository()+"-base", base, "1")
		pulled, err := c.Base(t.Context(), f.repository()+"-base:1", platform)
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{"MLmodel": "x"}
		p := push(t, c, f.repository(), image(t, files, func(c *pack.Config) { c.Base = pulled }))
		if p.Layers != 5 || p.UploadedLayers != 3 {
			t.Errorf("%d layers, uploaded %d, want 5 and 3", p.Layers, p.UploadedLayers)
		}
		wantUnpacked(t, c, p.Image, files)
	}},
	{"a base from another host is carried over", func(t *testing.T, registry http.Handler) {
		from, to := newFront(t, registry), newFront(t, registry)
		c := quick(oci.Config{Chunk: 64 << 10})
		base, err := random.Image(200_000, 1)
		if err != nil {
			t.Fatal(err)
		}
		push(t, c, from.repository()+"-base", withPlatform(t, base), "1")
		pulled, err := c.Base(t.Context(), from.repository()+"-base:1", "linux/amd64")
		if err != nil {
			t.Fatal(err)
		}
		// Two names of one image registry would share their blobs in process.
		to.add(&rule{method: "HEAD", part: "/blobs/", times: 5, do: answer(404, "")})
		to.add(&rule{method: "PATCH", part: "/uploads/", skip: 1, times: 1, do: breakAfter(1000)})
		p := push(t, c, to.repository(), image(t, map[string]string{"MLmodel": "x"}, func(c *pack.Config) { c.Base = pulled }))
		if p.UploadedLayers != 4 {
			t.Errorf("uploaded %d layers, want 4", p.UploadedLayers)
		}
		if err := c.Check(t.Context(), p.Image); err != nil {
			t.Error(err)
		}
	}},
	{"progress ends at the total", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", times: 1, skip: 1, do: breakAfter(1000)})
		var done, total int64
		p, err := quick(oci.Config{Chunk: 64 << 10}).Push(t.Context(), f.repository(), image(t, map[string]string{"w": noise(t, 300_000)}), nil,
			func(d, n int64) { done, total = d, n })
		if err != nil {
			t.Fatal(err)
		}
		if done != total || total != p.UploadedBytes {
			t.Errorf("progress ended at %d of %d, uploaded %d", done, total, p.UploadedBytes)
		}
	}},
	{"the referrer says what the image is", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		img := image(t, map[string]string{"MLmodel": "x"})
		p := push(t, c, f.repository(), img)
		if again := push(t, c, f.repository(), img); again.Referrer != p.Referrer || p.Referrer == "" {
			t.Errorf("referrers %q and %q", p.Referrer, again.Referrer)
		}
		index := getReferrers(t, p.Image)
		if len(index.Manifests) != 1 || index.Manifests[0].Digest.String() != string(p.Referrer) {
			t.Fatalf("referrers: %+v", index.Manifests)
		}
		var m v1.Manifest
		getJSON(t, p.Image, "manifests/"+string(p.Referrer), &m)
		var content mlmodel.Manifest
		getJSON(t, p.Image, "blobs/"+m.Layers[0].Digest.String(), &content)
		if content.Model.Name != "iris" || m.ArtifactType != oci.ReferrerType || m.Subject == nil || m.Subject.Digest.String() != string(p.Image.Digest) {
			t.Errorf("referrer %+v holds %+v", m, content)
		}
	}},
	{"pushes at the same time", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{Chunk: 64 << 10})
		img := image(t, map[string]string{"w": noise(t, 200_000)})
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				if _, err := c.Push(t.Context(), f.repository(), img, []string{"1"}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
	}},
	{"tags", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		c := quick(oci.Config{})
		if tags, err := c.Tags(t.Context(), f.repository()); err != nil || len(tags) != 0 {
			t.Errorf("tags of a repository that does not exist: %v, %v", tags, err)
		}
		p := push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}), "3")
		if err := c.Tag(t.Context(), p.Image, "champion"); err != nil {
			t.Fatal(err)
		}
		tags, err := c.Tags(t.Context(), f.repository())
		if diff := cmp.Diff([]string{"3", "champion"}, tags); diff != "" || err != nil {
			t.Errorf("tags: %v %s", err, diff)
		}
		got, err := c.Resolve(t.Context(), f.repository()+":champion")
		if err != nil || got.Digest != p.Image.Digest {
			t.Errorf("resolved %+v, %v", got, err)
		}
	}},
}

// getReferrers asks the referrers API, and else the tag that stands for it.
func getReferrers(t testing.TB, img slipway.Image) v1.IndexManifest {
	t.Helper()
	var index v1.IndexManifest
	if status := tryJSON(t, img, "referrers/"+string(img.Digest), &index); status == http.StatusOK {
		return index
	}
	getJSON(t, img, "manifests/"+strings.Replace(string(img.Digest), ":", "-", 1), &index)
	return index
}

func getJSON(t testing.TB, img slipway.Image, path string, into any) {
	t.Helper()
	if status := tryJSON(t, img, path, into); status != http.StatusOK {
		t.Fatalf("GET %s: %d", path, status)
	}
}

func tryJSON(t testing.TB, img slipway.Image, path string, into any) int {
	t.Helper()
	host, name, _ := strings.Cut(img.Repository, "/")
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+host+"/v2/"+name+"/"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
			t.Fatalf("GET %s: %v", path, err)
		}
	}
	return resp.StatusCode
}
