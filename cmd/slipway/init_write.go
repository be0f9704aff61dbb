package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/diff"

	"github.com/slipway-dev/slipway"
)

// tree is the repository. Nothing outside of it can be reached through it.
type tree struct {
	root *os.Root
	dir  string
}

func openTree(dir string) (*tree, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, usageError{(&slipway.Error{Op: "opening the repository", Code: slipway.Invalid, Err: err}).WithHint("--dir names a folder that exists")}
	}
	return &tree{root, dir}, nil
}

func (t *tree) close() { t.root.Close() }

// compare says of each file, in the order of their paths, what would become of
// it.
func (t *tree) compare(want map[string][]byte) ([]initFile, error) {
	var files []initFile
	for _, name := range slices.Sorted(maps.Keys(want)) {
		f := initFile{Path: name, Done: fileCreated, want: want[name]}
		have, err := t.read(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, (&slipway.Error{Op: "reading " + name, Code: slipway.Invalid, Err: err}).WithHint("remove it, or name another folder with --dir")
		case bytes.Equal(have, f.want):
			f.have, f.Done = have, fileUnchanged
		default:
			f.have, f.Done = have, fileChanged
		}
		files = append(files, f)
	}
	return files, nil
}

var errNoFile = errors.New("it is a link or no file: nothing is written through it")

func (t *tree) read(name string) ([]byte, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNoFile
	}
	return t.root.ReadFile(name)
}

// write writes what was created and changed. Each file has its old content or
// the new one, whatever happens meanwhile.
func (t *tree) write(files []initFile) error {
	for _, f := range files {
		if f.Done != fileCreated && f.Done != fileChanged {
			continue
		}
		if err := t.replace(f); err != nil {
			return (&slipway.Error{Op: "writing " + f.Path, Code: slipway.Invalid, Err: err}).WithHint("let this user write in %s, and run it again: what is written is not written again", t.dir)
		}
	}
	return nil
}

func (t *tree) replace(f initFile) (err error) {
	if err := t.root.MkdirAll(path.Dir(f.Path), 0o755); err != nil {
		return err
	}
	aside := path.Join(path.Dir(f.Path), ".new-"+rand.Text()[:8])
	defer func() {
		if err != nil {
			_ = t.root.Remove(aside) // it may not be there yet
		}
	}()
	w, err := t.root.OpenFile(aside, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = w.Write(f.want)
	if err = errors.Join(err, w.Sync(), w.Close()); err != nil {
		return err
	}
	return t.root.Rename(aside, f.Path)
}

// difference is a unified diff from what is there to what would be.
func difference(f initFile) string {
	text := string(diff.Diff("a/"+f.Path, f.have, "b/"+f.Path, f.want))
	_, text, _ = strings.Cut(text, "\n") // "diff a/… b/…", which the next two lines say again
	return text
}

// coloured is a diff as people know it, where stderr is a terminal.
func (p *program) coloured(text string) string {
	color := p.sheet(p.stderr).color
	lines := strings.Split(strings.TrimRight(clean(text), "\n"), "\n")
	for i, line := range lines {
		lines[i] = paint(color, map[string]string{"+": green, "-": red, "@": cyan}[line[:min(1, len(line))]], line)
	}
	return strings.Join(lines, "\n")
}
