package python

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// find returns the interpreter for the model: the configured one, else
// pythonX.Y of the model's version, else a python3 that is of that version.
func (c Config) find(m *mlmodel.Model) (string, error) {
	const op = "looking for Python"
	if c.Interpreter != "" {
		path, err := c.Lookup(c.Interpreter)
		if err != nil {
			return "", &slipway.Error{Op: op, Code: slipway.NotFound, Message: "there is no interpreter " + c.Interpreter, Err: err}
		}
		return path, nil
	}
	version := minor(m.Python.Version)
	if version != "" {
		if path, err := c.Lookup("python" + version); err == nil {
			return path, nil
		}
	}
	path, err := c.Lookup("python3")
	if err == nil && (version == "" || versionOf(path) == version) {
		return path, nil
	}
	return "", slipway.Errorf(slipway.NotFound, op, "the model was saved with Python %s, and there is no python%s in PATH", m.Python.Version, version).
		WithHint("use a base image with Python %s (python:%s-slim), install it, or name it with --python", version, version)
}

// minor returns "3.11" of "3.11.7", or "" of what is no version.
func minor(version string) string {
	parts := strings.Split(version, ".")
	if len(parts) < 2 {
		return ""
	}
	for _, part := range parts[:2] {
		if _, err := strconv.ParseUint(part, 10, 8); err != nil {
			return ""
		}
	}
	return parts[0] + "." + parts[1]
}

// versionOf asks an interpreter for its version: "3.11"; "" when it does not
// say.
func versionOf(path string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "-I", "-S", "-c", "import sys; print('%d.%d' % sys.version_info[:2])").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// checkSite reports a folder of packages that is not there.
func (c Config) checkSite() error {
	for _, folder := range c.Site {
		if info, err := os.Stat(folder); err != nil || !info.IsDir() {
			return slipway.Errorf(slipway.NotFound, "looking for the model's packages", "there is no folder %s", filepath.Clean(folder)).
				WithHint("build the image again, or name the folder with --site-packages")
		}
	}
	return nil
}
