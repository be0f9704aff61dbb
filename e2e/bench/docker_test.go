//go:build bench

package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// peer is what MLflow and Docker need for a Python model.
type peer struct {
	from                  string        // the base image, as Docker Hub names it
	generate, build, push time.Duration // nothing cached but the base image
	next                  time.Duration // build and push of a second version of the same environment
	compressed, unpacked  int64         // the image, bytes
	base, baseUnpacked    int64         // … of that the base image, a stand-in for Docker Hub's
	cached                int64         // … of that what pip keeps of its downloads
}

// measurePeer does what MLflow's users do: generate-dockerfile, docker build
// and docker push.
func measurePeer(t *testing.T, engine *e2e.DockerEngine, python string, models []string) (p peer) {
	t.Helper()
	repository := e2e.StartImageRegistry(t) + "/pickle"
	var dir string
	p.generate = timed(func() { dir = generateDockerfile(t, python, models[0]) })
	p.from = baseOf(t, dir)
	engine.ImportPython(t, p.from, startIndex(t)...) // Docker's users have pulled it before
	image := repository + ":1"
	p.build = timed(func() { engine.Run(t, "build", "--network", "host", "--no-cache", "-t", image, dir) })
	p.push = timed(func() { engine.Run(t, "push", image) })
	next := repository + ":2"
	dir = generateDockerfile(t, python, models[1])
	p.next = timed(func() {
		engine.Run(t, "build", "--network", "host", "-t", next, dir)
		engine.Run(t, "push", next)
	})
	layers := compressed(t, image)
	own := inspect(t, engine, p.from, "{{len .RootFS.Layers}}")
	p.compressed, p.base = sum(layers), sum(layers[:own])
	p.unpacked, p.baseUnpacked = inspect(t, engine, image, "{{.Size}}"), inspect(t, engine, p.from, "{{.Size}}")
	du := engine.Run(t, "run", "--rm", "--network", "host", "--entrypoint", "sh", image, "-c", "mkdir -p /root/.cache/pip && du -sb /root/.cache/pip")
	if _, err := fmt.Sscan(du, &p.cached); err != nil {
		t.Fatalf("reading %q: %v", du, err)
	}
	return p
}

func (p peer) rows(t *testing.T, docker string) {
	t.Helper()
	row(t, "MLflow + Docker "+docker+", nothing cached", "", "%.1f s + %.1f s push (generate %.1f s)", p.build.Seconds(), p.push.Seconds(), p.generate.Seconds())
	row(t, "… next version, build and push", "", "%.1f s", p.next.Seconds())
	row(t, "… image compressed, unpacked", "", "%.0f MB, %.0f MB", float64(p.compressed)/1e6, float64(p.unpacked)/1e6)
	row(t, "… of that what pip caches, as MLflow has it", "", "%.0f MB", float64(p.cached)/1e6)
	row(t, "… of that the base image", "", "%.0f MB, %.0f MB", float64(p.base)/1e6, float64(p.baseUnpacked)/1e6)
}

func timed(do func()) time.Duration {
	began := time.Now()
	do()
	return time.Since(began)
}

func generateDockerfile(t *testing.T, python, model string) (dir string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "docker")
	runMLflow(t, filepath.Join(filepath.Dir(python), "mlflow"), "models", "generate-dockerfile", "-m", model, "-d", dir)
	return dir
}

var fromLine = regexp.MustCompile(`(?m)^FROM (python:\S+)$`)

// baseOf is the image that the Dockerfile starts from.
func baseOf(t *testing.T, dir string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	from := fromLine.FindSubmatch(content)
	if from == nil {
		t.Fatalf("MLflow's Dockerfile is not what it was: it does not start from python:X.Y-slim\n%s", content)
	}
	return string(from[1])
}

func inspect(t *testing.T, engine *e2e.DockerEngine, image, format string) int64 {
	t.Helper()
	out := engine.Run(t, "image", "inspect", "--format", format, image)
	n, err := strconv.ParseInt(out, 10, 64)
	if err != nil {
		t.Fatalf("docker says %q of %s", out, image)
	}
	return n
}
