package mlmodel

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-dev/slipway"
)

// ConvertedSkops is the only form of ConvertedFile so far: Manifest.Converted.
const ConvertedSkops = "skops"

// readConverted finds the converted parameters in an image's model directory.
// Nothing of the manifest is a path; the file must be a regular one inside the
// directory.
func (m *Model) readConverted() error {
	const op = "reading the converted model"
	manifest, err := ReadManifest(m.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || manifest.Converted == "" {
		return err
	}
	if manifest.Converted != ConvertedSkops {
		return slipway.Errorf(slipway.Invalid, op, "it is of the form %.80q, and this program reads %q", manifest.Converted, ConvertedSkops).
			WithHint("use the slipway that made the image, or a newer one")
	}
	root, err := os.OpenRoot(m.Dir)
	if err != nil {
		return missing(op, err)
	}
	defer root.Close()
	info, err := root.Stat(ReleaseDir + "/" + ConvertedFile)
	if err != nil {
		return missing(op, err)
	}
	if !info.Mode().IsRegular() {
		return slipway.Errorf(slipway.Invalid, op, "it is not a regular file")
	}
	m.Converted = filepath.Join(m.Dir, ReleaseDir, ConvertedFile)
	return nil
}
