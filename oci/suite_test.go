package oci_test

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// suiteCases is how many cases every image registry passes: the one in process
// and the real one.
const suiteCases = 51

// suite runs every case against an image registry, which a case reaches through
// the handler it is given.
func suite(t *testing.T, registry func() http.Handler) {
	cases := slices.Concat(pushCases, faultCases(), pullCases, keptCases)
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
