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
	files, ok := cached(j.work.ModelDir)
	if !ok {
		if files, err = registry.Download(ctx, version, j.work.ModelDir, j.story.progress("validate")); err != nil {
			return nil, err
		}
		if err := writeJSON(j.work.ModelDir+".json", files); err != nil {
			return nil, err
		}
		j.pruneModels()
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

// cached returns the files of an earlier download, if all are still what they
// were then.
func cached(dir string) ([]mlmodel.File, bool) {
	var then []mlmodel.File
	if err := readJSON(dir+".json", &then); err != nil || len(then) == 0 {
		return nil, false
	}
	now, err := mlmodel.Inventory(dir)
	return now, err == nil && mlmodel.DigestFiles(now) == mlmodel.DigestFiles(then)
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
