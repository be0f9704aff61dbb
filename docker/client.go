// Package docker builds images with the docker command line: a build context
// with what the image's contract asks for, `docker buildx build`, a check of
// the built image in a container of its own, and the image as an OCI layout
// (image specification 1.1) that others push.
//
// Docker builds, runs and saves; nothing is pushed or pulled here but what a
// Dockerfile's FROM asks for. What a build leaves in the engine has a name
// that tells when it may go, so that the next run clears up after one that was
// killed.
package docker

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

// Config says where docker is and what it is told.
type Config struct {
	Program  string   // docker's path; "": there is none
	Environ  []string // NAME=value for docker: PATH, HOME, DOCKER_*, BUILDX_*, proxies
	CacheDir string   // for the layers of builders that keep them in a folder; made when it is missing
}

// Client runs docker.
type Client struct {
	program string
	environ []string
	cache   string
	driver  string // of the builder: "docker", "docker-container", "kubernetes", "remote"
}

// askLimit bounds a question to the engine.
const askLimit = time.Minute

// stopGrace is how long docker may take to end what it began, once it is told
// to stop.
const stopGrace = 10 * time.Second

// New finds docker, its engine and buildx. Codes: NotFound, docker or buildx is
// not installed; Unavailable, the engine does not answer; Unauthorized, this
// user may not use it.
func New(ctx context.Context, c Config) (*Client, error) {
	const op = "looking for docker"
	d := &Client{program: c.Program, environ: c.Environ, cache: c.CacheDir}
	if d.program == "" {
		return nil, slipway.Errorf(slipway.NotFound, op, "the program docker is not here").
			WithHint("install it (https://docs.docker.com/engine/install; Debian: apt-get install docker.io), or leave out --builder docker and --dockerfile")
	}
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	if _, err := d.ask(ctx, op, "version", "--format", "{{.Server.Version}}"); err != nil {
		return nil, err
	}
	builder, err := d.ask(ctx, op, "buildx", "inspect")
	if err != nil {
		return nil, err
	}
	d.driver = driverOf(builder)
	return d, nil
}

// driverOf reads "Driver: docker" of what `docker buildx inspect` prints.
func driverOf(builder string) string {
	for line := range strings.Lines(builder) {
		if name, ok := strings.CutPrefix(line, "Driver:"); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// variable returns the value of a variable, the last one counts.
func variable(environ []string, name string) (value string) {
	for _, v := range environ {
		if text, ok := strings.CutPrefix(v, name+"="); ok {
			value = text
		}
	}
	return value
}

// command is a docker that has not started yet. It has a process group of its
// own: an interrupt reaches it from here, once, so that it can end in order.
func (c *Client) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.program, args...)
	cmd.Env = append([]string{"BUILDX_NO_DEFAULT_ATTESTATIONS=1", "BUILDKIT_PROGRESS=plain", "NO_COLOR=1"}, c.environ...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = stopGrace
	return cmd
}

// ask runs docker to its end and returns what it printed.
func (c *Client) ask(ctx context.Context, op string, args ...string) (string, error) {
	var stdout bytes.Buffer
	err := c.run(ctx, op, &stdout, args...)
	return strings.TrimSpace(stdout.String()), err
}

// run runs docker with its output to stdout.
func (c *Client) run(ctx context.Context, op string, stdout io.Writer, args ...string) error {
	cmd := c.command(ctx, args...)
	said := &told{}
	cmd.Stdout, cmd.Stderr = stdout, said
	return c.ended(ctx, op, cmd, cmd.Run(), said)
}

// ended says what the end of a docker means.
func (c *Client) ended(ctx context.Context, op string, cmd *exec.Cmd, err error, said *told) error {
	if cmd.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its plugins, if any is left
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return interrupted(op, context.Cause(ctx))
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return (&slipway.Error{Op: op, Code: slipway.NotFound, Message: "docker does not run", Err: err}).WithHint("check that %s is a program", c.program)
	}
	return failure(op, said.text(), said.about)
}

func interrupted(op string, cause error) error {
	if errors.Is(cause, context.DeadlineExceeded) {
		return (&slipway.Error{Op: op, Code: slipway.Exhausted, Message: "it took too long", Err: cause}).WithHint("look what docker does: docker ps; docker buildx du")
	}
	return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "it was interrupted", Err: cause}
}
