package suite

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// downloads are about a version's files.
var downloads = []kase{
	{"all files, byte for byte", func(b *bench) {
		dir := b.modelDir(map[string][]byte{"big.bin": bytes.Repeat([]byte("0123456789abcdef"), 200_000)})
		v, err := b.Register(b.ctx, b.name, dir)
		b.ok(err)
		files := b.fetched(v)
		want, err := mlmodel.Inventory(dir)
		b.ok(err)
		b.same(without(files, "MLmodel"), without(want, "MLmodel")) // Upload puts the model's identifier there
	}},
	{"twice the same digest", func(b *bench) {
		v := b.registered(1)[0]
		b.same(b.fetched(v), b.fetched(v))
	}},
	{"the files carry the model's identifier", func(b *bench) {
		v := b.registered(1)[0]
		dir := filepath.Join(b.TempDir(), "m")
		_, err := b.Download(b.ctx, v, dir, nil)
		b.ok(err)
		m, err := mlmodel.Open(dir)
		b.ok(err)
		if m.ModelID != v.ModelID {
			b.Fatalf("MLmodel says %s, the version %s", m.ModelID, v.ModelID)
		}
	}},
	{"an empty folder is taken", func(b *bench) {
		v := b.registered(1)[0]
		dir := b.TempDir()
		_, err := b.Download(b.ctx, v, filepath.Join(dir), nil)
		b.ok(err)
	}},
	{"a folder in use is not", func(b *bench) {
		v := b.registered(1)[0]
		dir := b.TempDir()
		b.ok(os.WriteFile(filepath.Join(dir, "mine"), nil, 0o644))
		_, err := b.Download(b.ctx, v, dir, nil)
		b.code(err, slipway.Conflict, "not empty")
	}},
	{"no files", func(b *bench) {
		var out struct {
			Model struct {
				Info struct {
					ID string `json:"model_id"`
				} `json:"info"`
			} `json:"model"`
		}
		b.api("POST", "logged-models", map[string]string{"experiment_id": "0", "name": "model"}, &out)
		id := out.Model.Info.ID
		b.pointed(0)
		v, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "models:/" + id, ModelID: id})
		b.ok(err)
		_, err = b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.NotFound, "no files")
	}},
	{"no MLmodel", func(b *bench) {
		v, err := b.Register(b.ctx, b.name, b.modelDir(map[string][]byte{"MLmodel": nil}))
		b.ok(err)
		_, err = b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Invalid, "no MLmodel")
	}},
	{"a broken MLmodel", func(b *bench) {
		v, err := b.Register(b.ctx, b.name, b.modelDir(map[string][]byte{"MLmodel": []byte("flavors: [")}))
		b.ok(err)
		dir := filepath.Join(b.TempDir(), "m")
		_, err = b.Download(b.ctx, v, dir, nil)
		b.code(err, slipway.Invalid, "MLmodel")
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			b.Fatalf("a folder appeared: %v", err)
		}
	}},
	{"files of another model", func(b *bench) {
		v := b.registered(1)[0]
		b.put("0/models/"+v.ModelID+"/artifacts/MLmodel", b.read(b.modelDir(nil), "MLmodel"))
		_, err := b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Corrupt, "m-8c9da87512554d74a341b14a517f4c9b")
	}},
	{"a reserved name", func(b *bench) {
		v := b.registered(1)[0]
		b.put("0/models/"+v.ModelID+"/artifacts/.slipway/golden.json", []byte("{}"))
		_, err := b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Invalid, ".slipway")
	}},
	{"names that differ in case only", func(b *bench) {
		v := b.registered(1)[0]
		b.put("0/models/"+v.ModelID+"/artifacts/MLMODEL", []byte("x"))
		_, err := b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Invalid, "case")
	}},
}
