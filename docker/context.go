package docker

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
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
)

// Context is what a Dockerfile may copy from.
type Context struct {
	Beside       string            // a folder whose content the context has too: the Dockerfile's; "": none
	ModelDir     string            // a model directory
	Server       string            // the model server's file
	Requirements []byte            // of the Python packages; empty for models without
	Release      map[string][]byte // files of mlmodel.ImageReleaseDir
	Converted    string            // a file that becomes mlmodel.ConvertedFile; "": there is none
}

// downloadedMeta is written into a model directory by MLflow's own client; it is
// no part of the model (see mlmodel.DigestFiles).
const downloadedMeta = "registered_model_meta"

const contextOp = "preparing the build context"

// Write puts the context into an empty folder, with fixed modes and times, so
// that the same content gives the same layers. Codes: Invalid, what is beside
// the Dockerfile is too much, or has a slipway of its own; Exhausted, the disk
// is full.
func (c Context) Write(dir string) error {
	if c.Beside != "" {
		if err := copyBeside(dir, c.Beside); err != nil {
			return contextFailure(err)
		}
	}
	own := filepath.Join(dir, ContextDir)
	for _, d := range []string{own, filepath.Join(own, ContextModel), filepath.Join(own, ContextRelease)} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return contextFailure(err)
		}
	}
	err := errors.Join(
		showOwn(dir),
		copyModel(filepath.Join(own, ContextModel), c.ModelDir),
		copyFile(filepath.Join(own, ContextServer), c.Server, 0o755),
		os.WriteFile(filepath.Join(own, ContextRequirements), c.Requirements, 0o644), // there also where it is empty: a Dockerfile copies it
		c.writeRelease(filepath.Join(own, ContextRelease)),
	)
	return contextFailure(errors.Join(err, fixTimes(own)))
}

// writeRelease writes what becomes mlmodel.ImageReleaseDir.
func (c Context) writeRelease(dir string) (err error) {
	for name, content := range c.Release {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), content, 0o644))
	}
	if c.Converted != "" {
		err = errors.Join(err, copyFile(filepath.Join(dir, mlmodel.ConvertedFile), c.Converted, 0o644))
	}
	return err
}

// copyModel copies the files that count as the model.
func copyModel(to, from string) error {
	files, err := mlmodel.Inventory(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.Path == downloadedMeta {
			continue
		}
		if err := copyFile(filepath.Join(to, filepath.FromSlash(f.Path)), filepath.Join(from, filepath.FromSlash(f.Path)), 0o644); err != nil {
			return err
		}
	}
	return nil
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

// fixTimes gives each file below dir a time that only its content decides. A
// layer holds it, so it must not vary; and BuildKit takes a file of the size and
// time that it saw in an earlier context for the same file, so that two versions
// of a model must not have the same.
func fixTimes(dir string) error {
	return filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return errors.Join(os.Chmod(file, 0o755), os.Chtimes(file, time.Unix(0, 0), time.Unix(0, 0))) // whatever the umask
		}
		digest, err := hashFile(file)
		if err != nil {
			return err
		}
		then := time.Unix(int64(binary.BigEndian.Uint32(digest)>>1), 0) // before 2038
		return os.Chtimes(file, then, then)
	})
}

func contextFailure(err error) error {
	if err == nil || slipway.CodeOf(err) != slipway.Internal {
		return err
	}
	return (&slipway.Error{Op: contextOp, Code: slipway.Exhausted, Err: err}).WithHint("free space on the disk, or set TMPDIR")
}

// inContext is the name of a part in the context, for people.
func inContext(part string) string { return path.Join(ContextDir, part) }

// Contract is what an image built of the context must have.
func (c Context) Contract() (Contract, error) {
	files, err := mlmodel.Inventory(c.ModelDir)
	if err != nil {
		return Contract{}, err
	}
	want := Contract{Release: c.Release}
	for _, f := range files {
		if f.Path != downloadedMeta {
			want.Files = append(want.Files, f)
		}
	}
	if want.Server, err = digestFile(c.Server); err == nil && c.Converted != "" {
		want.Converted, err = digestFile(c.Converted)
	}
	return want, contextFailure(err)
}

func digestFile(file string) (slipway.Digest, error) {
	digest, err := hashFile(file)
	return slipway.Digest("sha256:" + hex.EncodeToString(digest)), err
}

func hashFile(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	digest := sha256.New()
	_, err = io.Copy(digest, f)
	return digest.Sum(nil), err
}
