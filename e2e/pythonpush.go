package e2e

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

const (
	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

func (b baseLayer) config(t testing.TB) []byte {
	t.Helper()
	return encoded(t, map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{
			"Env": []string{"PATH=/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin", "LANG=C.UTF-8"},
			"Cmd": []string{"python3"},
		},
		"rootfs":  map[string]any{"type": "layers", "diff_ids": []string{b.DiffID}},
		"history": []any{map[string]string{"created_by": "packages of Debian"}},
	})
}

func (b baseLayer) manifest(t testing.TB, config []byte) []byte {
	t.Helper()
	return encoded(t, map[string]any{
		"schemaVersion": 2, "mediaType": ociManifest,
		"config": map[string]any{"mediaType": ociConfig, "digest": digestOf(config), "size": len(config)},
		"layers": []any{map[string]any{"mediaType": ociLayer, "digest": b.Digest, "size": b.Size}},
	})
}

func encoded(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatalf("encoding the base: %v", err)
	}
	return data
}

func digestOf(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// pushBlob uploads a blob unless it is there (OCI distribution specification
// 1.1, "POST then PUT").
func pushBlob(t testing.TB, repository, digest string, r io.Reader, size int64) {
	t.Helper()
	have, err := http.Head(repository + "/blobs/" + digest)
	if err != nil {
		t.Fatalf("asking the image registry: %v", err)
	}
	have.Body.Close()
	if have.StatusCode == http.StatusOK {
		return
	}
	at := request(t, http.MethodPost, repository+"/blobs/uploads/", "", nil, 0, http.StatusAccepted)
	join := "?"
	if strings.Contains(at, "?") {
		join = "&"
	}
	request(t, http.MethodPut, at+join+"digest="+digest, "application/octet-stream", r, size, http.StatusCreated)
}

// request returns the Location of an answer of that status; size -1 is for
// bodies that know theirs.
func request(t testing.TB, method, url, contentType string, body io.Reader, size int64, status int) (location string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	if size >= 0 {
		req.ContentLength = size
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 4000))
	if err != nil || resp.StatusCode != status {
		t.Fatalf("%s %s: %s, %v\n%s", method, url, resp.Status, err, said)
	}
	if at, err := resp.Location(); err == nil {
		return at.String()
	}
	return ""
}
