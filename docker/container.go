package docker

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
)

// Limits are what a container of a check may take. A model is foreign code.
type Limits struct {
	Time    time.Duration // until it is ready; default 5 min
	Memory  int64         // bytes; 0: no limit
	Env     []string      // NAME=value, never among docker's arguments; without those that docker itself reads, proxies for one
	Network bool          // by default it has none
}

// limitArguments are those of docker create and docker run: nothing may be
// written but /tmp, nothing of this machine or its network is in reach.
func (c *Client) limitArguments(name string, l Limits) []string {
	args := []string{"--name", name, "--read-only", "--tmpfs", "/tmp:rw,mode=1777", "--cap-drop", "ALL",
		"--security-opt", "no-new-privileges", "--pids-limit", "1024", "--log-driver", "none"}
	if !l.Network {
		args = append(args, "--network", "none")
	}
	if l.Memory > 0 {
		args = append(args, "--memory", strconv.FormatInt(l.Memory, 10))
	}
	for _, name := range l.names() {
		args = append(args, "--env", name)
	}
	return args
}

// ownForm are variables that docker itself, or what starts it, reads: a
// container's go through its environment, so those a container does not get.
var ownForm = regexp.MustCompile(`^(PATH|HOME|TMPDIR|GODEBUG|SSL_CERT_(FILE|DIR)|(DOCKER|BUILDX|BUILDKIT|LD)_.*|(?i:(HTTP|HTTPS|ALL|NO|FTP)_PROXY))$`)

func own(name string) bool { return ownForm.MatchString(name) }

func (l Limits) names() []string {
	names := map[string]bool{}
	for _, v := range l.Env {
		if name, _, ok := strings.Cut(v, "="); ok && !own(name) {
			names[name] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}

func (l Limits) environ() (env []string) {
	for _, v := range l.Env {
		if name, _, ok := strings.Cut(v, "="); ok && !own(name) {
			env = append(env, v)
		}
	}
	return env
}

const checkOp = "checking the image in a container"

// Try starts the image as it will serve, without network, and waits until its
// model server is ready, which it is when the golden predictions came out
// right; golden is their number. Codes: Invalid, the model server ended, and
// why; Exhausted, memory or time ran out.
func (c *Client) Try(ctx context.Context, image Image, golden int, l Limits) error {
	limit := l.Time
	if limit == 0 {
		limit = 5 * time.Minute
	}
	name := newName(containerPrefix, time.Now().Add(limit+askLimit)) // when this process is killed the container goes on
	defer c.removeContainer(ctx, name)
	if err := c.create(ctx, image, name, l); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	running, isReady := context.WithCancel(ctx)
	defer isReady()
	w := &watch{golden: golden, ready: isReady}
	cmd := c.command(running, "start", "--attach", name)
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what it hears it tells the server, which would drain first
	said := &told{lines: w.line}
	cmd.Stdout, cmd.Stderr = io.Discard, said
	err := cmd.Run()
	switch {
	case w.isReady():
		return nil
	case ctx.Err() != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded):
		return slipway.Errorf(slipway.Exhausted, checkOp, "its model server was not ready within %s", limit).
			WithHint("a slow model gets more time with `startup:` of slipway.yaml's environment")
	case ctx.Err() != nil:
		return interrupted(checkOp, context.Cause(ctx))
	}
	return c.notReady(ctx, name, w, err, said)
}

func (c *Client) create(ctx context.Context, image Image, name string, l Limits) error {
	cmd := c.command(ctx, append(append([]string{"create"}, c.limitArguments(name, l)...), image.Name)...)
	cmd.Env = append(cmd.Env, l.environ()...)
	said := &told{}
	cmd.Stderr = said
	return c.ended(ctx, checkOp, cmd, cmd.Run(), said)
}

// notReady says why a model server ended before it was ready.
func (c *Client) notReady(ctx context.Context, name string, w *watch, err error, said *told) error {
	if killed, askErr := c.ask(ctx, checkOp, "container", "inspect", "--format", "{{.State.OOMKilled}}", name); askErr == nil && killed == "true" {
		return slipway.Errorf(slipway.Exhausted, checkOp, "it used up its memory").WithHint("give the workers more with --env SLIPWAY_WORKER_MEMORY=16G")
	}
	if reason := w.why(); reason != "" {
		return slipway.Errorf(slipway.Invalid, checkOp, "the model server in it ended: %s", reason).
			WithHint("mend the Dockerfile or the model; slipway build tries again")
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return (&slipway.Error{Op: checkOp, Code: slipway.Invalid, Message: "it exited before it was ready"}).WithHint("its ENTRYPOINT is /slipway/modelserver, without a CMD")
	}
	return slipway.Errorf(slipway.Invalid, checkOp, "it exited with status %d: %s", exit.ExitCode(), lastWords(said.text())).
		WithHint("its base must be able to run the model server, and ENTRYPOINT be /slipway/modelserver")
}

// watch reads the log of a model server.
type watch struct {
	golden int
	ready  func()
	mu     sync.Mutex
	is     bool
	reason string
}

// logLine is what the log of package serving has in a line.
type logLine struct {
	Message string `json:"msg"`
	Golden  int    `json:"golden"`
	Error   string `json:"error"`
}

func (w *watch) line(text string) {
	var l logLine
	if json.Unmarshal([]byte(text), &l) != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case l.Message == "ready" && l.Golden == w.golden:
		w.is = true
		w.ready()
	case l.Message == "ready":
		w.reason = fmt.Sprintf("it asked itself %d golden predictions instead of %d", l.Golden, w.golden)
		w.ready()
	case l.Error != "" && l.Message == "the model server ends":
		w.reason = short(l.Error, 2000)
	}
}

func (w *watch) isReady() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.is
}

func (w *watch) why() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reason
}

// removeContainer ends and removes a container, also when ctx has ended. One
// that is gone is no error, and one that cannot be removed the next run sweeps.
func (c *Client) removeContainer(ctx context.Context, name string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	_, _ = c.ask(ctx, removeOp, "container", "rm", "--force", "--volumes", name)
}
