package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

// releaseLimit bounds release.json, in bytes.
const releaseLimit = 1 << 20

// handover is what one step leaves for the next: release.json, and beside it
// the directory release.json.d with what build and push need on the same disk
// (where the downloaded model is, how the image is made, the golden
// predictions). rollout and verify need release.json alone: that is what must
// travel to another machine.
type handover struct {
	path   string
	handed string // by a job on another machine; "": nothing
}

// work is what build and push need beside the release.
type work struct {
	ModelDir  string   `json:"modelDir"` // empty: not downloaded yet
	Platforms []string `json:"platforms,omitempty"`
	Base      string   `json:"base,omitempty"`   // by digest; empty: scratch
	Server    string   `json:"server,omitempty"` // as --server named it

	Python      *uv.Request    `json:"python,omitempty"` // nil: the model's packages were not asked for
	Compression string         `json:"compression,omitempty"`
	Layouts     []string       `json:"layouts,omitempty"` // folders of images that docker made, one a platform; empty: they are made again
	Batch       bool           `json:"batch,omitempty"`
	Converted   string         `json:"converted,omitempty"` // a file; empty: there is none
	Proof       *mlmodel.Proof `json:"proof,omitempty"`
}

func (h handover) dir() string { return h.path + ".d" }

func (h handover) read() (slipway.Release, error) {
	f, err := os.Open(h.path)
	if err != nil {
		return slipway.Release{}, usageError{(&slipway.Error{Op: "reading the release", Code: slipway.NotFound, Err: err}).
			WithHint("run slipway extract first, or name the file with --release")}
	}
	defer f.Close()
	release, err := slipway.DecodeRelease(f, releaseLimit)
	if err != nil {
		return release, usageError{fmt.Errorf("%s: %w", h.path, err)}
	}
	return release, nil
}

func (h handover) write(release slipway.Release) error { return writeJSON(h.path, release) }

func (h handover) readWork() (work, error) {
	var w work
	if err := readJSON(filepath.Join(h.dir(), "work.json"), &w); err != nil {
		return w, err
	}
	dir, err := filepath.Abs(h.dir())
	w.move(func(path string) string {
		if filepath.IsAbs(path) {
			return path
		}
		return filepath.Join(dir, path)
	})
	return w, err
}

// writeWork names files beside it from there: the folder may go on on another
// machine, where it lies elsewhere.
func (h handover) writeWork(w work) error {
	dir, err := filepath.Abs(h.dir())
	if err != nil {
		return &slipway.Error{Op: "handing on the release", Code: slipway.Unavailable, Err: err}
	}
	w.Layouts = slices.Clone(w.Layouts)
	w.move(func(path string) string {
		if within, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(within) {
			return within
		}
		return path
	})
	return writeJSON(filepath.Join(h.dir(), "work.json"), w)
}

// move changes the paths of what build has made.
func (w *work) move(to func(string) string) {
	if w.Converted != "" {
		w.Converted = to(w.Converted)
	}
	for i, path := range w.Layouts {
		w.Layouts[i] = to(path)
	}
}

func (h handover) readGolden() (mlmodel.Golden, error) {
	data, err := os.ReadFile(filepath.Join(h.dir(), "golden.json"))
	if err != nil {
		return mlmodel.Golden{}, usageError{(&slipway.Error{Op: "reading the golden predictions", Code: slipway.NotFound, Err: err}).
			WithHint("run slipway build first, on the same disk")}
	}
	return mlmodel.DecodeGolden(data)
}

func (h handover) writeGolden(g mlmodel.Golden) error {
	data, err := g.Encode()
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(h.dir(), "golden.json"), data, 0o644); err != nil {
		return &slipway.Error{Op: "writing the golden predictions", Code: slipway.Exhausted, Err: err}
	}
	return nil
}

// clear forgets what an earlier release left beside the file.
func (h handover) clear() error { return os.RemoveAll(h.dir()) }

// readJSON reads a file into v; one that does not exist leaves v as it is.
func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return &slipway.Error{Op: "reading " + path, Code: slipway.Unavailable, Err: err}
	}
	if err := json.Unmarshal(data, v); err != nil {
		return (&slipway.Error{Op: "reading " + path, Code: slipway.Corrupt, Err: err}).WithHint("run slipway extract again")
	}
	return nil
}

func writeJSON(path string, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return &slipway.Error{Op: "writing " + path, Code: slipway.Internal, Err: err}
	}
	if err := writeFile(path, b.Bytes(), 0o644); err != nil {
		return (&slipway.Error{Op: "writing " + path, Code: slipway.Exhausted, Err: err}).WithHint("check the disk, or use --release FILE")
	}
	return nil
}

// writeFile writes a file atomically: it has the old content or the new one.
func writeFile(path string, data []byte, mode fs.FileMode) (err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
