package docker

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-dev/slipway"
)

// Bounds on what lies beside a user's Dockerfile: it is copied for each build,
// and whoever keeps a Dockerfile in a folder of gigabytes wants another folder.
const (
	besideBytes = 256 << 20
	besideFiles = 10000
)

// copyBeside copies the folder of a Dockerfile, links as links, without Git's.
func copyBeside(to, from string) error {
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
		case d.IsDir() && (d.Name() == ".git" || file == to):
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
			return slipway.Errorf(slipway.Invalid, contextOp, "%s holds more than %d MB or %d files, all of which would go into the build", from, besideBytes>>20, besideFiles).
				WithHint("put the Dockerfile, and what it copies, into a folder of their own")
		}
		return copyEntry(filepath.Join(to, name), file, info)
	})
}

// showOwn takes ContextDir out of what the user's .dockerignore files leave out.
func showOwn(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.dockerignore"))
	if err != nil {
		return err
	}
	for _, file := range files {
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			return err
		}
		_, err = f.WriteString("\n!" + ContextDir + "\n!" + ContextDir + "/**\n")
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
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
