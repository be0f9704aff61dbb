package oci_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

func newRegistry() http.Handler {
	return registry.New(registry.Logger(log.New(io.Discard, "", 0)), registry.WithReferrersSupport(true))
}

// file and the like make tar entries.
func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, PAXRecords: map[string]string{"test.content": content}}
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o777} }

func special(kind byte, name, target string) tar.Header {
	return tar.Header{Typeflag: kind, Name: name, Linkname: target, Mode: 0o777}
}

// sparse is an archive of one file that is a hole of n bytes (GNU tar, "PAX
// Format 0.1"), which archive/tar reads and does not write.
func sparse(name string, n int64) []byte {
	var records strings.Builder
	for _, kv := range [][2]string{
		{"GNU.sparse.size", fmt.Sprint(n)}, {"GNU.sparse.numblocks", "1"}, {"GNU.sparse.map", fmt.Sprintf("%d,0", n)}, {"GNU.sparse.name", name},
	} {
		line := " " + kv[0] + "=" + kv[1] + "\n"
		size := len(line) + 2 // all of them take two digits
		fmt.Fprintf(&records, "%d%s", size, line)
	}
	pad := strings.Repeat("\x00", 512-records.Len())
	return []byte(block("pax", records.Len(), 'x') + records.String() + pad + block(name, 0, '0') + strings.Repeat("\x00", 1024))
}

// block is the header of a tar entry.
func block(name string, size int, kind byte) string {
	b := make([]byte, 512)
	copy(b, name)
	copy(b[100:], fmt.Sprintf("%07o\x00%07o\x00%07o\x00%011o\x00%011o\x00        %c", 0o644, 0, 0, size, 0, kind))
	copy(b[257:], "ustar\x0000")
	var sum int
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return string(b)
}

// archive writes entries without the checks that an honest tool makes.
func archive(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		content := h.PAXRecords["test.content"]
		delete(h.PAXRecords, "test.content")
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func zip(t testing.TB, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// foreign makes an image of blobs that are pushed as they are.
func foreign(t testing.TB, layers ...v1.Layer) v1.Image {
	t.Helper()
	img, err := mutate.AppendLayers(withPlatform(t, mutate.MediaType(empty.Image, types.OCIManifestSchema1)), layers...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// raw is a layer whose blob is not looked at when the image is made.
type raw struct{ v1.Layer }

func (raw) DiffID() (v1.Hash, error) {
	return v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, nil
}

func blob(data []byte, t types.MediaType) v1.Layer { return raw{static.NewLayer(data, t)} }

func TestUnpackHostile(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		entries []tar.Header
		code    slipway.Code
		says    string
	}{
		{"an absolute path", []tar.Header{file("/model/x", "")}, slipway.Invalid, "absolute"},
		{"a path that leads out", []tar.Header{file("model/../../x", "")}, slipway.Invalid, "leads out"},
		{"a path that leads out of another place", []tar.Header{file("etc/../../x", "")}, slipway.Invalid, "leads out"},
		{"a link", []tar.Header{special(tar.TypeSymlink, "model/x", "/etc/passwd")}, slipway.Invalid, "neither file nor folder"},
		{"a linked model", []tar.Header{special(tar.TypeSymlink, "model", "/etc"), file("model/x", "x")}, slipway.Invalid, "neither file nor folder"},
		{"a hard link", []tar.Header{special(tar.TypeLink, "model/x", "etc/passwd")}, slipway.Invalid, "neither file nor folder"},
		{"a device", []tar.Header{special(tar.TypeChar, "model/x", "")}, slipway.Invalid, "neither file nor folder"},
		{"a pipe", []tar.Header{special(tar.TypeFifo, "slipway/modelserver", "")}, slipway.Invalid, "neither file nor folder"},
		{"a whiteout that leads out", []tar.Header{file("model/.wh...", "")}, slipway.Invalid, "whiteout"},
		{"a whiteout of nothing", []tar.Header{file("model/.wh.", "")}, slipway.Invalid, "whiteout"},
		{"too many entries", many(1001), slipway.Exhausted, "more entries"},
		{"too many bytes", []tar.Header{file("model/x", strings.Repeat("x", 2<<20))}, slipway.Exhausted, "more bytes"},
		{"too many bytes elsewhere", []tar.Header{file("etc/x", strings.Repeat("x", 2<<20))}, slipway.Exhausted, "more bytes"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			layer := blob(zip(t, archive(t, test.entries...)), types.OCILayer)
			wantRefused(t, foreign(t, layer), test.code, test.says)
		})
	}
}

// TestUnpackPackagesHostile has layers that say they hold packages.
func TestUnpackPackagesHostile(t *testing.T) {
	t.Parallel()
	const site = "slipway/site-packages/"
	for name, test := range map[string]struct {
		entries []tar.Header
		code    slipway.Code
		says    string
	}{
		"an absolute path":       {[]tar.Header{file("/"+site+"x", "")}, slipway.Invalid, "absolute"},
		"a path that leads out":  {[]tar.Header{file(site+"../../x", "")}, slipway.Invalid, "leads out"},
		"a file beside":          {[]tar.Header{file("slipway/modelserver", "")}, slipway.Invalid, "no file of a package"},
		"a file of the model":    {[]tar.Header{file("model/MLmodel", "")}, slipway.Invalid, "no file of a package"},
		"a folder elsewhere":     {[]tar.Header{dir("etc/")}, slipway.Invalid, "no file of a package"},
		"a file like the folder": {[]tar.Header{file("slipway/site-packages", "")}, slipway.Invalid, "no file of a package"},
		"a name that begins so":  {[]tar.Header{file("slipway/site-packages-2/x", "")}, slipway.Invalid, "no file of a package"},
		"a link":                 {[]tar.Header{special(tar.TypeSymlink, site+"x", "/etc/passwd")}, slipway.Invalid, "neither file nor folder"},
		"a hard link":            {[]tar.Header{special(tar.TypeLink, site+"x", "etc/passwd")}, slipway.Invalid, "neither file nor folder"},
		"a whiteout":             {[]tar.Header{file(site+".wh.x", "")}, slipway.Invalid, "neither file nor folder"},
		"a file twice":           {[]tar.Header{file(site+"x", ""), file(site+"x", "")}, slipway.Invalid, "exists"},
		"a file below a file":    {[]tar.Header{file(site+"x", ""), file(site+"x/y", "")}, slipway.Invalid, ""},
		"too many entries":       {manyFiles(site, 1001), slipway.Exhausted, "more entries"},
		"too many bytes":         {[]tar.Header{file(site+"x", strings.Repeat("x", 2<<20))}, slipway.Exhausted, "more bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			layer := blob(zip(t, archive(t, test.entries...)), types.OCILayer)
			wantRefused(t, foreign(t, labelled{layer}), test.code, test.says)
			// The same through UnpackPackages.
			c := quick(oci.Config{MaxBytes: 1 << 20, MaxEntries: 1000})
			parent := t.TempDir()
			err := c.UnpackPackages(t.Context(), []v1.Layer{inflating{layer}}, filepath.Join(parent, "site"))
			wantCode(t, err, test.code, "")
			if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
				t.Errorf("%v, %v: something is left", left, err)
			}
		})
	}
}

// labelled is a layer whose descriptor says that it holds packages.
type labelled struct{ v1.Layer }

func (l labelled) Descriptor() (*v1.Descriptor, error) {
	d, err := partial.Descriptor(l.Layer)
	if err == nil {
		d.Annotations = map[string]string{pack.AnnotationPackages: "x"}
	}
	return d, err
}

// inflating unpacks a gzip blob, which static layers do not.
type inflating struct{ v1.Layer }

func (l inflating) Uncompressed() (io.ReadCloser, error) {
	r, err := l.Compressed()
	if err != nil {
		return nil, err
	}
	return gzip.NewReader(r)
}

func manyFiles(dir string, n int) []tar.Header {
	entries := make([]tar.Header, n)
	for i := range entries {
		entries[i] = file(fmt.Sprintf("%s%d", dir, i), "")
	}
	return entries
}

func TestUnpackSparse(t *testing.T) {
	t.Parallel()
	wantRefused(t, foreign(t, blob(zip(t, sparse("model/x", 1<<40)), types.OCILayer)), slipway.Exhausted, "more bytes")
}

func many(n int) []tar.Header {
	entries := make([]tar.Header, n)
	for i := range entries {
		entries[i] = dir("etc")
	}
	return entries
}

// wantRefused unpacks the image and fails unless it is refused and nothing is left.
func wantRefused(t testing.TB, img v1.Image, code slipway.Code, says string) {
	t.Helper()
	f := newFront(t, newRegistry())
	c := quick(oci.Config{MaxBytes: 1 << 20, MaxEntries: 1000})
	p := push(t, quick(oci.Config{}), f.repository(), img)
	parent := t.TempDir()
	wantCode(t, c.Unpack(t.Context(), p.Image, "linux/amd64", filepath.Join(parent, "image")), code, says)
	if left, err := os.ReadDir(parent); err != nil || len(left) != 0 {
		t.Errorf("%v, %v: something is left", left, err)
	}
}

func TestUnpackBroken(t *testing.T) {
	t.Parallel()
	good := zip(t, archive(t, file("model/x", strings.Repeat("x", 10_000))))
	for name, layer := range map[string]v1.Layer{
		"no gzip":           blob([]byte("hello"), types.OCILayer),
		"an empty blob":     blob([]byte{}, types.OCILayer),
		"half a gzip":       blob(good[:len(good)/2], types.OCILayer),
		"a gzip of no tar":  blob(zip(t, []byte(strings.Repeat("hello", 1000))), types.OCILayer),
		"no zstd":           blob([]byte("hello"), types.OCILayerZStd),
		"half a tar":        blob(archive(t, file("model/x", "hello"))[:514], types.OCIUncompressedLayer),
		"a wrong checksum":  blob(append(bytes.Clone(good[:len(good)-8]), 1, 2, 3, 4, 5, 6, 7, 8), types.OCILayer),
		"rubbish after tar": blob(append(bytes.Clone(good), "rubbish"...), types.OCILayer),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantRefused(t, foreign(t, layer), slipway.Corrupt, "broken")
		})
	}
	t.Run("an unknown media type", func(t *testing.T) {
		t.Parallel()
		wantRefused(t, foreign(t, blob(good, "application/x-strange")), slipway.Invalid, "application/x-strange")
	})
}

func TestUnpackLayers(t *testing.T) {
	t.Parallel()
	img := foreign(t,
		blob(zip(t, archive(t, special(tar.TypeSymlink, "bin", "usr/bin"), dir("etc/"), file("etc/passwd", "root"))), types.DockerLayer),
		blob(archive(t, dir("model/"), file("model/a", "1"), file("./model/b", "1"), file("model/d/x", "1"), file("model/e/x", "1"), file("model/f", "1"), dir("slipway/"),
			tar.Header{Typeflag: tar.TypeReg, Name: "slipway/modelserver", Mode: 0o6755}), types.OCIUncompressedLayer),
		blob(zstandard(t, archive(t, file("model/b", "2"), file("model/.wh.a", ""), file("model/d/.wh..wh..opq", ""), file("model/.wh.e", ""), dir("model/f"), file("model/f/y", "2"))), types.OCILayerZStd),
		blob(zip(t, archive(t, file("model/d", "3"))), types.OCILayer),
	)
	f := newFront(t, newRegistry())
	c := quick(oci.Config{})
	p := push(t, c, f.repository(), img)
	to := filepath.Join(t.TempDir(), "a", "b")
	if err := c.Unpack(t.Context(), p.Image, "linux/amd64", to); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"model/b": "2", "model/d": "3", "model/f/y": "2", "slipway/modelserver": ""}
	got := map[string]string{}
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".slipway-image.json" {
			return err
		}
		data, err := os.ReadFile(path)
		rel, _ := filepath.Rel(to, path)
		got[rel] = string(data)
		return err
	})
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if info, err := os.Stat(filepath.Join(to, "slipway", "modelserver")); err != nil || info.Mode() != 0o755 {
		t.Errorf("the server's mode: %v, %v", info.Mode(), err)
	}
	for name, want := range map[string]string{"/model/b": "2", "/model/d": "3", "/etc/passwd": "root", "/model/a": "", "/model/e/x": "", "/model/d/x": ""} {
		got, err := c.File(t.Context(), p.Image, name, 100)
		if string(got) != want || (want == "") != (slipway.CodeOf(err) == slipway.NotFound) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func zstandard(t testing.TB, data []byte) []byte {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return w.EncodeAll(data, nil)
}

func TestManifestsHostile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		body string
		code slipway.Code
	}{
		"no JSON":       {"hello", slipway.Invalid},
		"another thing": {`{"mediaType":"application/x-thing"}`, slipway.Invalid},
		"a foreign digest": {`{"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,
			"config":{"digest":"md5:00","size":1},"layers":[]}`, slipway.Invalid},
		"a negative size": {`{"mediaType":"application/vnd.oci.image.manifest.v1+json","schemaVersion":2,
			"config":{"digest":"sha256:` + strings.Repeat("0", 64) + `","size":-1},"layers":[]}`, slipway.Invalid},
		"an index of nothing": {`{"mediaType":"application/vnd.oci.image.index.v1+json","schemaVersion":2,"manifests":[]}`, slipway.Invalid},
		"nine megabytes":      {strings.Repeat(" ", 9<<20), slipway.Exhausted},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			digest, _, err := v1.SHA256(strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			f := newFront(t, newRegistry(), &rule{method: "GET", part: "/manifests/", do: answer(200, test.body)})
			img := slipway.Image{Repository: f.repository(), Digest: slipway.Digest(digest.String())}
			c := quick(oci.Config{})
			wantCode(t, c.Check(t.Context(), img), test.code, "")
			wantCode(t, c.Unpack(t.Context(), img, "linux/amd64", filepath.Join(t.TempDir(), "i")), test.code, "")
		})
	}
}

// FuzzUnpack feeds layers to Unpack: whatever they say, nothing but files and
// folders is written, nothing beside the folder, and no more than is allowed.
func FuzzUnpack(f *testing.F) {
	f.Add(archive(f, dir("model/"), file("model/a", "1"), file("model/.wh.a", "")))
	f.Add(archive(f, file("model/../x", ""), special(tar.TypeSymlink, "model/x", "/etc")))
	f.Add(archive(f, special(tar.TypeLink, "model/x", "model/y"), file("model/x/y", "z")))
	f.Add(archive(f, file("model/x", "1"), file("model/x/y", "2"), file("model/.wh..wh..opq", "")))
	f.Add(archive(f, file("model/"+strings.Repeat("long", 100), "1"), dir("slipway/ü")))
	f.Add(sparse("model/x", 1<<40))
	f.Add(archive(f, dir("slipway/"), dir("slipway/site-packages/"), file("slipway/site-packages/a/b", "1"), file("slipway/site-packages/a", "2")))
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 20
		parent := t.TempDir()
		try(t, os.Mkdir(filepath.Join(parent, "image"), 0o755))
		root, err := os.OpenRoot(filepath.Join(parent, "image"))
		try(t, err)
		defer func() { try(t, root.Close()) }()
		_ = oci.UnpackLayer(root, bytes.NewReader(data), most, 100) // an error is as good
		_ = oci.UnpackPackageLayer(root, bytes.NewReader(data), most, 100)
		_, _ = oci.FindIn(bytes.NewReader(data), "/model/a", most)
		var size int64
		err = filepath.WalkDir(parent, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			size += info.Size()
			if !d.IsDir() && !info.Mode().IsRegular() || filepath.Dir(path) == parent && d.Name() != "image" {
				t.Errorf("%s is there, %s", path, info.Mode())
			}
			return err
		})
		if err != nil || size > 4*most {
			t.Errorf("%d bytes, %v", size, err)
		}
	})
}

// FuzzKept feeds manifests of kept environments: what is taken has layers in
// the bounds, each with a digest and a diffID.
func FuzzKept(f *testing.F) {
	const hex = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	f.Add([]byte(`{"schemaVersion":2,"artifactType":"application/vnd.slipway.environment.v1","annotations":{"dev.slipway.environment":"k"},"layers":[
		{"mediaType":"application/vnd.oci.image.layer.v1.tar+zstd","digest":"sha256:` + hex + `","size":5,"annotations":{"dev.slipway.diff-id":"sha256:` + hex + `"}},
		{"mediaType":"application/vnd.slipway.lock.v1","digest":"sha256:` + hex + `","size":5}]}`))
	f.Add([]byte(`{"layers":[{},{}]}`))
	f.Add([]byte("hello"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if oci.CheckKept(data, "k") != nil {
			return
		}
		m, err := v1.ParseManifest(bytes.NewReader(data))
		try(t, err)
		if len(m.Layers) < 2 || len(m.Layers) > 101 {
			t.Errorf("%d layers were taken", len(m.Layers))
		}
		for _, l := range m.Layers[:len(m.Layers)-1] {
			if len(l.Digest.Hex) != 64 || len(l.Annotations["dev.slipway.diff-id"]) != len("sha256:")+64 || l.Size <= 0 {
				t.Errorf("a layer was taken: %+v", l)
			}
		}
	})
}

func try(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
