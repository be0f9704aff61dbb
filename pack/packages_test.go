package pack_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

// pinnedPackages are the digests of the layers of tinySite. They change when
// anything does that goes into a layer of packages, the compression library
// included: then every environment is uploaded anew once, and the codec's name
// in codec.go must change.
var pinnedPackages = map[pack.Compression]string{
	pack.Zstd: "sha256:65dab07c821e056a6f71beb39120c4b7212f6e247f6bdb0c38964cc4940a538b sha256:3b8d38060d5a0adf975a84273ae423fc4cca11e8f70289743b1eeeb0d42102fd",
	pack.Gzip: "sha256:b81cc0f8716bb70eca488a8c5dc686efe2aa815a0be9ec22ca0b058d33098c2d sha256:34cd60f4701ed6e1ade79da71005b2bcf024549c3dae0bd2d42fd12b90dac053",
}

// tinySite is a site-packages folder of two groups. One file is of several
// blocks, which an encoder may compress at the same time.
func tinySite(t testing.TB, dir string) []pack.PackageGroup {
	t.Helper()
	var large strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&large, "%d %x\n", i%977, i*i)
	}
	write(t, dir, map[string]string{
		"numpy/__init__.py": "import sys\n", "numpy/core/m.so": "\x7fELF…", "numpy/data.txt": large.String(),
		"numpy-2.0.dist-info/RECORD": "r", "six.py": "s", "torch/bin/run": "#!/bin/sh\n", "torch/empty": "", "torch/ü.py": "u",
		"unlisted.py": "is not packed",
	})
	return []pack.PackageGroup{
		{Name: "numpy", Packages: []string{"numpy==2.0"}, Files: []string{"numpy-2.0.dist-info/RECORD", "numpy/__init__.py", "numpy/core/m.so", "numpy/data.txt"}},
		{Name: "rest", Packages: []string{"six==1.17.0", "torch==2.9.0"}, Files: []string{"six.py", "torch/bin/run", "torch/empty", "torch/ü.py"}},
	}
}

func packPackages(t testing.TB, cacheDir, site string, groups []pack.PackageGroup, c pack.Compression) []v1.Layer {
	t.Helper()
	layers, err := pack.PackageLayers(t.Context(), cacheDir, site, groups, c)
	if err != nil {
		t.Fatal(err)
	}
	return layers
}

func digests(t testing.TB, layers []v1.Layer) string {
	t.Helper()
	var all []string
	for _, l := range layers {
		all = append(all, digest(t, l))
	}
	return strings.Join(all, " ")
}

func TestPackagesPinned(t *testing.T) {
	t.Parallel()
	for compression, want := range pinnedPackages {
		dir := t.TempDir()
		groups := tinySite(t, dir)
		if got := digests(t, packPackages(t, t.TempDir(), dir, groups, compression)); got != want {
			t.Errorf("%s: got %s, want %s", compression, got, want)
		}
		for i, at := range []time.Time{time.Unix(0, 0), time.Now()} {
			for _, f := range groups[0].Files {
				try(t, os.Chtimes(filepath.Join(dir, f), at, at))
				try(t, os.Chmod(filepath.Join(dir, f), []os.FileMode{0o600, 0o777}[i]))
			}
			if got := digests(t, packPackages(t, t.TempDir(), dir, groups, compression)); got != want {
				t.Errorf("%s, of %s: got %s, want %s", compression, at, got, want)
			}
		}
	}
}

func TestPackageLayers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	layers := packPackages(t, t.TempDir(), dir, tinySite(t, dir), "")
	var got [][]entry
	for _, l := range layers {
		got = append(got, entries(t, l))
	}
	const site = "slipway/site-packages/"
	info, err := os.Stat(filepath.Join(dir, "numpy", "data.txt"))
	try(t, err)
	want := [][]entry{
		{{"slipway/", 0o755, 0}, {site, 0o755, 0},
			{site + "numpy-2.0.dist-info/", 0o755, 0}, {site + "numpy-2.0.dist-info/RECORD", 0o644, 1},
			{site + "numpy/", 0o755, 0}, {site + "numpy/__init__.py", 0o644, 11}, {site + "numpy/core/", 0o755, 0},
			{site + "numpy/core/m.so", 0o755, 7}, {site + "numpy/data.txt", 0o644, info.Size()}},
		{{"slipway/", 0o755, 0}, {site, 0o755, 0}, {site + "six.py", 0o644, 1},
			{site + "torch/", 0o755, 0}, {site + "torch/bin/", 0o755, 0}, {site + "torch/bin/run", 0o755, 10},
			{site + "torch/empty", 0o644, 0}, {site + "torch/ü.py", 0o644, 1}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestImageOfPackages(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c := sample(t)
	c.Base, c.Packages = pythonBase(t), packPackages(t, t.TempDir(), dir, tinySite(t, dir), pack.Zstd)
	img := build(t, c)
	for _, l := range c.Packages {
		wantDiffID(t, l)
	}
	m, err := img.Manifest()
	try(t, err)
	if len(m.Layers) != 2+2+3 {
		t.Fatalf("%d layers", len(m.Layers))
	}
	for i, want := range []string{"numpy==2.0", "six==1.17.0 torch==2.9.0"} {
		l := m.Layers[2+i]
		if l.MediaType != types.OCILayerZStd || l.Digest.String() != digest(t, c.Packages[i]) || l.Annotations[pack.AnnotationPackages] != want {
			t.Errorf("layer %d: %+v", 2+i, l)
		}
	}
	config, err := img.ConfigFile()
	try(t, err)
	if diff := cmp.Diff([]string{"PATH=/usr/bin", "SLIPWAY_MODEL=/model", "SLIPWAY_ADDR=:8000"}, config.Config.Env); diff != "" {
		t.Error(diff)
	}
	if h := config.History; len(h) < 5 || h[len(h)-5].CreatedBy != pack.CreatedBy {
		t.Errorf("history: %+v", h)
	}
	c.Base = nil
	_, err = pack.Image(t.Context(), c)
	wantError(t, err, slipway.Invalid, "needs a base with Python")
	c.Base, c.Packages = pythonBase(t), packPackages(t, t.TempDir(), dir, tinySite(t, dir), pack.Gzip)
	if err := validate.Image(build(t, c)); err != nil { // it knows gzip only
		t.Error(err)
	}
}

// wantDiffID fails unless the layer is what its digest, size and diffID say.
func wantDiffID(t testing.TB, l v1.Layer) {
	t.Helper()
	for _, of := range []struct {
		open func() (io.ReadCloser, error)
		want func() (v1.Hash, error)
	}{{l.Uncompressed, l.DiffID}, {l.Compressed, l.Digest}} {
		r, err := of.open()
		try(t, err)
		got, _, err := v1.SHA256(r)
		want, wantErr := of.want()
		if err := errors.Join(err, wantErr, r.Close()); err != nil || got != want {
			t.Errorf("got %s, want %s (%v)", got, want, err)
		}
	}
}

func TestLockAndConverted(t *testing.T) {
	t.Parallel()
	c := sample(t)
	c.Lock, c.Converted = []byte("numpy==2.0 --hash=sha256:00\n"), filepath.Join(t.TempDir(), "model.skops")
	try(t, os.WriteFile(c.Converted, []byte(strings.Repeat("x", 100_000)), 0o600))
	layers, err := build(t, c).Layers()
	try(t, err)
	if len(layers) != 4 {
		t.Fatalf("%d layers", len(layers))
	}
	got := [][]entry{entries(t, layers[2]), entries(t, layers[3])}
	const dir = "model/.slipway/"
	if diff := cmp.Diff([]entry{{dir, 0o755, 0}, {dir + "converted", 0o644, 100_000}}, got[0]); diff != "" {
		t.Error(diff)
	}
	if last := got[1]; len(last) != 4 || last[2] != (entry{dir + "python.lock", 0o644, int64(len(c.Lock))}) {
		t.Errorf("the release: %v", last)
	}
	c.Converted += "none"
	_, err = pack.Image(t.Context(), c)
	wantError(t, err, slipway.NotFound, "no such file")
	c.Converted = t.TempDir()
	_, err = pack.Image(t.Context(), c)
	wantError(t, err, slipway.Corrupt, "converted model")
}

func TestPackagesRefused(t *testing.T) {
	t.Parallel()
	files := func(names ...string) []pack.PackageGroup { return []pack.PackageGroup{{Name: "g", Files: names}} }
	tests := []struct {
		name   string
		make   func(t *testing.T, dir string)
		groups []pack.PackageGroup
		code   slipway.Code
		says   string
	}{
		{"no files", nil, files(), slipway.Internal, "no files"},
		{"out of order", nil, files("b", "a"), slipway.Internal, "not in order"},
		{"a path that leads out", nil, files("../x"), slipway.Invalid, "not inside"},
		{"a path that leads out of a folder", nil, files("a/../../x"), slipway.Invalid, "not inside"},
		{"an absolute path", nil, files("/etc/passwd"), slipway.Invalid, "not inside"},
		{"a path with backslashes", nil, files(`a\b`), slipway.Invalid, "not inside"},
		{"the folder itself", nil, files("."), slipway.Invalid, "not inside"},
		{"a whiteout", nil, files("a/.wh.b"), slipway.Invalid, "whiteout"},
		{"a folder like a whiteout", nil, files(".wh.b/c"), slipway.Invalid, "whiteout"},
		{"a line break", nil, files("a\nb"), slipway.Invalid, `"a\nb" has a control character`},
		{"no UTF-8", nil, files("a\xffb"), slipway.Invalid, "not inside"},
		{"a file that is not there", nil, files("a"), slipway.NotFound, "no such file"},
		{"a folder", func(t *testing.T, dir string) { try(t, os.Mkdir(dir+"/a", 0o755)) }, files("a"), slipway.Invalid, "not a regular file"},
		{"a link", func(t *testing.T, dir string) { try(t, os.Symlink("/etc/passwd", dir+"/a")) }, files("a"), slipway.Invalid, `"a" is a link`},
		{"a linked folder", func(t *testing.T, dir string) { try(t, os.Symlink("/etc", dir+"/a")) }, files("a/passwd"), slipway.Invalid, "behind a link"},
		{"a pipe", func(t *testing.T, dir string) { try(t, syscall.Mkfifo(dir+"/a", 0o644)) }, files("a"), slipway.Invalid, "is a pipe"},
		{"a file of two packages", func(t *testing.T, dir string) { write(t, dir, map[string]string{"a": ""}) },
			append(files("a"), files("a")...), slipway.Invalid, "belongs to two packages"},
		{"too many layers", nil, make([]pack.PackageGroup, 101), slipway.Invalid, "101 layers"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if test.make != nil {
				test.make(t, dir)
			}
			_, err := pack.PackageLayers(t.Context(), t.TempDir(), dir, test.groups, pack.Zstd)
			wantError(t, err, test.code, test.says)
		})
	}
	_, err := pack.PackageLayers(t.Context(), t.TempDir(), t.TempDir(), nil, "lzma")
	wantError(t, err, slipway.Invalid, `"lzma" is no compression`)
	_, err = pack.PackageLayers(t.Context(), t.TempDir(), t.TempDir()+"/none", nil, pack.Zstd)
	wantError(t, err, slipway.NotFound, "no such file")
}

func TestPackagesAreCached(t *testing.T) {
	t.Parallel()
	dir, cacheDir := t.TempDir(), t.TempDir()
	groups := tinySite(t, dir)
	want := digests(t, packPackages(t, cacheDir, dir, groups, pack.Zstd))
	cached := cachedLayers(t, cacheDir)
	if len(cached) != 2 {
		t.Fatalf("cached: %v", cached)
	}
	before, err := os.Stat(cached[0])
	try(t, err)
	if got := digests(t, packPackages(t, cacheDir, dir, groups, pack.Zstd)); got != want {
		t.Errorf("from the cache: %s, want %s", got, want)
	}
	after, err := os.Stat(cached[0])
	try(t, err)
	if !os.SameFile(before, after) {
		t.Error("it was compressed again")
	}
	try(t, os.WriteFile(cached[0], []byte("broken"), 0o600))
	if got := digests(t, packPackages(t, cacheDir, dir, groups, pack.Zstd)); got != want {
		t.Errorf("with a broken cache: %s, want %s", got, want)
	}
	build(t, withCache(sample(t), cacheDir)) // the servers' limits are not the packages'
	if got := len(cachedLayers(t, cacheDir)); got != 3 {
		t.Errorf("%d layers are left", got)
	}
}

func withCache(c pack.Config, dir string) pack.Config {
	c.CacheDir = dir
	return c
}

func TestCacheForgetsWhatIsNotUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		most  int
		bytes int64
		want  []string
	}{
		{10, 1000, []string{"0", "1", "2", "3"}},
		{2, 1000, []string{"2", "3"}},
		{10, 250, []string{"2", "3"}},
		{10, 50, nil},
	} {
		dir := t.TempDir()
		for i := range 4 {
			name := fmt.Sprint(i)
			write(t, dir, map[string]string{"shelf/" + name + "/x": strings.Repeat("x", 100)})
			at := time.Now().Add(time.Duration(i-10) * time.Hour)
			try(t, os.Chtimes(filepath.Join(dir, "shelf", name), at, at))
		}
		try(t, pack.Prune(dir, "shelf", test.most, test.bytes))
		left, err := os.ReadDir(filepath.Join(dir, "shelf"))
		try(t, err)
		var got []string
		for _, e := range left {
			got = append(got, e.Name())
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("at most %d of %d bytes: %s", test.most, test.bytes, diff)
		}
	}
}

// TestPackagesChange changes a file between the pass that hashes and the one
// that compresses.
func TestPackagesChange(t *testing.T) {
	t.Parallel()
	dir, cacheDir := t.TempDir(), t.TempDir()
	groups := tinySite(t, dir)
	for name, change := range map[string]func() error{
		"longer": func() error { return appendTo(filepath.Join(dir, "six.py"), "more") },
		"other":  func() error { return os.WriteFile(filepath.Join(dir, "six.py"), []byte("other"), 0o644) },
		"gone":   func() error { return os.Remove(filepath.Join(dir, "six.py")) },
	} {
		_, err := pack.PackagesWhile(t.Context(), cacheDir, dir, groups[1:], change)
		want := slipway.Corrupt
		if name == "gone" {
			want = slipway.NotFound
		}
		wantError(t, err, want, "")
		write(t, dir, map[string]string{"six.py": "s"})
	}
	if left := cachedLayers(t, cacheDir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
