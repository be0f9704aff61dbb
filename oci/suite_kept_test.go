package oci_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

const (
	keptKey  = "0123456789abcdef"
	keptLock = "numpy==2.0 --hash=sha256:00\n"
)

// sitePackages are the files of two layers of packages.
func sitePackages(t testing.TB) map[string]string {
	return map[string]string{"numpy/__init__.py": "n", "numpy/lib.so": "\x7fELF" + noise(t, 300_000), "six.py": "s"}
}

func packageLayers(t testing.TB, compression pack.Compression) []v1.Layer {
	t.Helper()
	site := t.TempDir()
	for name, content := range sitePackages(t) {
		try(t, os.MkdirAll(filepath.Join(site, filepath.Dir(name)), 0o755))
		write(t, filepath.Join(site, name), content, 0o644)
	}
	layers, err := pack.PackageLayers(t.Context(), t.TempDir(), site, []pack.PackageGroup{
		{Name: "numpy", Packages: []string{"numpy==2.0"}, Files: []string{"numpy/__init__.py", "numpy/lib.so"}},
		{Name: "rest", Packages: []string{"six==1.17.0"}, Files: []string{"six.py"}},
	}, compression)
	try(t, err)
	return layers
}

// imageOfPackages is an image with a base of one layer, the packages, and
// three layers of ours.
func imageOfPackages(t testing.TB, model string, packages []v1.Layer) v1.Image {
	t.Helper()
	base, err := random.Image(1000, 1, random.WithSource(zeros{}))
	try(t, err)
	return image(t, map[string]string{"MLmodel": model}, func(c *pack.Config) {
		c.Base, c.Packages, c.Lock = withPlatform(t, base), packages, []byte(keptLock)
	})
}

// zeros is a source of chance that always gives the same.
type zeros struct{}

func (zeros) Int63() int64 { return 0 }
func (zeros) Seed(int64)   {}

func keep(t testing.TB, c *oci.Client, repository string) []v1.Layer {
	t.Helper()
	layers := packageLayers(t, pack.Zstd)
	try(t, c.Keep(t.Context(), repository, keptKey, []byte(keptLock), layers))
	return layers
}

func findKept(t testing.TB, repository string) oci.Kept {
	t.Helper()
	kept, err := quick(oci.Config{Chunk: 64 << 10}).FindKept(t.Context(), repository, keptKey)
	try(t, err)
	return kept
}

// wantSite fails unless the folder holds the packages.
func wantSite(t testing.TB, dir string) {
	t.Helper()
	got := map[string]string{}
	try(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(dir, path)
		got[rel] = string(data)
		return err
	}))
	if diff := cmp.Diff(sitePackages(t), got); diff != "" {
		t.Error(diff)
	}
}

var keptCases = []suiteCase{
	{"an environment is kept and found", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		_, err := quick(oci.Config{}).FindKept(t.Context(), f.repository(), keptKey)
		wantCode(t, err, slipway.NotFound, "")
		layers := keep(t, quick(oci.Config{}), f.repository())
		posts := len(f.requests("POST", "/uploads/"))
		keep(t, quick(oci.Config{}), f.repository())
		if n := len(f.requests("POST", "/uploads/")) - posts; n != 0 {
			t.Errorf("to keep it again took %d uploads", n)
		}
		before := len(f.requests("GET", "/manifests/")) + len(f.requests("GET", "/blobs/")) + len(f.requests("HEAD", "/"))
		kept := findKept(t, f.repository())
		if n := len(f.requests("GET", "/manifests/")) + len(f.requests("GET", "/blobs/")) + len(f.requests("HEAD", "/")) - before; n != 2 {
			t.Errorf("to find it took %d requests, want 2", n)
		}
		if string(kept.Lock) != keptLock || kept.From != f.repository()+":slipway-env-"+keptKey || len(kept.Layers) != len(layers) {
			t.Fatalf("found %+v", kept)
		}
		fresh, again := imageOfPackages(t, "x", layers), imageOfPackages(t, "x", kept.Layers)
		want, err := fresh.Digest()
		try(t, err)
		if got, err := again.Digest(); got != want || err != nil {
			t.Errorf("an image of kept layers is %s, %v, of layers made anew %s", got, err, want)
		}
		p := push(t, quick(oci.Config{}), f.repository(), again)
		if tags, err := quick(oci.Config{}).Tags(t.Context(), f.repository()); err != nil || len(tags) != 0 {
			t.Errorf("people see the tags %v (%v)", tags, err)
		}
		if p.Layers != 6 || p.UploadedLayers != 4 {
			t.Errorf("%d layers, uploaded %d, want 6 and 4", p.Layers, p.UploadedLayers)
		}
	}},
	{"kept layers are mounted in another repository", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		keep(t, quick(oci.Config{}), f.repository()+"-envs")
		kept := findKept(t, f.repository()+"-envs")
		// In process, repositories share their blobs.
		f.add(&rule{method: "HEAD", part: "/blobs/", times: 7, do: answer(404, "")})
		p := push(t, quick(oci.Config{}), f.repository(), imageOfPackages(t, "x", kept.Layers))
		if p.UploadedLayers != 4 {
			t.Errorf("uploaded %d layers, want 4", p.UploadedLayers)
		}
		_, from, _ := strings.Cut(f.repository()+"-envs", "/")
		mounts := 0
		for _, r := range f.requests("POST", "/uploads/") {
			if strings.Contains(r.query, "mount=") && strings.Contains(r.query, "from="+strings.ReplaceAll(from, "/", "%2F")) {
				mounts++
			}
		}
		if mounts != 2 {
			t.Errorf("mounted %d layers, want 2", mounts)
		}
		try(t, quick(oci.Config{}).Check(t.Context(), p.Image))
	}},
	{"kept layers are carried to another host", func(t *testing.T, registry http.Handler) {
		from, to := newFront(t, registry), newFront(t, registry)
		keep(t, quick(oci.Config{}), from.repository())
		kept := findKept(t, from.repository())
		to.add(&rule{method: "HEAD", part: "/blobs/", times: 7, do: answer(404, "")},
			&rule{method: "PATCH", part: "/uploads/", skip: 1, times: 1, do: breakAfter(1000)})
		c := quick(oci.Config{Chunk: 64 << 10})
		p := push(t, c, to.repository(), imageOfPackages(t, "x", kept.Layers))
		if p.UploadedLayers != 6 {
			t.Errorf("uploaded %d layers, want 6", p.UploadedLayers)
		}
		try(t, c.Check(t.Context(), p.Image))
		wantUnpacked(t, c, p.Image, map[string]string{"MLmodel": "x", "../slipway/site-packages/numpy/lib.so": sitePackages(t)["numpy/lib.so"]})
	}},
	{"lies about a kept environment", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		keep(t, quick(oci.Config{}), f.repository())
		for name, lie := range keptLies {
			liar := newFront(t, registry, &rule{method: "GET", part: "/manifests/", do: change(func(rec *httptest.ResponseRecorder) {
				var m v1.Manifest
				try(t, json.Unmarshal(rec.Body.Bytes(), &m))
				lie(&m)
				raw, err := json.Marshal(m)
				try(t, err)
				rec.Header().Del("Content-Length")
				rec.Header().Del("Docker-Content-Digest")
				rec.Body = bytes.NewBuffer(raw)
			})})
			_, err := quick(oci.Config{MaxBytes: 1 << 30}).FindKept(t.Context(), liar.host+strings.TrimPrefix(f.repository(), f.host), keptKey)
			if slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(err.Error(), "is of no use") {
				t.Errorf("%s: %v", name, err)
			}
		}
		_, err := quick(oci.Config{}).FindKept(t.Context(), f.repository(), "../x")
		wantCode(t, err, slipway.Invalid, "no key")
		f.add(&rule{method: "GET", part: "/blobs/", do: change(flip)})
		_, err = quick(oci.Config{}).FindKept(t.Context(), f.repository(), keptKey)
		wantCode(t, err, slipway.NotFound, "is of no use")
	}},
	{"a kept layer with a wrong diffID", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		layers := packageLayers(t, pack.Gzip)
		layers[0] = mislabelled{layers[0]}
		try(t, quick(oci.Config{}).Keep(t.Context(), f.repository(), keptKey, []byte(keptLock), layers))
		kept := findKept(t, f.repository())
		dir := filepath.Join(t.TempDir(), "site")
		wantCode(t, quick(oci.Config{}).UnpackPackages(t.Context(), kept.Layers, dir), slipway.Corrupt, "it unpacks to")
		to := newFront(t, registry, &rule{method: "HEAD", part: "/blobs/", times: 7, do: answer(404, "")})
		_, err := quick(oci.Config{Chunk: 64 << 10}).Push(t.Context(), to.repository(), imageOfPackages(t, "x", kept.Layers), nil, nil)
		wantCode(t, err, slipway.Corrupt, "it unpacks to")
		if n := len(to.requests("PUT", "/manifests/")); n != 0 {
			t.Errorf("%d manifests of a broken image were stored", n)
		}
	}},
	{"a kept layer is gone", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		layers := keep(t, quick(oci.Config{}), f.repository())
		kept := findKept(t, f.repository())
		lib, err := layers[0].Digest()
		try(t, err)
		f.add(&rule{method: "GET", part: "/blobs/" + lib.String(), do: answer(404, "")}, &rule{method: "HEAD", part: "/blobs/" + lib.String(), do: answer(404, "")})
		err = quick(oci.Config{}).UnpackPackages(t.Context(), kept.Layers, filepath.Join(t.TempDir(), "site"))
		wantLost(t, err)
		_, err = quick(oci.Config{}).Push(t.Context(), f.repository(), imageOfPackages(t, "x", kept.Layers), []string{"1"}, nil)
		wantLost(t, err)
	}},
	{"packages are unpacked", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		keep(t, quick(oci.Config{}), f.repository())
		kept := findKept(t, f.repository())
		f.add(&rule{method: "GET", part: "/blobs/", times: 2, do: breakAnswer})
		c := quick(oci.Config{})
		dir := filepath.Join(t.TempDir(), "a", "site")
		try(t, c.UnpackPackages(t.Context(), kept.Layers, dir))
		wantSite(t, dir)
		wantCode(t, c.UnpackPackages(t.Context(), kept.Layers, dir), slipway.Conflict, "something else")
		if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
			t.Errorf("left: %v, %v", left, err)
		}
		if info, err := os.Stat(filepath.Join(dir, "numpy", "lib.so")); err != nil || info.Mode() != 0o755 {
			t.Errorf("%v, %v", info, err)
		}
	}},
	{"a next version links its packages", func(t *testing.T, registry http.Handler) {
		f := newFront(t, registry)
		layers := packageLayers(t, pack.Zstd)
		images := t.TempDir()
		lib := filepath.Join("slipway", "site-packages", "numpy", "lib.so")
		var infos []fs.FileInfo
		for i, model := range []string{"one", "two", "three"} {
			c := quick(oci.Config{})
			p := push(t, c, f.repository(), imageOfPackages(t, model, layers))
			before := len(f.requests("GET", "/blobs/"))
			try(t, c.Unpack(t.Context(), p.Image, "linux/amd64", filepath.Join(images, model)))
			// The config, server, model and release; the packages only the first
			// time, and once what they had was changed. Never the base.
			if n, want := len(f.requests("GET", "/blobs/"))-before, []int{6, 4, 5}[i]; n != want {
				t.Errorf("unpacking %s took %d blobs, want %d", model, n, want)
			}
			wantSite(t, filepath.Join(images, model, "slipway", "site-packages"))
			info, err := os.Stat(filepath.Join(images, model, lib))
			try(t, err)
			infos = append(infos, info)
			if model == "two" {
				for _, changed := range []string{"one", "two"} {
					write(t, filepath.Join(images, changed, "slipway", "site-packages", "six.py"), "changed", 0o644)
				}
			}
		}
		if !os.SameFile(infos[0], infos[1]) || !os.SameFile(infos[0], infos[2]) || infos[0].Mode() != 0o555 {
			t.Errorf("the images do not share %s, of mode %s", lib, infos[0].Mode())
		}
		try(t, os.RemoveAll(filepath.Join(images, "one")))
		if data, err := os.ReadFile(filepath.Join(images, "three", lib)); err != nil || string(data) != sitePackages(t)["numpy/lib.so"] {
			t.Errorf("without the first: %d bytes, %v", len(data), err)
		}
	}},
}

var keptLies = map[string]func(m *v1.Manifest){
	"another type":       func(m *v1.Manifest) { m.ArtifactType = "application/x" },
	"another key":        func(m *v1.Manifest) { m.Annotations["dev.slipway.environment"] = "x" },
	"no layers":          func(m *v1.Manifest) { m.Layers = m.Layers[len(m.Layers)-1:] },
	"no lock":            func(m *v1.Manifest) { m.Layers = m.Layers[:len(m.Layers)-1] },
	"a huge lock":        func(m *v1.Manifest) { m.Layers[len(m.Layers)-1].Size = 5 << 20 },
	"a lock of nothing":  func(m *v1.Manifest) { m.Layers[len(m.Layers)-1].Size = 0 },
	"a longer lock":      func(m *v1.Manifest) { m.Layers[len(m.Layers)-1].Size++ },
	"a shorter lock":     func(m *v1.Manifest) { m.Layers[len(m.Layers)-1].Size-- },
	"no diffID":          func(m *v1.Manifest) { m.Layers[0].Annotations = nil },
	"half a diffID":      func(m *v1.Manifest) { m.Layers[0].Annotations["dev.slipway.diff-id"] = "sha256:00" },
	"another media type": func(m *v1.Manifest) { m.Layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar" },
	"an address":         func(m *v1.Manifest) { m.Layers[0].URLs = []string{"https://example.com"} },
	"an empty layer":     func(m *v1.Manifest) { m.Layers[0].Size = 0 },
	"a layer too large":  func(m *v1.Manifest) { m.Layers[0].Size = 1 << 40 },
	"odd packages":       func(m *v1.Manifest) { m.Layers[0].Annotations["dev.slipway.packages"] = "a\x1b[31m" },
	"too many packages":  func(m *v1.Manifest) { m.Layers[0].Annotations["dev.slipway.packages"] = strings.Repeat("a", 70_000) },
	"too many layers": func(m *v1.Manifest) {
		for len(m.Layers) < 102 {
			m.Layers = append(m.Layers[:1:1], m.Layers...)
		}
	},
}

// mislabelled is a layer that says it unpacks to something else.
type mislabelled struct{ v1.Layer }

func (mislabelled) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, nil
}

func wantLost(t testing.TB, err error) {
	t.Helper()
	if slipway.CodeOf(err) != slipway.NotFound || !errors.Is(err, oci.ErrKeptLost) {
		t.Errorf("got %v, want that the kept layer is lost", err)
	}
}
