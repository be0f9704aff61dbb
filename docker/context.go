package docker

import (
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Where the parts of an image are in a build context. A Dockerfile copies them
// to the places that package mlmodel names.
const (
	ContextDir          = "slipway"          // a folder of the context: all that is Slipway's
	ContextServer       = "modelserver"      // in ContextDir: becomes mlmodel.ImageServer
	ContextModel        = "model"            // in ContextDir: becomes mlmodel.ImageModelDir
	ContextRelease      = "release"          // in ContextDir: becomes mlmodel.ImageReleaseDir
	ContextRequirements = "requirements.txt" // in ContextDir: the Python packages, as pip takes them
	ContextConstraints  = "constraints.txt"  // in ContextDir: versions for what they need, which ContextRequirements may name
)

// Context is what a Dockerfile may copy from.
type Context struct {
	Beside       string            // a folder whose content the context has too: the Dockerfile's; "": none
	ModelDir     string            // a model directory
	Server       string            // the model server's file
	Requirements []byte            // of the Python packages; empty for models without
	Constraints  []byte            // on their versions; empty where there are none, or Requirements are a lock
	Release      map[string][]byte // files of mlmodel.ImageReleaseDir
	Converted    string            // a file that becomes mlmodel.ConvertedFile; "": there is none
}

const contextOp = "preparing the build context"

// Write puts the context into an empty folder, with fixed modes and times, so
// that the same content gives the same layers, and returns what an image built
// of it must have. Codes: Invalid, what is beside the Dockerfile is too much, or
// has a slipway of its own; NotFound, a part is not there; Unauthorized, it may
// not be read; Exhausted, the disk is full.
func (c Context) Write(dir string) (Contract, error) {
	if c.Beside != "" {
		if err := copyBeside(dir, c.Beside); err != nil {
			return Contract{}, fileFailure(contextOp, err)
		}
		if err := showOwn(dir, c.Beside); err != nil {
			return Contract{}, fileFailure(contextOp, err)
		}
	}
	own := filepath.Join(dir, ContextDir)
	for _, d := range []string{own, filepath.Join(own, ContextModel), filepath.Join(own, ContextRelease)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return Contract{}, fileFailure(contextOp, err)
		}
	}
	want, err := c.writeParts(own)
	return want, fileFailure(contextOp, errors.Join(err, fixFolders(own)))
}

func (c Context) writeParts(own string) (want Contract, err error) {
	if want.Files, err = copyModel(filepath.Join(own, ContextModel), c.ModelDir); err != nil {
		return want, err
	}
	if want.Server, err = place(filepath.Join(own, ContextServer), c.Server, 0o755); err != nil {
		return want, err
	}
	for name, content := range map[string][]byte{ContextRequirements: c.Requirements, ContextConstraints: c.Constraints} { // there also where they are empty: a Dockerfile copies them
		if _, err := placeBytes(filepath.Join(own, name), content); err != nil {
			return want, err
		}
	}
	return want, c.writeRelease(filepath.Join(own, ContextRelease), &want)
}

// writeRelease writes what becomes mlmodel.ImageReleaseDir.
func (c Context) writeRelease(dir string, want *Contract) (err error) {
	want.Release = map[string]slipway.Digest{}
	for name, content := range c.Release {
		if want.Release[name], err = placeBytes(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	if c.Converted != "" {
		want.Converted, err = place(filepath.Join(dir, mlmodel.ConvertedFile), c.Converted, 0o644)
	}
	return err
}

// copyModel copies the files that count as the model, and returns them.
func copyModel(to, from string) ([]mlmodel.File, error) {
	all, err := mlmodel.Inventory(from)
	if err != nil {
		return nil, err
	}
	files := slices.DeleteFunc(all, func(f mlmodel.File) bool { return f.Path == mlmodel.DownloadedMeta })
	for _, f := range files {
		file := filepath.Join(to, filepath.FromSlash(f.Path))
		if err := errors.Join(copyFile(file, filepath.Join(from, filepath.FromSlash(f.Path)), 0o644), stamp(file, f.SHA256)); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// place copies a file of Slipway's and returns its digest.
func place(to, from string, mode fs.FileMode) (slipway.Digest, error) {
	if err := copyFile(to, from, mode); err != nil {
		return "", err
	}
	digest, err := digestFile(to)
	if err != nil {
		return "", err
	}
	return digest, stamp(to, digest)
}

func placeBytes(to string, content []byte) (slipway.Digest, error) {
	digest := slipway.Digest(digestOf(content))
	if err := os.WriteFile(to, content, 0o644); err != nil {
		return "", err
	}
	return digest, errors.Join(os.Chmod(to, 0o644), stamp(to, digest)) // whatever the umask
}

func copyFile(to, from string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Chmod(mode), out.Close())
}

// stamp gives a file a time that only its content decides. A layer holds it, so
// it must not vary; and BuildKit takes a file of the size and time that it saw in
// an earlier context for the same file, so that two versions of a model must not
// have the same.
func stamp(file string, digest slipway.Digest) error {
	first, err := strconv.ParseUint(strings.TrimPrefix(string(digest), "sha256:")[:8], 16, 32)
	if err != nil {
		return err
	}
	then := time.Unix(int64(first>>1), 0) // before 2038
	return os.Chtimes(file, then, then)
}

// fixFolders gives the folders at and below dir one mode and time.
func fixFolders(dir string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		return errors.Join(os.Chmod(file, 0o755), os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0))) // whatever the umask
	})
}

// inContext is the name of a part in the context, for people.
func inContext(part string) string { return path.Join(ContextDir, part) }

func digestFile(file string) (slipway.Digest, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	digest := sha256.New()
	_, err = io.Copy(digest, f)
	return slipway.Digest(sumOf(digest)), err
}
