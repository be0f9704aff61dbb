package docker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Bounds on what lies beside a user's Dockerfile: it is copied for each build,
// and whoever keeps a Dockerfile in a folder of gigabytes wants another folder.
// What a .dockerignore leaves out counts, too: only docker reads that.
const (
	besideBytes = 256 << 20
	besideFiles = 10000
)

// copyBeside copies the folder of a Dockerfile, links as links, without Git's
// and without the folder in which the copy is.
func copyBeside(to, from string) error {
	to, from, err := realPaths(to, from)
	if err != nil {
		return err
	}
	var size, count int64
	return filepath.WalkDir(from, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, file)
		if err != nil {
			return err
		}
		switch {
		case d.IsDir() && (d.Name() == ".git" || file != from && within(to, file)):
			return filepath.SkipDir
		case name == ContextDir:
			return slipway.Errorf(slipway.Invalid, contextOp, "%s is in the place of the folder with the model", file).WithHint("give it another name")
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		size, count = size+info.Size(), count+1
		if size > besideBytes || count > besideFiles {
			return slipway.Errorf(slipway.Invalid, contextOp, "%s holds more than %d MB or %d files, which are all copied, also those that a .dockerignore leaves out", from, besideBytes>>20, besideFiles).
				WithHint("put the Dockerfile, and what it copies, into a folder of their own")
		}
		return copyEntry(filepath.Join(to, name), file, info)
	})
}

// realPaths are the folders' absolute paths without links, so that they can be
// compared.
func realPaths(to, from string) (realTo, realFrom string, err error) {
	if realFrom, err = realPath(from); errors.Is(err, fs.ErrNotExist) {
		return "", "", (&slipway.Error{Op: contextOp, Code: slipway.NotFound, Message: "there is no folder of the Dockerfile", Err: err}).WithHint("name the Dockerfile with --dockerfile")
	}
	if err == nil {
		realTo, err = realPath(to)
	}
	return realTo, realFrom, err
}

func realPath(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}

// within reports whether a path is the folder or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// showOwn takes ContextDir out of what the .dockerignore files of the user, in
// from, leave out. The copy may be a link, which leads elsewhere than the user's
// own or to it, or not be writable: another takes its place.
func showOwn(dir, from string) error {
	names, err := fs.Glob(os.DirFS(dir), "*.dockerignore")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(from, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // a link that leads nowhere
		}
		if err != nil {
			return err
		}
		text = append(text, "\n!"+ContextDir+"\n!"+ContextDir+"/**\n"...)
		if err := replace(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	return nil
}

// replace puts another file in the place of one, or of a link.
func replace(file string, content []byte) error {
	if err := os.Remove(file); err != nil {
		return err
	}
	return os.WriteFile(file, content, 0o644)
}

func copyEntry(to, from string, info fs.FileInfo) error {
	switch info.Mode().Type() {
	case fs.ModeDir:
		return os.MkdirAll(to, 0o755)
	case fs.ModeSymlink:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case 0:
		return copyFile(to, from, info.Mode().Perm())
	}
	return nil // sockets and devices are nothing to build from
}
