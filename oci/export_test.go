package oci

import (
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/v1/types"
)

// What external tests look at.
var (
	RetryAfter = retryAfter
	OneLine    = oneLine
	FindIn     = func(r io.Reader, name string, limit int64) ([]byte, error) {
		found, err := findInLayer(r, name, limit)
		return found.data, err
	}
)

// UnpackLayer writes what a layer says below root.
func UnpackLayer(root *os.Root, r io.Reader, maxBytes int64, maxEntries int) error {
	u := newUnpacker(root, Config{MaxBytes: maxBytes, MaxEntries: maxEntries})
	return u.layer(bounded(r, maxBytes))
}

// UnpackPackageLayer writes what a layer of packages says below root.
func UnpackPackageLayer(root *os.Root, r io.Reader, maxBytes int64, maxEntries int) error {
	u := newUnpacker(root, Config{MaxBytes: maxBytes, MaxEntries: maxEntries})
	return u.packages("slipway/site-packages", 0o444).layer(bounded(r, maxBytes))
}

// CheckKept reads the manifest of a kept environment.
func CheckKept(raw []byte, key string) error {
	m, err := parseManifest(manifest{raw: raw, mediaType: types.OCIManifestSchema1})
	if err != nil {
		return err
	}
	if _, err := checkKept(m, key); err != nil {
		return err
	}
	for _, d := range m.Layers[:len(m.Layers)-1] {
		if _, err := checkKeptLayer(d); err != nil {
			return err
		}
	}
	return nil
}
