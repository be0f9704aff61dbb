package local

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
	"github.com/slipway-dev/slipway/mlmodel"
)

// startLimit bounds how long a supervisor may take until it answers.
const startLimit = 20 * time.Second

// Observe implements slipway.Target. A supervisor that is gone although it
// has something to serve is started again.
func (t *Target) Observe(ctx context.Context) (slipway.Observation, error) {
	s, err := t.status(ctx)
	return s.Observation, err
}

// Stats returns what the proxy did since the supervisor started; zero when
// nothing is served.
func (t *Target) Stats(ctx context.Context) (proxy.Stats, error) {
	s, err := t.status(ctx)
	return s.Stats, err
}

func (t *Target) status(ctx context.Context) (status, error) {
	idle := status{Observation: slipway.Observation{At: time.Now()}}
	var s status
	err := t.exchange(ctx, http.MethodGet, observePath, nil, &s)
	for deadline := time.Now().Add(startLimit); errors.Is(err, errNobody) && time.Now().Before(deadline); {
		stored, stateErr := t.dir.readState()
		if stateErr != nil || stored.Desired == nil {
			return idle, stateErr
		}
		if err := t.start(ctx, stored); err != nil {
			return status{}, err
		}
		err = t.exchange(ctx, http.MethodGet, observePath, nil, &s)
	}
	return s, unanswered(err)
}

// Act implements slipway.Target. Apply unpacks the image first if it is not
// there.
func (t *Target) Act(ctx context.Context, a slipway.Action) error {
	c, err := t.command(a)
	if err != nil {
		return err
	}
	// The supervisor may have cleared the image away in between: once more.
	for range 3 {
		err = t.tell(ctx, actPath, c)
		if slipway.CodeOf(err) != slipway.NotFound {
			return err
		}
		if err := t.unpack(ctx, a.Release.Image); err != nil {
			return err
		}
	}
	return err
}

func (t *Target) command(a slipway.Action) (command, error) {
	const op = "acting on the local target"
	c := command{Kind: a.Kind, Fence: a.Fence}
	if a.Kind == slipway.Remove {
		return c, nil
	}
	if a.Kind != slipway.Apply {
		return c, slipway.Errorf(slipway.Invalid, op, "%q is no action for a target", a.Kind)
	}
	if _, err := slipway.ParseDigest(string(a.Release.Image.Digest)); err != nil {
		return c, err
	}
	server := ""
	if platformOf(a.Release.Image) != hostPlatform() {
		if server = t.cfg.Server; server == "" {
			return c, slipway.Errorf(slipway.Invalid, op, "the image is for %s, not for %s",
				strings.Join(a.Release.Image.Platforms, ", "), hostPlatform()).
				WithHint("build it with --platform %s, or name a model server for this machine with --server FILE", hostPlatform())
		}
	}
	secrets, err := t.secrets(a.Release.SecretEnv)
	if err != nil {
		return c, err
	}
	o := order{Release: *a.Release.Bare(), Server: server, Want: a.Release.Replicas, StartupLimit: t.cfg.StartupLimit}
	if o.Want == 0 {
		o.Want = t.cfg.Replicas
	}
	c.Order, c.Secrets = &o, secrets
	return c, nil
}

func (t *Target) secrets(names []string) (map[string]string, error) {
	values := map[string]string{}
	for _, name := range names {
		value := t.cfg.Getenv(name)
		if value == "" {
			return nil, slipway.Errorf(slipway.Invalid, "acting on the local target", "the secret %s has no value", name).
				WithHint("set the environment variable %s", name)
		}
		values[name] = value
	}
	return values, nil
}

// tell brings a command to the supervisor, starting one if there is none.
// Every command may be repeated, so one whose answer was lost is.
func (t *Target) tell(ctx context.Context, path string, c command) error {
	err := errNobody
	for deadline := time.Now().Add(startLimit); errors.Is(err, errNobody) && time.Now().Before(deadline); {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = t.exchange(ctx, http.MethodPost, path, c, &struct{}{})
		if !errors.Is(err, errNobody) {
			return err
		}
		stored, err := t.dir.readState()
		if err != nil {
			return err
		}
		if err := t.start(ctx, stored); err != nil {
			return err
		}
	}
	return unanswered(err)
}

// Stop ends what serves, after what is in flight, and the supervisor. The
// target is then set to nothing; its journal stays.
func (t *Target) Stop(ctx context.Context) error {
	err := t.exchange(ctx, http.MethodPost, stopPath, nil, &struct{}{})
	if errors.Is(err, errNobody) {
		return t.forget()
	}
	if err != nil {
		return err
	}
	held, err := waitFlock(ctx, t.dir.path("supervisor.lock"), 10*time.Millisecond)
	if err != nil {
		return err
	}
	return held.Close()
}

// forget sets the target to nothing while no supervisor runs.
func (t *Target) forget() error {
	s, err := t.dir.readState()
	if err != nil || s.Desired == nil && s.Serving == nil {
		return err
	}
	held, err := tryFlock(t.dir.path("supervisor.lock"))
	if errors.Is(err, errHeld) {
		return slipway.Errorf(slipway.Unavailable, "stopping "+t.cfg.Ref.String(), "its supervisor is being started").
			WithHint("slipway stop %s", t.cfg.Ref)
	}
	if err != nil {
		return fileError("stopping "+t.cfg.Ref.String(), t.dir.path("supervisor.lock"), err)
	}
	defer held.Close()
	s.Desired, s.Serving = nil, nil
	return t.dir.writeState(s)
}

func unanswered(err error) error {
	if !errors.Is(err, errNobody) {
		return err
	}
	return &slipway.Error{Op: "asking the local supervisor", Code: slipway.Unavailable, Err: err}
}

// unpack puts the image into the folder, unless it is there.
func (t *Target) unpack(ctx context.Context, image slipway.Image) error {
	dir := t.dir.image(image.Digest)
	if err := t.cfg.Images.Unpack(ctx, image, platformOf(image), dir); err != nil {
		if errors.Is(err, syscall.ENOSPC) {
			return fileError("unpacking "+image.Ref(), dir, err)
		}
		return err
	}
	return nil
}

func hostPlatform() string { return runtime.GOOS + "/" + runtime.GOARCH }

// platformOf returns the platform of the image to run here: this machine's if
// the image has it, else the first it has.
func platformOf(image slipway.Image) string {
	if len(image.Platforms) == 0 || slices.Contains(image.Platforms, hostPlatform()) {
		return hostPlatform()
	}
	return image.Platforms[0]
}

// start runs a supervisor that outlives this process, and waits until it
// answers or has ended.
func (t *Target) start(ctx context.Context, s state) error {
	if err := t.dir.make(); err != nil {
		return err
	}
	out := t.dir.path("supervisor.out")
	file, err := os.OpenFile(out, os.O_CREATE|os.O_WRONLY|os.O_APPEND|os.O_TRUNC, 0o600)
	if err != nil {
		return fileError("starting the local supervisor", out, err)
	}
	defer file.Close()
	cmd := exec.Command(t.cfg.Executable, "supervise", "--state", string(t.dir))
	cmd.Stdout, cmd.Stderr = file, file
	cmd.Env = t.environment(s)
	cmd.Dir = string(t.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return (&slipway.Error{Op: "starting the local supervisor", Code: slipway.Internal, Err: err}).
			WithHint("%s must be this program", t.cfg.Executable)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return t.awaitStart(ctx, ended)
}

func (t *Target) awaitStart(ctx context.Context, ended <-chan error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, errors.New("it did not answer in time"))
	defer cancel()
	for {
		if err := t.exchange(ctx, http.MethodGet, observePath, nil, &status{}); !errors.Is(err, errNobody) {
			return err
		}
		select {
		case err := <-ended:
			return t.startFailed(ctx, err)
		case <-ctx.Done():
			return &slipway.Error{Op: "starting the local supervisor", Code: slipway.Unavailable, Err: context.Cause(ctx)}
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// startFailed explains the end of a supervisor that did not answer. One that
// ended well found another at work, or nothing to do.
func (t *Target) startFailed(ctx context.Context, err error) error {
	if err == nil {
		return pause(ctx, 10*time.Millisecond) // the other one may be about to end
	}
	said, readErr := readFile(t.dir.path("supervisor.out"), 64<<10)
	if readErr != nil {
		said = []byte(readErr.Error())
	}
	return &slipway.Error{
		Op:      "starting the local supervisor",
		Code:    slipway.Internal,
		Message: lastLines(string(said), 5),
		Hint:    "see " + t.Log(),
		Err:     err,
	}
}

// environment returns what the supervisor needs of the environment, and no
// more: it lives long.
func (t *Target) environment(s state) []string {
	names := []string{"PATH", "HOME", "TMPDIR", "LANG", "TZ"}
	for _, o := range []*order{s.Desired, s.Serving} {
		if o != nil {
			names = append(names, o.Release.SecretEnv...)
		}
	}
	var env []string
	for _, name := range names {
		if value := t.cfg.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// lastLines returns the last n lines of text that are not empty.
func lastLines(text string, n int) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// imageServer is the model server's path in an unpacked image.
func (f folder) imageServer(d slipway.Digest) string {
	return f.image(d) + mlmodel.ImageServer
}
