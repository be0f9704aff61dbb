package oci_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// suiteCases is how many cases every image registry passes: the one in process
// and the real one.
const suiteCases = 39

// suite runs every case against an image registry, which a case reaches through
// the handler it is given.
func suite(t *testing.T, registry func() http.Handler) {
	cases := append(append(pushCases, faultCases()...), pullCases...)
	if len(cases) != suiteCases {
		t.Fatalf("the suite has %d cases, not %d", len(cases), suiteCases)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.run(t, registry())
		})
	}
}

type suiteCase struct {
	name string
	run  func(t *testing.T, registry http.Handler)
}

// repository returns a name that no other test uses.
func (f *front) repository() string { return f.host + "/suite/" + f.name }

// image packs a model of the given files.
func image(t testing.TB, files map[string]string, change ...func(*pack.Config)) v1.Image {
	t.Helper()
	c := packing(t, files)
	for _, f := range change {
		f(&c)
	}
	img, err := pack.Image(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func packing(t testing.TB, files map[string]string) pack.Config {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, "model", name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	server := filepath.Join(dir, "modelserver")
	if err := os.WriteFile(server, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return pack.Config{
		ModelDir: filepath.Join(dir, "model"), Server: server, CacheDir: filepath.Join(dir, "cache"),
		Manifest: mlmodel.Manifest{SchemaVersion: 1, Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Engine: "sklearn", Golden: slipway.SelfChecked},
	}
}

// noise returns n bytes that do not compress, different for every test.
func noise(t testing.TB, n int) string {
	seed := sha256.Sum256([]byte(t.Name()))
	b := make([]byte, n)
	if _, err := rand.NewChaCha8(seed).Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func push(t testing.TB, c *oci.Client, repository string, what oci.Artifact, tags ...string) oci.Pushed {
	t.Helper()
	p, err := c.Push(t.Context(), repository, what, tags, nil)
	if err != nil {
		t.Fatalf("pushing: %v", err)
	}
	if p.ReferrerProblem != nil {
		t.Fatalf("attaching the referrer: %v", p.ReferrerProblem)
	}
	return p
}

// wantUnpacked fails unless the image, pulled anew, holds the files.
func wantUnpacked(t testing.TB, c *oci.Client, img slipway.Image, files map[string]string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "image")
	if err := c.Unpack(t.Context(), img, "linux/amd64", dir); err != nil {
		t.Fatalf("unpacking: %v", err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, "model", name))
		if err != nil || string(got) != want {
			t.Errorf("%s: %d bytes and %v, want %d bytes", name, len(got), err, len(want))
		}
	}
}

func wantCode(t testing.TB, err error, code slipway.Code, says string) {
	t.Helper()
	if err == nil || slipway.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
		t.Fatalf("got error %v (code %q), want code %q and %q", err, slipway.CodeOf(err), code, says)
	}
	if strings.ContainsAny(err.Error(), "\n\r<") {
		t.Errorf("the error is not one plain line: %q", err)
	}
}

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

// faultCases is what goes wrong on the way. In each, the push succeeds by
// itself or fails with the right code and leaves no tag.
func faultCases() []suiteCase {
	cases := []suiteCase{
		{"an upload resumes where it broke", func(t *testing.T, registry http.Handler) {
			const size, chunk = 1_000_000, 256 << 10
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", times: 1, skip: 1, do: breakAfter(100_000)})
			files := map[string]string{"weights": noise(t, size)}
			c := quick(oci.Config{Chunk: chunk})
			p := push(t, c, f.repository(), image(t, files))
			var sent int64
			for _, r := range f.requests("PATCH", "/uploads/") {
				sent += r.sent
			}
			if sent > size+chunk || len(f.requests("GET", "/uploads/")) == 0 {
				t.Errorf("sent %d bytes for %d: it began again", sent, size)
			}
			wantUnpacked(t, c, p.Image, files)
		}},
		{"an upload that was forgotten begins again", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", times: 1, skip: 1, do: answer(404, `{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}`)})
			files := map[string]string{"weights": noise(t, 300_000)}
			c := quick(oci.Config{Chunk: 64 << 10})
			wantUnpacked(t, c, push(t, c, f.repository(), image(t, files)).Image, files)
		}},
		{"a token that expires in the middle", func(t *testing.T, registry http.Handler) {
			g := &guard{next: registry, life: 7}
			f := newFront(t, g)
			files := map[string]string{"weights": noise(t, 600_000)}
			c := quick(oci.Config{Chunk: 64 << 10, Jobs: 1, Keychain: fixed{"user", "secret"}})
			p := push(t, c, f.repository(), image(t, files))
			if g.minted < 3 || g.basic[0] != "user:secret" {
				t.Errorf("minted %d tokens for %q", g.minted, g.basic)
			}
			wantUnpacked(t, c, p.Image, files)
		}},
		{"a proxy that limits the size of requests", func(t *testing.T, registry http.Handler) {
			limit := func(w http.ResponseWriter, r *http.Request, next http.Handler) {
				if r.ContentLength > 1<<20 {
					answer(http.StatusRequestEntityTooLarge, "<html>too large</html>")(w, r, next)
					return
				}
				next.ServeHTTP(w, r)
			}
			f := newFront(t, registry, &rule{method: "PATCH", part: "/uploads/", do: limit}, &rule{method: "PUT", part: "/uploads/", do: limit})
			push(t, quick(oci.Config{}), f.repository(), image(t, map[string]string{"weights": noise(t, 3<<20)}))
		}},
		{"it waits as long as it is asked to", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", times: 1, do: answer(429, "", "Retry-After", "1")})
			start := time.Now()
			push(t, quick(oci.Config{Jobs: 1}), f.repository(), image(t, map[string]string{"MLmodel": "x"}))
			if took := time.Since(start); took < time.Second {
				t.Errorf("took %s", took)
			}
		}},
		{"it does not wait for an hour", func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: "POST", part: "/uploads/", do: answer(429, "", "Retry-After", "3600")})
			_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unavailable, "it asks to wait 3600 s")
		}},
		{"a registry that stands still", func(t *testing.T, registry http.Handler) {
			hang := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				io.Copy(io.Discard, r.Body)
				<-r.Context().Done()
			}
			f := newFront(t, registry, &rule{method: "PUT", part: "/uploads/", do: hang})
			_, err := quick(oci.Config{Stall: 50 * time.Millisecond, Attempts: 2}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unavailable, "nothing moved for 50ms")
		}},
		{"no credentials", func(t *testing.T, registry http.Handler) {
			f := newFront(t, &needsBasic{registry})
			_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), nil, nil)
			wantCode(t, err, slipway.Unauthorized, "wants other credentials")
			if !strings.Contains(slipway.HintOf(err), "docker login "+f.host) {
				t.Errorf("hint %q", slipway.HintOf(err))
			}
		}},
		{"a push that is given up", func(t *testing.T, registry http.Handler) {
			ctx, cancel := context.WithCancel(t.Context())
			stop := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
				io.Copy(io.Discard, r.Body) // or the server does not notice that the client went
				cancel()
				<-r.Context().Done()
			}
			f := newFront(t, registry, &rule{method: "PUT", part: "/uploads/", do: stop})
			_, err := quick(oci.Config{}).Push(ctx, f.repository(), image(t, map[string]string{"MLmodel": "x"}), []string{"3"}, nil)
			if err == nil || ctx.Err() == nil {
				t.Fatalf("got %v", err)
			}
		}},
		{"a location on another host gets no credentials", func(t *testing.T, registry http.Handler) {
			other := newFront(t, registry)
			away := change(func(rec *httptest.ResponseRecorder) {
				if _, path, ok := strings.Cut(rec.Header().Get("Location"), "/v2/"); ok {
					rec.Header().Set("Location", "http://"+other.host+"/v2/"+path)
				}
			})
			f := newFront(t, &needsBasic{registry}, &rule{method: "POST", part: "/uploads/", do: away})
			push(t, quick(oci.Config{Keychain: fixed{"user", "secret"}}), f.repository(), image(t, map[string]string{"MLmodel": "x"}))
			strangers := other.requests("PUT", "/uploads/")
			if len(strangers) == 0 {
				t.Fatal("nothing went to the other host")
			}
			for _, r := range strangers {
				if r.authorization != "" {
					t.Errorf("the other host was given %q", r.authorization)
				}
			}
		}},
	}
	for _, c := range []struct{ what, method, part string }{
		{"looking", "HEAD", "/blobs/"}, {"beginning", "POST", "/uploads/"}, {"sending", "PATCH", "/uploads/"},
		{"ending", "PUT", "/uploads/"}, {"publishing", "PUT", "/manifests/"}, {"reading back", "GET", "/manifests/"},
	} {
		cases = append(cases, suiteCase{"a 503 while " + c.what, func(t *testing.T, registry http.Handler) {
			f := newFront(t, registry, &rule{method: c.method, part: c.part, times: 2, do: answer(503, "<html>\nbusy</html>")})
			files := map[string]string{"weights": noise(t, 200_000)}
			client := quick(oci.Config{Chunk: 64 << 10})
			wantUnpacked(t, client, push(t, client, f.repository(), image(t, files)).Image, files)
		}})
	}
	for _, c := range []struct {
		what string
		rule rule
		code slipway.Code
		says string
	}{
		{"no chunks", rule{method: "PATCH", part: "/uploads/", do: answer(405, "")}, "", ""},
		{"read-only", rule{method: "POST", part: "/uploads/", do: answer(405, `{"errors":[{"code":"UNSUPPORTED","message":"m"}]}`)}, slipway.Unauthorized, "read-only"},
		{"denied", rule{method: "POST", part: "/uploads/", do: answer(403, `{"errors":[{"code":"DENIED","message":"no"}]}`)}, slipway.Unauthorized, "may not"},
		{"always 500", rule{method: "PUT", part: "/uploads/", do: answer(500, "<html>\nboom</html>")}, slipway.Unavailable, "500"},
		{"a lie when a blob is stored", rule{method: "PUT", part: "/uploads/", do: setHeader("Docker-Content-Digest", "sha256:1234")}, slipway.Corrupt, "sha256:1234"},
	} {
		cases = append(cases, suiteCase{c.what, func(t *testing.T, registry http.Handler) {
			rule := c.rule
			f := newFront(t, registry, &rule)
			_, err := quick(oci.Config{Chunk: 64 << 10}).Push(t.Context(), f.repository(), image(t, map[string]string{"w": noise(t, 200_000)}), []string{"3"}, nil)
			if c.code == "" && err == nil {
				return
			}
			wantCode(t, err, c.code, c.says)
			tags, err := quick(oci.Config{}).Tags(t.Context(), newFront(t, registry).host+"/"+strings.SplitN(f.repository(), "/", 2)[1])
			if err != nil || len(tags) != 0 {
				t.Errorf("tags %v, %v: a failed push must leave none", tags, err)
			}
		}})
	}
	return cases
}

// needsBasic asks for Basic credentials.
type needsBasic struct{ next http.Handler }

func (n *needsBasic) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if _, _, ok := r.BasicAuth(); !ok {
		w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	n.next.ServeHTTP(w, r)
}

// fixed is a keychain of one account.
type fixed struct{ user, password string }

func (k fixed) Resolve(authn.Resource) (authn.Authenticator, error) {
	return &authn.Basic{Username: k.user, Password: k.password}, nil
}

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

func withPlatform(t testing.TB, img v1.Image) v1.Image {
	t.Helper()
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	changed, err := mutateConfig(img, config)
	if err != nil {
		t.Fatal(fmt.Errorf("giving the base a platform: %w", err))
	}
	return changed
}
