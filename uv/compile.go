package uv

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

//go:embed compile.py
var compileScript string

// seldom are folders of a site that go without bytecode: tests, and what comes
// with mlflow for other work than serving, a ninth of the bytecode. A model that
// imports them starts some seconds later.
func seldom(name string) bool {
	switch name {
	case "databricks/sdk", "mlflow/server", "mlflow/gateway", "numpy/distutils", "opentelemetry/semconv/_incubating", "pydantic/v1":
		return true
	}
	return isTests(name)
}

// compile writes the bytecode of a site's modules, which is never checked
// against its source: times in an image mean nothing.
func (c *Client) compile(ctx context.Context, dir string, python Interpreter, progress Progress) error {
	const op = "compiling the model's Python packages"
	files, err := sources(dir)
	if err != nil {
		return fileError(op, err)
	}
	if len(files) == 0 {
		return nil
	}
	progress.tell("compiling " + count(len(files), "module"))
	group, ctx := errgroup.WithContext(ctx)
	for _, share := range shares(files, runtime.GOMAXPROCS(0)) {
		group.Go(func() error { return c.compileShare(ctx, op, dir, python, share) })
	}
	return group.Wait()
}

func (c *Client) compileShare(ctx context.Context, op, dir string, python Interpreter, files []string) error {
	cmd := exec.CommandContext(ctx, python.Path, "-s", "-S", "-B", "-W", "ignore", "-X", "utf8", "-c", compileScript, dir, mlmodel.ImagePackages)
	cmd.Dir = filepath.Join(c.cache, "empty") // where Python looks for modules first
	cmd.Env = []string{"PYTHONHASHSEED=0", "PATH=/usr/bin:/bin", "LC_ALL=C"}
	if path := c.env.vars["LD_LIBRARY_PATH"]; path != "" {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+path)
	}
	cmd.Stdin = strings.NewReader(strings.Join(files, "\x00") + "\x00")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return &slipway.Error{Op: op, Code: slipway.Internal, Message: "Python " + python.Version + " failed: " + essence(stderr.String()), Err: err}
	}
	return nil
}

type source struct {
	name string
	size int64
}

// sources lists a site's Python files, relative, the largest first.
func sources(dir string) ([]source, error) {
	var list []source
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && seldom(name):
			return fs.SkipDir
		case !entry.Type().IsRegular(), path.Ext(name) != ".py":
			return nil
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		list = append(list, source{name, info.Size()})
		return nil
	})
	slices.SortFunc(list, func(a, b source) int {
		if a.size != b.size {
			return int(b.size - a.size)
		}
		return strings.Compare(a.name, b.name)
	})
	return list, err
}

// shares deals the files to n processes.
func shares(files []source, n int) [][]string {
	list := make([][]string, min(max(n, 1), len(files)))
	for i, f := range files {
		list[i%len(list)] = append(list[i%len(list)], f.name)
	}
	return list
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
