package uv

import (
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Interpreter is a Python on this machine.
type Interpreter struct {
	Path    string `json:"path"`    // the program itself: no shim, no link, no virtual environment
	Prefix  string `json:"prefix"`  // the folder with its standard library
	Version string `json:"version"` // "3.11.7"
}

const describe = `import json, os, sys
print(json.dumps({"path": os.path.realpath(sys.executable), "prefix": os.path.realpath(sys.base_prefix), "version": "%d.%d.%d" % sys.version_info[:3]}))`

// Interpreter finds Python X.Y. Where there is none, uv downloads one, unless
// UV_PYTHON_DOWNLOADS or UV_OFFLINE forbids it. Code NotFound: there is none
// and none can be had.
func (c *Client) Interpreter(ctx context.Context, python string) (Interpreter, error) {
	op := "looking for Python " + python
	if !pythonForm.MatchString(python) {
		return Interpreter{}, slipway.Errorf(slipway.Invalid, op, "%.20q is no version like 3.11", python)
	}
	path, err := c.find(ctx, op, python)
	if err != nil && ctx.Err() == nil && c.mayDownload() {
		if _, failed := c.run(ctx, op, Request{Python: python}, "python", "install", python); failed == nil {
			path, err = c.find(ctx, op, python)
		}
	}
	if err != nil {
		return Interpreter{}, c.noInterpreter(ctx, op, python, err)
	}
	return c.describe(ctx, op, path)
}

func (c *Client) find(ctx context.Context, op, python string) (string, error) {
	shimless := *c
	shimless.env.vars = withoutShims(c.env.vars)
	return shimless.run(ctx, op, Request{Python: python}, "python", "find", python, "--no-project", "--system", "--no-python-downloads")
}

func (c *Client) mayDownload() bool {
	how := c.env.vars["UV_PYTHON_DOWNLOADS"]
	return !isTrue(c.env.vars["UV_OFFLINE"]) && (how == "" || how == "automatic" || isTrue(how))
}

func (c *Client) noInterpreter(ctx context.Context, op, python string, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return (&slipway.Error{Op: op, Code: slipway.NotFound, Message: "this machine has no Python " + python + ", which the model's packages are compiled and checked with", Err: err}).
		WithHint("install it: uv python install %s (or apt-get install python%s, pyenv install %s)", python, python, python)
}

func (c *Client) describe(ctx context.Context, op, path string) (Interpreter, error) {
	cmd := exec.CommandContext(ctx, path, "-I", "-S", "-c", describe)
	cmd.Dir = filepath.Join(c.cache, "empty")
	cmd.Env = c.env.list(c.cache)
	out, err := cmd.Output()
	if err != nil {
		return Interpreter{}, (&slipway.Error{Op: op, Code: slipway.NotFound, Message: path + " does not run", Err: err}).
			WithHint("mend or remove it, or install another with: uv python install")
	}
	var found Interpreter
	if err := json.Unmarshal(out, &found); err != nil {
		return Interpreter{}, &slipway.Error{Op: op, Code: slipway.NotFound, Message: path + " is no Python", Err: err}
	}
	return found, nil
}

// withoutShims replaces the folders of shims in PATH, on which uv stumbles
// where the shim's own version is not selected, by the interpreters that pyenv
// installed.
func withoutShims(vars map[string]string) map[string]string {
	out := map[string]string{}
	for name, value := range vars {
		out[name] = value
	}
	dirs := slices.DeleteFunc(filepath.SplitList(vars["PATH"]), func(dir string) bool { return filepath.Base(dir) == "shims" })
	root := vars["PYENV_ROOT"]
	if root == "" {
		root = filepath.Join(vars["HOME"], ".pyenv")
	}
	versions, err := filepath.Glob(filepath.Join(root, "versions", "3.*", "bin"))
	if err == nil {
		slices.Reverse(versions)
		dirs = append(dirs, versions...)
	}
	out["PATH"] = strings.Join(dirs, string(filepath.ListSeparator))
	return out
}
