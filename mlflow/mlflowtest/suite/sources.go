package suite

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
)

// sources are about where a version says its files are.
var sources = []kase{
	{"object stores are accepted unchecked", func(b *bench) {
		b.pointed(0)
		for _, source := range []string{"s3://b/p", "gs://b/p", "wasbs://c@a.blob.core.windows.net/p", "dbfs:/x/y"} {
			v, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: source})
			b.ok(err)
			var out struct {
				URI string `json:"artifact_uri"`
			}
			b.api("GET", "model-versions/get-download-uri?name="+string(b.name)+"&version="+string(v.Version), nil, &out)
			if out.URI != source {
				b.Fatalf("%s became %s", source, out.URI)
			}
		}
	}},
	{"sources that MLflow refuses", func(b *bench) {
		made := b.registered(1)[0]
		for _, n := range []mlflow.NewVersion{
			{Source: "abfss://c@a.dfs.core.windows.net/p"},
			{Source: "https://example.com/p"},
			{Source: "mlflow-artifacts://other:1/p"},
			{Source: "mlflow-artifacts:/0/../x", ModelID: made.ModelID},
			{Source: "mlflow-artifacts:/0/elsewhere", ModelID: made.ModelID},
			{Source: "/etc"},
			{Source: "models:/" + made.ModelID},
			{Source: "runs:/0123456789abcdef0123456789abcdef/model"},
		} {
			_, err := b.CreateVersion(b.ctx, b.name, n)
			b.code(err, slipway.Invalid, "source")
		}
		_, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "models:/" + string(b.name) + "/77"})
		b.code(err, slipway.NotFound, "version=77")
	}},
	{"a copy of a version", func(b *bench) {
		original := b.registered(1)[0]
		copied, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "models:/" + string(b.name) + "/1"})
		b.ok(err)
		b.same(b.fetched(original), b.fetched(copied))
	}},
	{"files in a logged model by address", func(b *bench) {
		v := b.registered(1)[0]
		source := "mlflow-artifacts:/0/models/" + v.ModelID + "/artifacts"
		direct, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: source, ModelID: v.ModelID})
		b.ok(err)
		b.same(b.fetched(v), b.fetched(direct))
	}},
	{"a run's logged model", func(b *bench) {
		v := b.registered(1)[0]
		runID := b.run()
		b.api("POST", "runs/outputs", map[string]any{"run_id": runID, "models": []map[string]any{{"model_id": v.ModelID, "step": 0}}}, nil)
		byRun, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "runs:/" + runID + "/model", RunID: runID})
		b.ok(err)
		b.same(b.fetched(v), b.fetched(byRun))
	}},
	{"a run's artifacts, as before MLflow 3", func(b *bench) {
		v := b.registered(1)[0]
		runID := b.run()
		for path, data := range b.files(b.modelDir(map[string][]byte{"MLmodel": b.read(b.modelDir(nil), "MLmodel")})) {
			b.put("0/"+runID+"/artifacts/model/"+strings.NewReplacer("%", "%25", " ", "%20").Replace(path), data)
		}
		for _, source := range []string{"runs:/" + runID + "/model", "mlflow-artifacts:/0/" + runID + "/artifacts/model"} {
			byRun, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: source, RunID: runID})
			b.ok(err)
			if byRun.RunID != runID {
				b.Fatalf("the version is of run %q, want %q", byRun.RunID, runID)
			}
			got, want := b.fetched(byRun), b.fetched(v)
			b.same(without(got, "MLmodel"), without(want, "MLmodel")) // only its identifier differs
		}
	}},
	{"an object store that MLflow does not list", func(b *bench) {
		b.pointed(1)
		v, err := b.Resolve(b.ctx, b.ref("/1"))
		b.ok(err)
		_, err = b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Invalid, "deploy the directory")
	}},
	{"an object store and a run that is elsewhere", func(b *bench) {
		b.pointed(0)
		runID := b.run()
		v, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: "s3://bucket/x", RunID: runID})
		b.ok(err)
		_, err = b.Download(b.ctx, v, filepath.Join(b.TempDir(), "m"), nil)
		b.code(err, slipway.Invalid, "deploy the directory")
	}},
}

// run makes a run and returns its identifier.
func (b *bench) run() string {
	b.Helper()
	var out struct {
		Run struct {
			Info struct {
				ID string `json:"run_id"`
			} `json:"info"`
		} `json:"run"`
	}
	b.api("POST", "runs/create", map[string]string{"experiment_id": "0"}, &out)
	return out.Run.Info.ID
}

// fetched downloads the version into a new folder and checks what Download
// says of it against the folder.
func (b *bench) fetched(v mlflow.Version) []mlmodel.File {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "fetched")
	var done, total int64
	files, err := b.Download(b.ctx, v, dir, func(d, t int64) { done, total = d, t })
	b.ok(err)
	there, err := mlmodel.Inventory(dir)
	b.ok(err)
	b.same(files, there)
	var sum int64
	for _, f := range files {
		sum += f.Size
	}
	if done != sum || total != sum {
		b.Fatalf("progress ended at %d of %d, there are %d bytes", done, total, sum)
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*.partial")); err != nil || len(left) > 0 {
		b.Fatalf("left behind: %v, %v", left, err)
	}
	return files
}

func (b *bench) same(got, want []mlmodel.File) {
	b.Helper()
	if mlmodel.DigestFiles(got) != mlmodel.DigestFiles(want) || !slices.EqualFunc(got, want, func(x, y mlmodel.File) bool { return x == y }) {
		b.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func without(files []mlmodel.File, path string) []mlmodel.File {
	return slices.DeleteFunc(slices.Clone(files), func(f mlmodel.File) bool { return f.Path == path })
}

// files reads a whole directory.
func (b *bench) files(dir string) map[string][]byte {
	b.Helper()
	list, err := mlmodel.Inventory(dir)
	b.ok(err)
	files := map[string][]byte{}
	for _, f := range list {
		files[f.Path] = b.read(dir, f.Path)
	}
	return files
}

func (b *bench) read(dir, path string) []byte {
	b.Helper()
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(path)))
	b.ok(err)
	return data
}
