package pack

import (
	"archive/tar"
	"context"
	"errors"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
)

// folder is where a layer's files come from, which nobody may change
// meanwhile: a layer must hold what was hashed.
type folder struct {
	root     *os.Root
	whose    string // "model's file", for errors
	links    string // what mends a link
	mend     string // what mends a change
	programs bool   // what begins as a program does may be executed
}

func modelFolder(root *os.Root) folder {
	return folder{root: root, whose: "model's file", links: "replace it by a copy of what it stands for",
		mend: "build while nothing writes to the model directory"}
}

// checkName refuses names that mean something else in a layer or a terminal.
func (f folder) checkName(name string) error {
	base := path.Base(name)
	switch {
	case !utf8.ValidString(name):
		return f.refuse(name, "has a name that is not UTF-8")
	case strings.ContainsFunc(name, unicode.IsControl):
		return f.refuse(name, "has a control character in its name")
	case strings.HasPrefix(base, ".wh."):
		return f.refuse(name, "would delete a file of the image (a name with .wh. is a whiteout)")
	}
	return nil
}

func (f folder) refuse(name, format string, args ...any) *slipway.Error {
	e := slipway.Errorf(slipway.Invalid, op, format, args...)
	e.Message = "the " + f.whose + " " + quote(name) + " " + e.Message
	return e
}

func (f folder) irregular(name string, m fs.FileMode) error {
	return f.refuse(name, "is %s, not a regular file", kind(m)).WithHint("%s", f.links)
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

// writeParents writes the folder dir and those above it, each once.
func writeParents(w *tar.Writer, dir string, done map[string]bool) error {
	if done[dir] || dir == "." {
		return nil
	}
	if err := writeParents(w, path.Dir(dir), done); err != nil {
		return err
	}
	done[dir] = true
	return w.WriteHeader(directoryHeader(dir))
}

// write copies one file, also into h if that is not nil, and returns its size.
// The size in its header is promised before its bytes are read, and its name
// may be exchanged after it was listed: both are checked.
func (f folder) write(ctx context.Context, w *tar.Writer, h hash.Hash, entry, name string) (int64, error) {
	file, before, err := f.open(name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	mode, err := f.mode(file)
	if err != nil {
		return 0, failure(err)
	}
	if err := w.WriteHeader(fileHeader(entry, before.Size(), mode)); err != nil {
		return 0, failure(err)
	}
	to := io.Writer(w)
	if h != nil {
		to = io.MultiWriter(w, h)
	}
	n, err := io.Copy(to, &contextReader{ctx, file})
	if err != nil && !errors.Is(err, tar.ErrWriteTooLong) {
		return 0, failure(err)
	}
	after, statErr := file.Stat()
	if statErr != nil {
		return 0, failure(statErr)
	}
	if err != nil || n != before.Size() || after.Size() != n || !after.ModTime().Equal(before.ModTime()) {
		return 0, f.changed(name)
	}
	return n, nil
}

// mode does not look at the file's own, which differs between machines.
func (f folder) mode(file *os.File) (int64, error) {
	if !f.programs {
		return 0o644, nil
	}
	var magic [4]byte
	n, err := file.ReadAt(magic[:], 0)
	if err != nil && err != io.EOF {
		return 0, err
	}
	if begins := string(magic[:n]); begins == "\x7fELF" || strings.HasPrefix(begins, "#!") {
		return 0o755, nil
	}
	return 0o644, nil
}

func (f folder) open(name string) (*os.File, fs.FileInfo, error) {
	listed, err := f.root.Lstat(name)
	if err != nil {
		return nil, nil, failure(err)
	}
	if !listed.Mode().IsRegular() {
		return nil, nil, f.changed(name)
	}
	file, err := f.root.Open(name)
	if err != nil {
		return nil, nil, failure(err)
	}
	opened, err := file.Stat()
	if err != nil || !os.SameFile(listed, opened) {
		file.Close()
		return nil, nil, errors.Join(f.changed(name), err)
	}
	return file, opened, nil
}

func (f folder) changed(name string) error {
	return slipway.Errorf(slipway.Corrupt, op, "the %s %s changed while it was packed", f.whose, quote(name)).
		WithHint("%s", f.mend)
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
