package local_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/verify"
)

// The whole with the real model server: rolled out, verified, and a release
// whose golden predictions differ told from one that is right.
func TestTheRealModelServer(t *testing.T) {
	t.Parallel()
	images := realImages{server: buildServer(t)}
	b := newBench(t, func(c *local.Config) { c.Images = images })
	b.deploy(t, 1, realRelease(1))
	l := startLoadOf(t, b.addr, 1, string(row(5.1, 3.5, 1.4, 0.2)))
	for n := 2; n < 6; n++ {
		before := l.count()
		o := b.deploy(t, 1, realRelease(n))
		verdict := verify.Replicas(t.Context(), verify.Config{Front: b.target.Front()}, o, realRelease(n), irisGolden("setosa"))
		if !verdict.Passed || verdict.Predictions() != 4 {
			t.Fatalf("verdict %+v, %+v", verdict, verdict.Problem)
		}
		wrong := verify.Replicas(t.Context(), verify.Config{}, o, realRelease(n), irisGolden("virginica"))
		if wrong.Passed || wrong.Problem.Kind != "golden-differs" {
			t.Errorf("verdict against other golden predictions: %+v", wrong)
		}
		b.apply(t, 1, realRelease(bad))
		failed := b.await(t, func(o slipway.Observation) bool { return problemOf(o, bad) != nil })
		p := problemOf(failed, bad)
		if p.Kind != "golden-differs" || p.Message != "golden prediction 1 differs" || !strings.Contains(p.Evidence, `"virginica"`) {
			t.Errorf("problem %+v", p)
		}
		eventually(t, "requests go on", func() bool { return l.count() > before+50 })
	}
	l.check(t, b)
}

const bad = 7

func realRelease(n int) slipway.Release {
	r := release(n)
	r.Model.Name = "iris"
	return r
}

func irisGolden(second string) mlmodel.Golden {
	return mlmodel.Golden{SchemaVersion: mlmodel.GoldenSchema, Source: slipway.Proved, Tolerance: 1e-9, Predictions: []mlmodel.Prediction{
		{Request: row(5.1, 3.5, 1.4, 0.2), Answer: json.RawMessage(fmt.Sprintf("[%q]", second))},
		{Request: row(7.0, 3.2, 4.7, 1.4), Answer: json.RawMessage(`["versicolor"]`)},
	}}
}

func row(a, b, c, d float64) json.RawMessage {
	return fmt.Appendf(nil, `{"dataframe_split":{"columns":["sepal_length","sepal_width","petal_length","petal_width","habitat"],"data":[[%g,%g,%g,%g,"marsh"]]}}`, a, b, c, d)
}

// realImages unpack to the model in testdata and the real model server.
type realImages struct{ server string }

func (m realImages) Unpack(_ context.Context, image slipway.Image, _, dir string) error {
	n := 0
	if _, err := fmt.Sscanf(string(image.Digest), "sha256:%x", &n); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(dir), "unpacking-")
	if err != nil {
		return err
	}
	answer := "setosa"
	if n == bad {
		answer = "virginica"
	}
	manifest := mlmodel.Manifest{SchemaVersion: 1, Model: realRelease(n).Model, Engine: "sklearn", Golden: slipway.Proved}
	about, err := json.Marshal(manifest)
	if err != nil {
		return err
	}
	golden, err := irisGolden(answer).Encode()
	if err != nil {
		return err
	}
	if err := os.CopyFS(filepath.Join(temp, "model"), os.DirFS("testdata/iris")); err != nil {
		return err
	}
	for path, data := range map[string][]byte{"model/.slipway/release.json": about, "model/.slipway/golden.json": golden} {
		path = filepath.Join(temp, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			return err
		}
	}
	if err := os.Mkdir(filepath.Join(temp, "slipway"), 0o700); err != nil {
		return err
	}
	if err := os.Symlink(m.server, filepath.Join(temp, "slipway", "modelserver")); err != nil {
		return err
	}
	return os.Rename(temp, dir)
}

var buildOnce = sync.OnceValues(func() (string, error) {
	path := filepath.Join(built, "modelserver")
	cmd := exec.Command("go", "build", "-o", path, "../cmd/modelserver")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// buildServer builds the model server once.
func buildServer(t *testing.T) string {
	t.Helper()
	path, err := buildOnce()
	if err != nil {
		t.Fatal(err)
	}
	return path
}
