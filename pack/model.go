package pack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// downloadedMeta is written into a model directory by MLflow's own client when
// it downloads; it is no part of the model (see mlmodel.DigestFiles).
const downloadedMeta = "registered_model_meta"

// modelLayer packs the model's files, sorted by path, each folder once before
// what is in it. Empty folders are left out: model registries have none.
func modelLayer(ctx context.Context, cache cache, dir string, want slipway.Digest) (l *layer, err error) {
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return nil, slipway.Errorf(slipway.Invalid, op, "the model directory %s is not a folder", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, failure(err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	files, err := listModel(root)
	if err != nil {
		return nil, err
	}
	return cache.spool(func(w *tar.Writer) error {
		packed, err := writeModel(ctx, w, root, files)
		if err != nil {
			return err
		}
		if got := mlmodel.DigestFiles(packed); want != "" && got != want {
			return slipway.Errorf(slipway.Corrupt, op, "the model directory changed: its files were %s and are now %s", want.Short(), got.Short()).
				WithHint("download the model again, and build while nothing writes to %s", dir)
		}
		return nil
	})
}

// listModel returns the regular files of a model directory by path, sorted.
func listModel(root *os.Root) ([]string, error) {
	var files []string
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return failure(err)
		case name == ".", name == downloadedMeta:
			return nil
		case name == mlmodel.ReleaseDir && d.IsDir():
			return fs.SkipDir
		}
		if err := checkName(name); err != nil {
			return err
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return refuse(name, "is %s, not a regular file", kind(d.Type())).
				WithHint("replace it by a copy of what it stands for")
		}
		files = append(files, name)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = slipway.Errorf(slipway.Invalid, op, "the model directory %s holds no files", root.Name())
	}
	slices.Sort(files)
	return files, err
}

// checkName refuses names that mean something else in a layer or a terminal.
func checkName(name string) error {
	base := path.Base(name)
	switch {
	case !utf8.ValidString(name):
		return refuse(name, "has a name that is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return refuse(name, "has a control character in its name")
	case strings.HasPrefix(base, ".wh."):
		return refuse(name, "would delete a file of the image (a name with .wh. is a whiteout)")
	case name == mlmodel.ReleaseDir:
		return refuse(name, "takes the place of Slipway's own folder")
	}
	return nil
}

func refuse(name, format string, args ...any) *slipway.Error {
	e := slipway.Errorf(slipway.Invalid, op, format, args...)
	e.Message = "the model's file " + quote(name) + " " + e.Message
	return e
}

func kind(m fs.FileMode) string {
	switch {
	case m&fs.ModeSymlink != 0:
		return "a link"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	}
	return "special"
}

// writeModel writes the files and returns what it wrote, hashed on the way.
func writeModel(ctx context.Context, w *tar.Writer, root *os.Root, files []string) ([]mlmodel.File, error) {
	dirs := map[string]bool{".": true}
	base := inTar(mlmodel.ImageModelDir)
	if err := w.WriteHeader(directoryHeader(base)); err != nil {
		return nil, err
	}
	packed := make([]mlmodel.File, 0, len(files))
	for _, name := range files {
		if err := writeParents(w, base, path.Dir(name), dirs); err != nil {
			return nil, err
		}
		f, err := writeFile(ctx, w, root, base+"/"+name, name)
		if err != nil {
			return nil, err
		}
		packed = append(packed, f)
	}
	return packed, nil
}

func writeParents(w *tar.Writer, base, dir string, done map[string]bool) error {
	if done[dir] {
		return nil
	}
	if err := writeParents(w, base, path.Dir(dir), done); err != nil {
		return err
	}
	done[dir] = true
	return w.WriteHeader(directoryHeader(base + "/" + dir))
}

// writeFile copies one file. The size in its header is promised before its
// bytes are read, and its name may be exchanged after it was listed: both are
// checked, for a layer must hold what was hashed.
func writeFile(ctx context.Context, w *tar.Writer, root *os.Root, entry, name string) (mlmodel.File, error) {
	none := mlmodel.File{}
	f, before, err := openRegular(root, name)
	if err != nil {
		return none, err
	}
	defer f.Close()
	if err := w.WriteHeader(fileHeader(entry, before.Size(), 0o644)); err != nil {
		return none, failure(err)
	}
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, h), &contextReader{ctx, f})
	if err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
		return none, failure(err)
	}
	after, statErr := f.Stat()
	if statErr != nil {
		return none, failure(statErr)
	}
	if err != nil || n != before.Size() || after.Size() != n || !after.ModTime().Equal(before.ModTime()) {
		return none, changed(name)
	}
	return mlmodel.File{Path: name, Size: n, SHA256: slipway.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))}, nil
}

func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	listed, err := root.Lstat(name)
	if err != nil {
		return nil, nil, failure(err)
	}
	if !listed.Mode().IsRegular() {
		return nil, nil, changed(name)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, nil, failure(err)
	}
	opened, err := f.Stat()
	if err != nil || !os.SameFile(listed, opened) {
		f.Close()
		return nil, nil, errors.Join(changed(name), err)
	}
	return f, opened, nil
}

func changed(name string) error {
	return slipway.Errorf(slipway.Corrupt, op, "the model's file %s changed while it was packed", quote(name)).
		WithHint("build while nothing writes to the model directory")
}

// contextReader stops a long copy when the build is given up.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
