package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// keptModels is how many downloaded models the cache keeps.
const keptModels = 10

// fetch puts the model's files on this disk and notes where, and their digest.
func (j *journey) fetch(ctx context.Context) ([]mlmodel.File, error) {
	if j.ref.Path != "" {
		return j.fetchDirectory()
	}
	registry, err := j.models()
	if err != nil {
		return nil, err
	}
	version, err := j.awaited(ctx, registry)
	if err != nil {
		return nil, err
	}
	j.work.ModelDir = j.modelCache(version)
	files, err := j.download(ctx, registry, version)
	if err != nil {
		return nil, err
	}
	j.release.Model.ModelID, j.release.Model.RunID = orElse(j.release.Model.ModelID, version.ModelID), orElse(j.release.Model.RunID, version.RunID)
	return files, j.sameFiles(mlmodel.DigestFiles(files))
}

// awaited waits until the version is READY. The release names it by number:
// the alias may point elsewhere by now.
func (j *journey) awaited(ctx context.Context, registry modelRegistry) (mlflow.Version, error) {
	exact := slipway.ModelRef{Name: j.release.Model.Name, Version: j.release.Model.Version}
	version, err := registry.Resolve(ctx, exact)
	if err != nil {
		return version, err
	}
	return registry.AwaitReady(ctx, version, readyLimit)
}

func (j *journey) fetchDirectory() ([]mlmodel.File, error) {
	dir, err := filepath.Abs(j.ref.Path)
	if err != nil {
		return nil, err
	}
	j.work.ModelDir = dir
	files, err := mlmodel.Inventory(dir)
	if err != nil {
		return nil, err
	}
	return files, j.sameFiles(mlmodel.DigestFiles(files))
}

// sameFiles refuses files other than those that an earlier step saw.
func (j *journey) sameFiles(digest slipway.Digest) error {
	if j.release.Model.Files == "" || j.release.Model.Files == digest {
		j.release.Model.Files = digest
		return nil
	}
	return slipway.Errorf(slipway.Corrupt, "reading the model", "its files changed since the first step: %s, now %s", j.release.Model.Files.Short(), digest.Short()).
		WithHint("start again with slipway extract")
}

// modelCache is where a version's files are kept: a folder for what the model
// registry says this version is.
func (j *journey) modelCache(v mlflow.Version) string {
	h := sha256.New()
	for _, part := range []string{j.mlflowURI, string(v.Name), string(v.Version), v.Source, v.Created.UTC().Format(time.RFC3339Nano)} {
		h.Write([]byte(part + "\x00"))
	}
	return filepath.Join(j.cacheDir, "models", hex.EncodeToString(h.Sum(nil)[:12]))
}

// download fetches the files into the cache, unless they are there.
func (j *journey) download(ctx context.Context, registry modelRegistry, version mlflow.Version) ([]mlmodel.File, error) {
	dir := j.work.ModelDir
	files, found, err := cached(dir)
	if err != nil || found {
		return files, err
	}
	if files, err = registry.Download(ctx, version, dir, j.story.progress("validate")); slipway.CodeOf(err) == slipway.Conflict {
		if files, found, _ := cached(dir); found { // another run was faster
			return files, nil
		}
	}
	if err != nil {
		return nil, err
	}
	j.pruneModels()
	return files, writeJSON(dir+".json", files)
}

// discard removes a download that cannot be served: somebody may mend the
// version in the model registry, where nothing tells that its files changed.
func (j *journey) discard() error {
	if j.ref.Path != "" {
		return nil
	}
	err := os.Remove(j.work.ModelDir + ".json")
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err = errors.Join(err, os.RemoveAll(j.work.ModelDir)); err != nil {
		return &slipway.Error{Op: "removing a download", Code: slipway.Unavailable, Err: err}
	}
	return nil
}

// cached returns the files of an earlier download, if all are still what they
// were then; else it removes them. A download appears whole: one without its
// list is of a run that is writing it, or was killed before.
func cached(dir string) (files []mlmodel.File, found bool, err error) {
	files, err = mlmodel.Inventory(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	if len(files) == 0 {
		return nil, false, nil
	}
	var then []mlmodel.File
	err = readJSON(dir+".json", &then)
	switch {
	case err == nil && len(then) == 0:
		return files, true, writeJSON(dir+".json", files)
	case err == nil && mlmodel.DigestFiles(files) == mlmodel.DigestFiles(then):
		return files, true, nil
	}
	if err := errors.Join(os.Remove(dir+".json"), os.RemoveAll(dir)); err != nil {
		return nil, false, (&slipway.Error{Op: "clearing a damaged download", Code: slipway.Unavailable, Err: err}).WithHint("remove %s", dir)
	}
	return nil, false, nil
}

// pruneModels removes all but the newest downloads, and none of the last hour,
// because another run may be reading it.
func (j *journey) pruneModels() {
	all, err := filepath.Glob(filepath.Join(j.cacheDir, "models", "*.json"))
	if err != nil || len(all) <= keptModels {
		return
	}
	age := func(path string) time.Duration {
		info, err := os.Stat(path)
		if err != nil {
			return 0
		}
		return time.Since(info.ModTime())
	}
	slices.SortFunc(all, func(a, b string) int { return int(age(a)/time.Second) - int(age(b)/time.Second) })
	for _, path := range all[keptModels:] {
		if age(path) < time.Hour {
			continue
		}
		err := errors.Join(os.Remove(path), os.RemoveAll(path[:len(path)-len(".json")]))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			j.story.warn("validate", "cleaning the cache of models: %v", err)
		}
	}
}
