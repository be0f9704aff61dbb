package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/alecthomas/kong"

	"github.com/slipway-dev/slipway"
)

// program is what every command gets of the process: its streams, its
// environment, and the way to the outside worlds.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	getenv         func(string) string
	json           bool
	story          *story
	ci             runner            // whose step this is; nil: nobody's
	pages          []string          // for its summary, below how the release ended
	blamed         bool              // it knows already what failed
	said           map[string]string // the outputs it has
	connect        func(settings) (*ports, error)
	config         string        // slipway.yaml, as --config names it
	telling        *telling      // how it tells what became of releases; nil: there was nothing to tell
	handed         []handing     // what it has handed on
	lease          time.Duration // how long a cluster's lock outlives its holder; 0: as package kube has it
}

// run executes one command line and returns the exit code. It reads nothing of
// the process but what it is given.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	p.connect = p.wire
	return p.execute(ctx, args)
}

// execute runs one command line. What it returns follows from the error alone:
// see exitCode.
func (p *program) execute(ctx context.Context, args []string) int {
	p.joinCI()
	err := p.command(ctx, args)
	code := p.fail(ctx, err)
	p.leaveCI(err)
	return code
}

// command parses and runs one command.
func (p *program) command(ctx context.Context, args []string) error {
	var c cli
	helped := false
	parser, env, err := newParser(&c, p, func() { helped = true })
	if err != nil {
		return err
	}
	parsed, err := parser.Parse(args)
	switch {
	case helped: // kong goes on after --help; what it finds then does not matter
		return nil
	case err != nil:
		return usage(env.blame(err), hintForUsage(parser, err))
	}
	if err := env.arguments(parsed); err != nil {
		return err
	}
	p.json, p.config = c.Output == "json", c.Config
	p.story = newStory(p.stderr, p.getenv, p.ci)
	defer p.story.close()
	parsed.BindTo(ctx, (*context.Context)(nil))
	err = parsed.Run(p, &c)
	p.finishTelling(ctx)
	return err
}

// usageError is wrong usage or configuration: exit code 2.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(err error, hint string) error {
	return usageError{(&slipway.Error{Code: slipway.Invalid, Err: err}).WithHint("%s", hint)}
}

func usagef(format string, args ...any) *slipway.Error {
	return slipway.Errorf(slipway.Invalid, "", format, args...)
}

// ended is a release that ended otherwise than live, or an outcome without a
// release: the story has told it already, only the exit code is left.
type ended struct {
	code  int
	cause error // printed when the story has not told it; may be nil
}

func (e ended) Error() string { return fmt.Sprintf("ended with exit code %d", e.code) }
func (e ended) Unwrap() error { return e.cause }

// The exit codes of design §4.
const (
	exitLive        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRolledBack  = 3
	exitNeedsPerson = 4
	exitInterrupted = 130
)

// fail prints what is left to say of the error and returns the exit code.
func (p *program) fail(ctx context.Context, err error) int {
	if err == nil {
		return exitLive
	}
	code := exitCode(ctx, err)
	var e ended
	switch {
	case errors.Is(err, errInterrupted):
		fmt.Fprintln(p.stderr, "interrupted; nothing was changed")
	case !errors.As(err, &e) && code == exitInterrupted:
		fmt.Fprintln(p.stderr, "interrupted")
	case !errors.As(err, &e):
		printError(p.stderr, err, p.getenv)
	case e.cause != nil && e.code != exitLive:
		printError(p.stderr, e.cause, p.getenv)
	}
	return code
}

func exitCode(ctx context.Context, err error) int {
	var (
		wrong usageError
		e     ended
	)
	switch {
	case err == nil:
		return exitLive
	case errors.As(err, &e):
		return e.code
	case errors.As(err, &wrong):
		return exitUsage
	case errors.Is(context.Cause(ctx), errInterrupted):
		return exitInterrupted
	}
	return exitFailed
}

func hintForUsage(parser *kong.Kong, err error) string {
	var wrong *kong.ParseError
	if errors.As(err, &wrong) && wrong.Context != nil && wrong.Context.Selected() != nil {
		return wrong.Context.Selected().FullPath() + " --help"
	}
	return parser.Model.Name + " --help"
}
