// Package suite is what any MLflow must do for the client of package mlflow to
// work. It runs against the server in memory (mlflowtest) and against a real
// one, every case on both: that is what makes the one in memory believable.
package suite

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

//go:embed testdata/model
var model embed.FS

// namesakes numbers the model names of this process.
var namesakes atomic.Int64

// kase is one case of the suite.
type kase struct {
	name string
	run  func(*bench)
}

func cases() []kase {
	all := [][]kase{promotions, searches, writings, sources, downloads, wires, webhooks}
	var list []kase
	for _, group := range all {
		list = append(list, group...)
	}
	return list
}

// Count is how many cases there are.
func Count() int { return len(cases()) }

// Run runs all cases against the MLflow at the address, which must be without
// users and keep artifacts on local disk, and returns how many passed.
// Other models in it are left alone.
func Run(t *testing.T, uri string) (passed int) {
	for _, c := range cases() {
		t.Run(c.name, func(t *testing.T) {
			c.run(newBench(t, uri))
			if !t.Failed() && !t.Skipped() {
				passed++
			}
		})
	}
	return passed
}

// bench is what a case works with: a client and a model name of its own.
type bench struct {
	*testing.T
	*mlflow.Client
	ctx  context.Context
	uri  string
	name slipway.ModelName
}

func newBench(t *testing.T, uri string) *bench {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	client, err := mlflow.New(mlflow.Config{URI: uri, Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("suite-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), namesakes.Add(1))
	return &bench{T: t, Client: client, ctx: ctx, uri: uri, name: slipway.ModelName(name)}
}

// ok fails the case when err is not nil.
func (b *bench) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("%v (hint: %s)", err, slipway.HintOf(err))
	}
}

// code fails the case when err is of another code, or says nothing of what.
func (b *bench) code(err error, want slipway.Code, what string) {
	b.Helper()
	if got := slipway.CodeOf(err); got != want {
		b.Fatalf("code %q (%v), want %q", got, err, want)
	}
	if text := err.Error() + slipway.HintOf(err); !strings.Contains(text, what) {
		b.Fatalf("%q says nothing of %q", text, what)
	}
}

// modelDir writes a model directory with folders, an empty file and names that
// need escaping. Extra files replace its own; a nil one is left out.
func (b *bench) modelDir(extra map[string][]byte) string {
	b.Helper()
	dir := b.TempDir()
	files := map[string][]byte{"code/pkg/__init__.py": {}, "code/pkg/inner/mod.py": []byte("x = 1\n"), "x y+z%é.txt": []byte("odd")}
	b.ok(fs.WalkDir(model, "testdata/model", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files[strings.TrimPrefix(path, "testdata/model/")], err = model.ReadFile(path)
		}
		return err
	}))
	for path, data := range extra {
		files[path] = data
	}
	for path, data := range files {
		if data == nil {
			continue
		}
		path = filepath.Join(dir, filepath.FromSlash(path))
		b.ok(os.MkdirAll(filepath.Dir(path), 0o755))
		b.ok(os.WriteFile(path, data, 0o644))
	}
	return dir
}

// registered uploads and registers n versions.
func (b *bench) registered(n int) []mlflow.Version {
	b.Helper()
	dir := b.modelDir(nil)
	var versions []mlflow.Version
	for range n {
		v, err := b.Register(b.ctx, b.name, dir)
		b.ok(err)
		versions = append(versions, v)
	}
	return versions
}

// pointed creates the model and n versions that point at an object store, for
// cases that want no files.
func (b *bench) pointed(n int) {
	b.Helper()
	b.ok(b.CreateModel(b.ctx, b.name))
	for i := range n {
		_, err := b.CreateVersion(b.ctx, b.name, mlflow.NewVersion{Source: fmt.Sprintf("s3://bucket/%d", i+1)})
		b.ok(err)
	}
}

func (b *bench) ref(selector string) slipway.ModelRef {
	b.Helper()
	ref, err := slipway.ParseModelRef("models:/" + string(b.name) + selector)
	b.ok(err)
	return ref
}

// reply is an answer to a bare request.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// send makes a bare request below the server's address, past the client.
func (b *bench) send(method, path, body string, headers ...string) reply {
	b.Helper()
	req, err := http.NewRequestWithContext(b.ctx, method, b.uri+path, strings.NewReader(body))
	b.ok(err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	b.ok(err)
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	b.ok(err)
	return reply{res.StatusCode, res.Header, data}
}

// api sends to the API and decodes a JSON answer of status 200 into out.
func (b *bench) api(method, path string, body, out any) {
	b.Helper()
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		b.ok(err)
		text = string(data)
	}
	r := b.send(method, "/api/2.0/mlflow/"+path, text)
	if r.status != http.StatusOK {
		b.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	if out != nil {
		b.ok(json.Unmarshal(r.body, out))
	}
}

// put stores an artifact through the proxy.
func (b *bench) put(path string, data []byte) {
	b.Helper()
	r := b.send(http.MethodPut, "/api/2.0/mlflow-artifacts/artifacts/"+path, string(data), "Content-Type", "application/octet-stream")
	if r.status != http.StatusOK {
		b.Fatalf("PUT %s: %d %s", path, r.status, r.body)
	}
}

func (r reply) is(b *bench, status int, media, contains string) {
	b.Helper()
	got, _, _ := strings.Cut(r.header.Get("Content-Type"), ";")
	if r.status != status || got != media || !bytes.Contains(r.body, []byte(contains)) {
		b.Fatalf("got %d %q %.300q; want %d %q with %q", r.status, got, r.body, status, media, contains)
	}
}
