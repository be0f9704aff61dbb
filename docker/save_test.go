package docker_test

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
)

// entry is one of a tar archive.
type entry struct {
	name, content, link string
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Size: int64(len(e.content)), Mode: 0o755, Typeflag: tar.TypeReg}
		switch {
		case e.link != "":
			h.Typeflag, h.Linkname = tar.TypeSymlink, e.link
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func digest(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}

func gzipped(t testing.TB, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := io.WriteString(w, content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// saved is what docker save gives of an image of two layers, of which Docker
// before 25 writes one once when they are the same.
func saved(t testing.TB) (archive []byte, id, config, lower, upper string) {
	t.Helper()
	lower, upper = string(tarOf(t, entry{name: "bin/sh", content: "sh"})), string(tarOf(t, entry{name: "model/MLmodel", content: "flavors: {}"}))
	config = fmt.Sprintf(`{"os":"linux","rootfs":{"type":"layers","diff_ids":["%s","%s","%s"]}}`, digest(lower), digest(upper), digest(lower))
	id = digest(config)
	name := strings.TrimPrefix(id, "sha256:") + ".json"
	manifest := fmt.Sprintf(`[{"Config":"%s","RepoTags":["slipway-build:1-a"],"Layers":["a/layer.tar","b/layer.tar","c/layer.tar"]}]`, name)
	return tarOf(t, entry{name: "a/"}, entry{name: "a/layer.tar", content: lower}, entry{name: "a/VERSION", content: "1.0"}, entry{name: "b/layer.tar", content: upper},
		entry{name: "c/layer.tar", link: "../a/layer.tar"}, entry{name: name, content: config}, entry{name: "manifest.json", content: manifest}), id, config, lower, upper
}

type blob struct {
	MediaType, Digest string
	Size              int64
}

// read opens a layout and returns its manifest's parts.
func read(t testing.TB, dir string) (config string, layers []blob, annotations map[string]string) {
	t.Helper()
	var index struct{ Manifests []blob }
	var manifest struct {
		Config      blob
		Layers      []blob
		Annotations map[string]string
	}
	raw, err := os.ReadFile(filepath.Join(dir, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(content(t, dir, index.Manifests[0])), &manifest); err != nil {
		t.Fatal(err)
	}
	return content(t, dir, manifest.Config), manifest.Layers, manifest.Annotations
}

// content returns a blob's bytes, which must have its digest and size.
func content(t testing.TB, dir string, b blob) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "blobs", "sha256", strings.TrimPrefix(b.Digest, "sha256:")))
	if err != nil || digest(string(raw)) != b.Digest || int64(len(raw)) != b.Size {
		t.Fatalf("%v: %d bytes, %v", b, len(raw), err)
	}
	return string(raw)
}

func unpacked(t testing.TB, b blob, raw string) string {
	t.Helper()
	var r io.Reader
	var err error
	if strings.HasSuffix(b.MediaType, "+zstd") {
		r, err = zstd.NewReader(strings.NewReader(raw))
	} else {
		r, err = gzip.NewReader(strings.NewReader(raw))
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

func TestSave(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"zstd", "gzip"} {
		archive, id, config, lower, upper := saved(t)
		dir := t.TempDir()
		annotations := map[string]string{"dev.slipway.model.name": "iris"}
		if err := docker.SaveFrom(t.Context(), bytes.NewReader(archive), id, dir, compression, annotations); err != nil {
			t.Fatal(err)
		}
		gotConfig, layers, gotAnnotations := read(t, dir)
		if gotConfig != config || !cmp.Equal(gotAnnotations, annotations) || len(layers) != 3 {
			t.Fatalf("%s\n%v\n%v", gotConfig, layers, gotAnnotations)
		}
		for i, want := range []string{lower, upper, lower} {
			if got := unpacked(t, layers[i], content(t, dir, layers[i])); got != want || !strings.HasSuffix(layers[i].MediaType, "+"+compression) {
				t.Errorf("layer %d, %s: %q", i, layers[i].MediaType, got)
			}
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 3 {
			t.Errorf("left over: %v, %v", left, err)
		}
	}
}

// Docker with containerd's image store gives layers as they were pulled, and
// names images after their manifest.
func TestSaveOfContainerd(t *testing.T) {
	t.Parallel()
	layer := string(tarOf(t, entry{name: "bin/sh", content: "sh"}))
	zip := gzipped(t, layer)
	config := fmt.Sprintf(`{"rootfs":{"diff_ids":["%s"]}}`, digest(layer))
	own := `{"schemaVersion":2}`
	at := func(content string) string { return "blobs/sha256/" + strings.TrimPrefix(digest(content), "sha256:") }
	archive := tarOf(t, entry{name: at(zip), content: zip}, entry{name: at(config), content: config}, entry{name: at(own), content: own},
		entry{name: "manifest.json", content: fmt.Sprintf(`[{"Config":"%s","Layers":["%s"]}]`, at(config), at(zip))})
	dir := t.TempDir()
	if err := docker.SaveFrom(t.Context(), bytes.NewReader(archive), digest(own), dir, "zstd", nil); err != nil {
		t.Fatal(err)
	}
	if _, layers, _ := read(t, dir); len(layers) != 1 || layers[0].Digest != digest(zip) || !strings.HasSuffix(layers[0].MediaType, "+gzip") {
		t.Errorf("%v", layers)
	}
}

// What is not the image that was checked is refused.
func TestSaveRefuses(t *testing.T) {
	t.Parallel()
	archive, id, config, lower, upper := saved(t)
	name := strings.TrimPrefix(id, "sha256:") + ".json"
	manifest := func(layers string) entry {
		return entry{name: "manifest.json", content: fmt.Sprintf(`[{"Config":"%s","Layers":[%s]}]`, name, layers)}
	}
	whole := []entry{{name: "a/layer.tar", content: lower}, {name: "b/layer.tar", content: upper}, {name: name, content: config}}
	for what, test := range map[string]struct {
		archive []byte
		id      string
	}{
		"another image":      {archive, digest("another")},
		"nothing":            {nil, id},
		"cut off":            {archive[:len(archive)/2], id},
		"no manifest":        {tarOf(t, whole...), id},
		"two images":         {tarOf(t, append(whole, entry{name: "manifest.json", content: "[{},{}]"})...), id},
		"a layer less":       {tarOf(t, append(whole, manifest(`"a/layer.tar","b/layer.tar"`))...), id},
		"layers changed":     {tarOf(t, append(whole, manifest(`"b/layer.tar","a/layer.tar","b/layer.tar"`))...), id},
		"a layer missing":    {tarOf(t, append(whole, manifest(`"a/layer.tar","b/layer.tar","x/layer.tar"`))...), id},
		"a layer of outside": {tarOf(t, append(whole, manifest(`"a/layer.tar","b/layer.tar","../../../../etc/passwd"`))...), id},
	} {
		dir := t.TempDir()
		if err := docker.SaveFrom(t.Context(), bytes.NewReader(test.archive), test.id, dir, "zstd", nil); slipway.CodeOf(err) != slipway.Corrupt {
			t.Errorf("%s: %v", what, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "index.json")); err == nil {
			t.Errorf("%s: there is an image all the same", what)
		}
		if _, err := os.Stat(filepath.Join(dir, "saved")); err == nil {
			t.Errorf("%s: what docker gave is still there", what)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "in the way", 0o644)
	if err := docker.SaveFrom(t.Context(), bytes.NewReader(archive), id, file, "zstd", nil); slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("into a file: %v", err)
	}
}

func FuzzSave(f *testing.F) {
	archive, id, _, _, _ := saved(f)
	f.Add(archive, id)
	f.Fuzz(func(t *testing.T, archive []byte, id string) {
		outside := t.TempDir()
		err := docker.SaveFrom(t.Context(), bytes.NewReader(archive), id, filepath.Join(outside, "in"), "zstd", nil)
		if left, readErr := os.ReadDir(outside); readErr != nil || len(left) > 1 {
			t.Errorf("it wrote elsewhere: %v, %v, %v", left, readErr, err)
		}
	})
}
