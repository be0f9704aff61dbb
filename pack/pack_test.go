package pack_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/pack"
)

// pinned is the digest of testdata/model on scratch. It changes when anything
// does that goes into an image, the compression library included: then every
// image is uploaded and rolled out anew once, and compression in layer.go gets
// another name.
const pinned = "sha256:209b653f62efa3a71cc0ec5c3b1305000322869ef94ca68b0b4cf05c502aae11"

func sample(t testing.TB) pack.Config {
	t.Helper()
	return pack.Config{
		ModelDir: "testdata/model",
		Server:   "testdata/modelserver",
		CacheDir: t.TempDir(),
		Manifest: mlmodel.Manifest{
			SchemaVersion: 1, Engine: "sklearn", Golden: slipway.Proved, GoldenBy: "scikit-learn 1.5.2",
			Model: slipway.ModelVersion{Name: "iris", Version: "3", RunID: "r1", Flavor: "sklearn"},
		},
		Golden: mlmodel.Golden{
			SchemaVersion: 1, Source: slipway.Proved, By: "scikit-learn 1.5.2", Tolerance: 1e-9,
			Predictions: []mlmodel.Prediction{{Request: json.RawMessage(`{"inputs":[[1,2]]}`), Answer: json.RawMessage(`[1]`)}},
		},
	}
}

func build(t testing.TB, c pack.Config) v1.Image {
	t.Helper()
	img, err := pack.Image(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func digest(t testing.TB, img interface{ Digest() (v1.Hash, error) }) string {
	t.Helper()
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return d.String()
}

func TestPinnedDigest(t *testing.T) {
	t.Parallel()
	if got := digest(t, build(t, sample(t))); got != pinned {
		t.Errorf("got %s, want %s", got, pinned)
	}
}

// entry is what a layer says of a file.
type entry struct {
	Name string
	Mode int64
	Size int64
}

func entries(t testing.TB, l v1.Layer) []entry {
	t.Helper()
	r, err := l.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []entry
	for archive := tar.NewReader(r); ; {
		h, err := archive.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s belongs to %d:%d (%q) and is of %s", h.Name, h.Uid, h.Gid, h.Uname, h.ModTime)
		}
		all = append(all, entry{h.Name, h.Mode, h.Size})
	}
}

func TestLayers(t *testing.T) {
	t.Parallel()
	c := sample(t)
	c.ModelDir = t.TempDir()
	long := strings.Repeat("long", 60)
	write(t, c.ModelDir, map[string]string{
		"MLmodel": "m", "code/b.py": "b", "code/a.py": "a", "ü/" + long: "l", "zero": "",
		".slipway/golden.json": "of another release", "registered_model_meta": "of a download", ".hidden": "h",
	})
	if err := os.Mkdir(filepath.Join(c.ModelDir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	img := build(t, c)
	layers, err := img.Layers()
	if err != nil {
		t.Fatal(err)
	}
	var got [][]entry
	for _, l := range layers {
		got = append(got, entries(t, l))
	}
	golden, err := c.Golden.Encode()
	if err != nil {
		t.Fatal(err)
	}
	want := [][]entry{
		{{"slipway/", 0o755, 0}, {"slipway/modelserver", 0o755, 25}},
		{{"model/", 0o755, 0}, {"model/.hidden", 0o644, 1}, {"model/MLmodel", 0o644, 1},
			{"model/code/", 0o755, 0}, {"model/code/a.py", 0o644, 1}, {"model/code/b.py", 0o644, 1},
			{"model/zero", 0o644, 0}, {"model/ü/", 0o755, 0}, {"model/ü/" + long, 0o644, 1}},
		{{"model/.slipway/", 0o755, 0}, {"model/.slipway/golden.json", 0o644, int64(len(golden))}, {"model/.slipway/release.json", 0o644, 207}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	img := build(t, sample(t))
	got, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{
		"org.opencontainers.image.title": "iris", "org.opencontainers.image.version": "3",
		"dev.slipway.model.name": "iris", "dev.slipway.model.version": "3", "dev.slipway.model.run-id": "r1",
		"dev.slipway.model.flavor": "sklearn", "dev.slipway.model.engine": "sklearn", "dev.slipway.golden": "proved",
	}
	want := v1.Config{
		User: "65532:65532", Entrypoint: []string{"/slipway/modelserver"}, ExposedPorts: map[string]struct{}{"8000/tcp": {}},
		Env: []string{"SLIPWAY_MODEL=/model", "SLIPWAY_ADDR=:8000"}, Labels: labels,
	}
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Error(diff)
	}
	if !got.Created.IsZero() || got.OS != "linux" || got.Architecture != "amd64" {
		t.Errorf("config: %+v", got)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(labels, m.Annotations); diff != "" || m.MediaType != types.OCIManifestSchema1 || m.Config.MediaType != types.OCIConfigJSON {
		t.Errorf("manifest of type %s: %s", m.MediaType, diff)
	}
}

func TestBase(t *testing.T) {
	t.Parallel()
	base := pythonBase(t)
	c := sample(t)
	c.Base = base
	img := build(t, c)
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	wantEnv := []string{"PATH=/usr/bin", "SLIPWAY_MODEL=/model", "SLIPWAY_ADDR=:8000"}
	if diff := cmp.Diff(wantEnv, config.Config.Env); diff != "" || config.Config.Cmd != nil || len(config.RootFS.DiffIDs) != 5 {
		t.Errorf("config %+v: %s", config, diff)
	}
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range m.Layers {
		if l.MediaType != types.OCILayer {
			t.Errorf("a layer of type %s in an OCI image", l.MediaType)
		}
	}
	if m.Annotations["org.opencontainers.image.base.digest"] != digest(t, base) {
		t.Errorf("annotations: %v", m.Annotations)
	}
	c.Platform = "linux/arm64"
	_, err = pack.Image(t.Context(), c)
	wantError(t, err, slipway.Invalid, "the base is for linux/amd64, not for linux/arm64")
}

// pythonBase is an image as Docker writes them: its media types, a command, a
// variable that Slipway sets too.
func pythonBase(t testing.TB) v1.Image {
	t.Helper()
	base, err := random.Image(100, 2)
	if err != nil {
		t.Fatal(err)
	}
	config, err := base.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Cmd: []string{"python"}, Env: []string{"PATH=/usr/bin", "SLIPWAY_ADDR=:1"}}
	if base, err = mutate.ConfigFile(base, config); err != nil {
		t.Fatal(err)
	}
	return base
}

func TestIndex(t *testing.T) {
	t.Parallel()
	images, err := pack.Images(t.Context(), sample(t),
		pack.Variant{Server: "testdata/modelserver", Platform: "linux/amd64"}, pack.Variant{Server: "testdata/modelserver", Platform: "linux/arm64"})
	if err != nil {
		t.Fatal(err)
	}
	index, err := pack.Index(images...)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Manifests) != 2 || m.Manifests[1].Platform.String() != "linux/arm64" || m.MediaType != types.OCIImageIndex || m.Annotations["dev.slipway.model.name"] != "iris" {
		t.Errorf("index: %+v", m)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	again, err := pack.Index(images...)
	if err != nil || digest(t, again) != digest(t, index) {
		t.Errorf("two indexes: %v", err)
	}
	if got := digest(t, images[0]); got != pinned {
		t.Errorf("one of two platforms is %s, alone it is %s", got, pinned)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		make func(t *testing.T, dir string, c *pack.Config)
		code slipway.Code
		says string
	}{
		{"no model", func(_ *testing.T, dir string, c *pack.Config) { c.ModelDir = dir + "/none" }, slipway.NotFound, "no such file"},
		{"an empty model", func(_ *testing.T, _ string, c *pack.Config) {}, slipway.Invalid, "holds no files"},
		{"a model that is a file", func(_ *testing.T, _ string, c *pack.Config) { c.ModelDir = c.Server }, slipway.Invalid, "is not a folder"},
		{"a link", func(t *testing.T, dir string, _ *pack.Config) { try(t, os.Symlink("/etc/passwd", dir+"/l")) }, slipway.Invalid, `"l" is a link`},
		{"a linked folder", func(t *testing.T, dir string, _ *pack.Config) { try(t, os.Symlink("/etc", dir+"/l")) }, slipway.Invalid, `"l" is a link`},
		{"a pipe", func(t *testing.T, dir string, _ *pack.Config) { try(t, syscall.Mkfifo(dir+"/p", 0o644)) }, slipway.Invalid, `"p" is a pipe`},
		{"a socket", func(t *testing.T, dir string, _ *pack.Config) {
			l, err := net.Listen("unix", dir+"/s")
			try(t, err)
			t.Cleanup(func() { l.Close() })
		}, slipway.Invalid, `"s" is a socket`},
		{"a whiteout", func(t *testing.T, dir string, _ *pack.Config) { write(t, dir, map[string]string{"a/.wh.b": ""}) }, slipway.Invalid, "whiteout"},
		{"a folder like a whiteout", func(t *testing.T, dir string, _ *pack.Config) { write(t, dir, map[string]string{".wh.b/c": ""}) }, slipway.Invalid, "whiteout"},
		{"a line break", func(t *testing.T, dir string, _ *pack.Config) { write(t, dir, map[string]string{"a\nb": ""}) }, slipway.Invalid, `"a\nb" has a control character`},
		{"no UTF-8", func(t *testing.T, dir string, _ *pack.Config) { write(t, dir, map[string]string{"a\xffb": ""}) }, slipway.Invalid, "not UTF-8"},
		{"a file in the place of .slipway", func(t *testing.T, dir string, _ *pack.Config) { write(t, dir, map[string]string{".slipway": ""}) }, slipway.Invalid, "Slipway's own folder"},
		{"other files than were checked", func(t *testing.T, dir string, c *pack.Config) {
			write(t, dir, map[string]string{"MLmodel": "x"})
			c.Manifest.Model.Files = slipway.Digest("sha256:" + strings.Repeat("0", 64))
		}, slipway.Corrupt, "the model directory changed"},
		{"no server", func(t *testing.T, dir string, c *pack.Config) {
			write(t, dir, map[string]string{"MLmodel": "x"})
			c.Server = dir + "/none"
		}, slipway.NotFound, "there is no model server"},
		{"a server of another system", func(t *testing.T, dir string, c *pack.Config) {
			write(t, dir, map[string]string{"MLmodel": "MZ"})
			c.Server = dir + "/MLmodel"
		}, slipway.Invalid, "is a program for Windows, not for linux/amd64"},
		{"another platform", func(t *testing.T, dir string, c *pack.Config) { c.Platform = "windows/amd64" }, slipway.Invalid, "no platform"},
		{"a base of layers that are elsewhere", func(t *testing.T, dir string, c *pack.Config) {
			write(t, dir, map[string]string{"MLmodel": "x"})
			l, err := random.Layer(10, types.DockerForeignLayer)
			try(t, err)
			c.Base, err = mutate.AppendLayers(pythonBase(t), l)
			try(t, err)
		}, slipway.Invalid, "foreign"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := sample(t)
			dir, err := os.MkdirTemp("", "m") // short: a socket's path has a limit
			try(t, err)
			t.Cleanup(func() { try(t, os.RemoveAll(dir)) })
			c.ModelDir = dir
			test.make(t, dir, &c)
			_, err = pack.Image(t.Context(), c)
			wantError(t, err, test.code, test.says)
		})
	}
}

func TestServerOfAnotherMachine(t *testing.T) {
	t.Parallel()
	c := sample(t)
	program, err := os.Executable()
	try(t, err)
	c.Server, c.Platform = program, "linux/s390x"
	_, err = pack.Image(t.Context(), c)
	wantError(t, err, slipway.Invalid, "no platform")
	for _, platform := range []string{"linux/amd64", "linux/arm64"} {
		c.Platform = platform
		_, err := pack.Image(t.Context(), c)
		if platform != "linux/"+goarch {
			wantError(t, err, slipway.Invalid, "not for "+platform)
		} else if err != nil {
			t.Error(err)
		}
	}
}

func TestFilesDigest(t *testing.T) {
	t.Parallel()
	c := sample(t)
	files, err := mlmodel.Inventory(c.ModelDir)
	try(t, err)
	c.Manifest.Model.Files = mlmodel.DigestFiles(files)
	build(t, c)
}

func TestServerLayerIsCached(t *testing.T) {
	t.Parallel()
	c := sample(t)
	want := digest(t, build(t, c))
	cached := cachedLayers(t, c.CacheDir)
	if len(cached) != 1 {
		t.Fatalf("cached: %v", cached)
	}
	before, err := os.Stat(cached[0])
	try(t, err)
	if got := digest(t, build(t, c)); got != want {
		t.Errorf("from the cache: %s, want %s", got, want)
	}
	after, err := os.Stat(cached[0])
	try(t, err)
	if !os.SameFile(before, after) {
		t.Error("it was compressed again")
	}
	// A broken entry is made again, a stranger's file is passed over.
	try(t, os.WriteFile(cached[0], []byte("broken"), 0o600))
	write(t, filepath.Dir(cached[0]), map[string]string{"0000": "strange"})
	if got := digest(t, build(t, c)); got != want {
		t.Errorf("with a broken cache: %s, want %s", got, want)
	}
}

func cachedLayers(t testing.TB, dir string) []string {
	t.Helper()
	var files []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files = append(files, path)
		}
		return err
	})
	try(t, err)
	return files
}

func TestCacheKeepsAFewServers(t *testing.T) {
	t.Parallel()
	c := sample(t)
	c.Server = filepath.Join(t.TempDir(), "server")
	for i := range 12 {
		try(t, os.WriteFile(c.Server, []byte(strings.Repeat("x", i+1)), 0o755))
		build(t, c)
	}
	if got := len(cachedLayers(t, c.CacheDir)); got != 8 {
		t.Errorf("%d cached layers, want 8", got)
	}
}

func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	c := sample(t)
	img := build(t, c)
	for _, f := range cachedLayers(t, c.CacheDir) {
		if strings.Contains(filepath.Base(f), "spool") {
			t.Errorf("%s is left while the image is in use", f)
		}
	}
	// The image outlives its model directory, and is read twice.
	layers, err := img.Layers()
	try(t, err)
	for range 2 {
		for _, l := range layers {
			r, err := l.Compressed()
			try(t, err)
			h, _, err := v1.SHA256(r)
			try(t, err)
			if want, _ := l.Digest(); h != want {
				t.Errorf("got %s, want %s", h, want)
			}
		}
	}
}

func TestBuildsAtTheSameTime(t *testing.T) {
	t.Parallel()
	c := sample(t)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			img, err := pack.Image(t.Context(), c)
			if err != nil {
				t.Error(err)
			} else if got := digest(t, img); got != pinned {
				t.Errorf("got %s, want %s", got, pinned)
			}
		})
	}
	group.Wait()
	if got := cachedLayers(t, c.CacheDir); len(got) != 1 {
		t.Errorf("cached: %v", got)
	}
}

func TestGivenUp(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := pack.Image(ctx, sample(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestCacheCannotBeWritten(t *testing.T) {
	t.Parallel()
	c := sample(t)
	c.CacheDir = c.Server
	_, err := pack.Image(t.Context(), c)
	wantError(t, err, slipway.Invalid, "the cache cannot be written")
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(dir, name)
		try(t, os.MkdirAll(filepath.Dir(path), 0o755))
		try(t, os.WriteFile(path, []byte(content), 0o644))
	}
}

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantError(t testing.TB, err error, code slipway.Code, says string) {
	t.Helper()
	var e *slipway.Error
	if !errors.As(err, &e) || slipway.CodeOf(err) != code || !strings.Contains(err.Error(), says) {
		t.Errorf("got error %v (code %q), want code %q and %q", err, slipway.CodeOf(err), code, says)
	}
}
