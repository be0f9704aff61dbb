package oci

import (
	"io"
	"os"
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
	u := &unpacker{root: root, bytes: maxBytes, entries: maxEntries}
	return u.layer(&limited{r: r, left: maxBytes})
}
