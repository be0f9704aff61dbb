package pack

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

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
	model := modelFolder(root)
	files, err := listModel(model)
	if err != nil {
		return nil, err
	}
	return cache.spool(func(w *tar.Writer) error {
		packed, err := writeModel(ctx, w, model, files)
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
func listModel(model folder) ([]string, error) {
	var files []string
	err := fs.WalkDir(model.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return failure(err)
		case name == ".", name == mlmodel.DownloadedMeta:
			return nil
		case name == mlmodel.ReleaseDir && d.IsDir():
			return fs.SkipDir
		}
		if err := model.checkName(name); err != nil {
			return err
		}
		if name == mlmodel.ReleaseDir {
			return model.refuse(name, "takes the place of Slipway's own folder")
		}
		if d.IsDir() {
			return nil
		}
		if !d.Type().IsRegular() {
			return model.irregular(name, d.Type())
		}
		files = append(files, name)
		return nil
	})
	if err == nil && len(files) == 0 {
		err = slipway.Errorf(slipway.Invalid, op, "the model directory %s holds no files", model.root.Name())
	}
	slices.Sort(files)
	return files, err
}

// writeModel writes the files and returns what it wrote, hashed on the way.
func writeModel(ctx context.Context, w *tar.Writer, model folder, files []string) ([]mlmodel.File, error) {
	base := inTar(mlmodel.ImageModelDir)
	if err := w.WriteHeader(directoryHeader(base)); err != nil {
		return nil, err
	}
	dirs := map[string]bool{base: true}
	packed := make([]mlmodel.File, 0, len(files))
	for _, name := range files {
		if err := writeParents(w, path.Dir(base+"/"+name), dirs); err != nil {
			return nil, err
		}
		h := sha256.New()
		n, err := model.write(ctx, w, h, base+"/"+name, name)
		if err != nil {
			return nil, err
		}
		packed = append(packed, mlmodel.File{Path: name, Size: n, SHA256: slipway.Digest("sha256:" + hex.EncodeToString(h.Sum(nil)))})
	}
	return packed, nil
}

// convertedLayer holds the model's parameters as its engine reads them, apart
// from what is small and read without them; nil when there are none.
func convertedLayer(ctx context.Context, cache cache, file string) (l *layer, err error) {
	if file == "" {
		return nil, nil
	}
	root, err := os.OpenRoot(filepath.Dir(file))
	if err != nil {
		return nil, failure(err)
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	from := folder{root: root, whose: "converted model", mend: "build again"}
	entry := inTar(mlmodel.ImageReleaseDir) + "/" + mlmodel.ConvertedFile
	return cache.spool(func(w *tar.Writer) error {
		if err := w.WriteHeader(directoryHeader(path.Dir(entry))); err != nil {
			return err
		}
		_, err := from.write(ctx, w, nil, entry, filepath.Base(file))
		return err
	})
}
