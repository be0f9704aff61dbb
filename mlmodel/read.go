package mlmodel

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/slipway-dev/slipway"
)

// Limits on the small files of a model directory, in bytes. Weights are not
// read here.
const (
	maxMLmodel      = 1 << 20
	maxExample      = 16 << 20
	maxEnvironment  = 1 << 20
	maxGoldenFile   = 16 << 20
	maxManifestFile = 1 << 20
)

// readFile reads one regular file below dir. Names that lead out of dir, by
// ".." or by a link, are refused. A missing file gives fs.ErrNotExist.
func readFile(dir, name string, limit int64) ([]byte, error) {
	op := "reading " + name
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, missing(op, err)
	}
	defer root.Close()
	info, err := root.Stat(name)
	if err != nil {
		return nil, missing(op, err)
	}
	if !info.Mode().IsRegular() {
		return nil, slipway.Errorf(slipway.Invalid, op, "it is not a regular file")
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, missing(op, err)
	}
	defer f.Close()
	return readBounded(f, op, limit)
}

// missing gives a file that is not there the code NotFound and keeps
// fs.ErrNotExist in the chain.
func missing(op string, err error) error {
	code := slipway.Invalid
	if errors.Is(err, fs.ErrNotExist) {
		code = slipway.NotFound
	}
	return &slipway.Error{Op: op, Code: code, Err: err}
}

func readBounded(r io.Reader, op string, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	if int64(len(data)) > limit {
		return nil, slipway.Errorf(slipway.Exhausted, op, "it is larger than %d bytes", limit)
	}
	return data, nil
}

// readOptional is readFile for a file that need not be there: nil then.
func readOptional(dir, name string, limit int64) ([]byte, error) {
	data, err := readFile(dir, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
