package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/relay"
	"github.com/slipway-dev/slipway/rollout"
)

const (
	runsTogether = 4                // releases at a time
	runStopLimit = 10 * time.Second // for a release to go back, or to journal where it is
	maxRunResult = 4 << 20          // bytes of the result of a release
)

// runStarter makes releases by this very program, as a process each: one at a
// time for a target.
type runStarter struct {
	executable, config string
	environ            []string
	log                *slog.Logger
	slots              chan struct{}
	targets            map[string]chan struct{} // by target, a lock that can be waited for
	of                 map[string]string        // from model and environment to the target
}

// notForRuns are secrets of the relay that a release has no use for. With
// GITHUB_TOKEN it makes deployments on GitHub (docs/notifications.md).
var notForRuns = []string{secretVariable, "SLIPWAY_GITHUB_APP_ID", "SLIPWAY_GITHUB_APP_KEY", "GH_TOKEN", "AZURE_DEVOPS_EXT_PAT"}

func newRunStarter(cmd relayCommand, config string, log *slog.Logger) (*runStarter, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, &slipway.Error{Op: "finding this program", Code: slipway.Internal, Err: err}
	}
	environ := slices.DeleteFunc(os.Environ(), func(line string) bool {
		name, _, _ := strings.Cut(line, "=")
		return slices.Contains(notForRuns, name)
	})
	if cmd.MLflow != "" {
		environ = append(environ, "MLFLOW_TRACKING_URI="+cmd.MLflow) // not an argument: it may hold a password
	}
	return &runStarter{
		executable: executable, config: config, environ: environ, log: log,
		slots: make(chan struct{}, runsTogether), targets: map[string]chan struct{}{}, of: map[string]string{},
	}, nil
}

// goesTo tells which target a model in an environment has.
func (r *runStarter) goesTo(s settings) {
	r.of[s.ref.String()+"\n"+s.environment] = s.targetText()
	if r.targets[s.targetText()] == nil {
		r.targets[s.targetText()] = make(chan struct{}, 1)
	}
}

// Start makes the release and returns when it has ended. It is part of
// relay.Starter.
func (r *runStarter) Start(ctx context.Context, what relay.Start) (string, error) {
	target := r.targets[r.of[what.Model.String()+"\n"+what.Environment]]
	for _, lock := range []chan struct{}{target, r.slots} {
		select {
		case lock <- struct{}{}:
			defer func() { <-lock }()
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	return "", r.deploy(ctx, what)
}

// deploy runs `slipway deploy`. SIGINT has it go back, or journal where it is.
func (r *runStarter) deploy(ctx context.Context, what relay.Start) error {
	log := r.log.With("model", what.Model.String(), "environment", what.Environment, "start", what.ID)
	cmd := exec.CommandContext(ctx, r.executable, "deploy", what.Model.String(), "--environment", what.Environment, "--config", r.config, "--output", "json")
	cmd.Env = r.environ
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = runStopLimit
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a Ctrl-C meant for the relay reaches it once, through us
	var result bounded
	cmd.Stdout = &result
	story, told := logLines(log)
	cmd.Stderr = story
	err := cmd.Run()
	_ = story.Close() // ends told; a pipe's Close never fails
	<-told
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	log.Info("release ended", "exit", cmd.ProcessState.ExitCode())
	return runError(err, cmd.ProcessState.ExitCode(), result.Bytes())
}

// logLines returns a writer whose lines are logged, and a channel that is closed
// when all are.
func logLines(log *slog.Logger) (io.WriteCloser, <-chan struct{}) {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		lines := bufio.NewReaderSize(r, 16<<10)
		for {
			line, _, err := lines.ReadLine() // what is longer comes in pieces
			if err != nil {
				return
			}
			if text := strings.TrimSpace(clean(string(line))); text != "" {
				log.Info(text)
			}
		}
	}()
	return w, done
}

// bounded keeps the beginning of what is written to it.
type bounded struct{ bytes.Buffer }

// Write never fails: a result that is too long is none.
func (b *bounded) Write(p []byte) (int, error) {
	b.Buffer.Write(p[:min(len(p), maxRunResult-b.Len())]) // a Buffer's Write never fails
	return len(p), nil
}

// ranError is a release that has ended, and is not to be started again.
type ranError struct{ error }

// Done tells the relay.
func (ranError) Done() bool { return true }

func (e ranError) Unwrap() error { return e.error }

// runError says what the end of a release means. What it left on the target is
// asked there: a rollback is quarantined, and what is live is live.
func runError(err error, exit int, result []byte) error {
	const op = "releasing here"
	switch exit {
	case exitLive, exitRolledBack:
		return nil
	case exitNeedsPerson:
		return ranError{slipway.Errorf(slipway.Conflict, op, "a person is needed").WithHint("slipway explain")}
	case exitUsage: // tried again: somebody mends it
		return slipway.Errorf(slipway.Invalid, op, "the configuration is wrong: see the log").WithHint("slipway doctor")
	case exitFailed:
		return failedFor(result)
	}
	var ended *exec.ExitError
	if errors.As(err, &ended) { // killed
		return slipway.Errorf(slipway.Unavailable, op, "it was ended: %s", ended)
	}
	return &slipway.Error{Op: op, Code: slipway.Unavailable, Err: err}
}

// failedFor returns why a release failed, and whether that was for good.
func failedFor(result []byte) error {
	const op = "releasing here"
	var outcomes []rollout.Outcome
	_ = json.Unmarshal(result, &outcomes) // it may not have come to saying anything
	for _, out := range outcomes {
		f := out.Release.Failure
		if f == nil {
			continue
		}
		why := slipway.Errorf(f.Code, op, "%s: %s", f.Step, f.Problem.Message).WithHint("%s", f.Problem.Hint)
		switch f.Code {
		case slipway.Unavailable, slipway.Exhausted, slipway.Unauthorized: // it may go well another time, or when somebody mends it
			return why
		}
		return ranError{why}
	}
	return slipway.Errorf(slipway.Unavailable, op, "it failed and nothing was changed: see the log")
}
