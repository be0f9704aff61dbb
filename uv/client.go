// Package uv makes Python environments with the program uv: requirements
// become a lock with hashes, and a lock becomes a folder of site-packages with
// bytecode, the same bytes on every machine with the same Python.
//
// What it keeps on disk is made aside and renamed, so that it is whole or not
// there, and any number of processes may use one cache at once. Only wheels are
// taken: nothing of a package runs while its environment is made.
package uv

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Config says where uv is and what it is told.
type Config struct {
	Program  string   // uv's path; "": looked for in Environ's PATH
	CacheDir string   // for locks, sites and uv's own cache; made when it is missing
	Environ  []string // NAME=value for uv: PATH, HOME, proxies, SSL_*, UV_*; pip's PIP_* count where the UV_* are not set
}

// Client runs uv.
type Client struct {
	program string
	cache   string
	env     environment
}

// New finds uv and makes the cache folder. Code NotFound: there is no uv.
func New(c Config) (*Client, error) {
	const op = "looking for uv"
	env := newEnvironment(c.Environ)
	program := c.Program
	if program == "" {
		program = lookUp("uv", env.vars["PATH"])
	}
	if info, err := os.Stat(program); program == "" || err != nil || info.IsDir() {
		return nil, slipway.Errorf(slipway.NotFound, op, "the program uv, which makes Python environments, is not here").
			WithHint("install it: pip install 'uv>=%s' (or https://docs.astral.sh/uv), and have it in PATH", MinimumVersion)
	}
	cache, err := filepath.Abs(c.CacheDir)
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	for _, dir := range []string{"locks", "sites", "empty", "work"} {
		if err := os.MkdirAll(filepath.Join(cache, dir), 0o755); err != nil {
			return nil, fileError("making the cache of Python environments", err)
		}
	}
	return &Client{program: program, cache: cache, env: env}, nil
}

// MinimumVersion is the oldest uv with which this was seen to work, by
// TestE2EOldest; before 0.5 it has not every option that is used.
const MinimumVersion = "0.5.31"

func lookUp(name, path string) string {
	for _, dir := range filepath.SplitList(path) {
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file
		}
	}
	return ""
}

// run runs uv in an empty folder, so that no project's settings count, and
// returns its stdout; r is for errors. Nothing secret is among the arguments.
func (c *Client) run(ctx context.Context, op string, r Request, args ...string) (string, error) {
	args = append(args, "--no-progress", "--color", "never")
	if c.env.vars["UV_CONFIG_FILE"] == "" {
		args = append(args, "--no-config")
	}
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Dir = filepath.Join(c.cache, "empty")
	cmd.Env = c.env.list(c.cache)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return "", &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "it was interrupted", Err: context.Cause(ctx)}
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return "", (&slipway.Error{Op: op, Code: slipway.NotFound, Message: "uv does not run", Err: err}).
			WithHint("install it: pip install 'uv>=%s'", MinimumVersion)
	}
	if err != nil {
		return "", failure(op, c.env.redact(stderr.String()), r)
	}
	return strings.TrimSpace(stdout.String()), nil
}

// fileError says what a failed file operation means to the user.
func fileError(op string, err error) *slipway.Error {
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Err: err}
	switch {
	case isFull(err):
		e.Code = slipway.Exhausted
		return e.WithHint("free some space on the disk, or set another cache folder")
	case errors.Is(err, fs.ErrPermission):
		e.Code = slipway.Unauthorized
		return e.WithHint("let this user write there, or set another cache folder")
	}
	return e
}
