// Command slipway brings a promoted MLflow model version into production,
// proves it there by its own predictions, and takes it back when it is bad.
//
// It owns flags, environment variables, exit codes and the wiring of all other
// packages; everything else is theirs.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/slipway-dev/slipway/sandbox"
)

// errInterrupted is the cause with which a signal cancels the run.
var errInterrupted = errors.New("interrupted")

func main() {
	sandbox.Init()
	ctx, cancel := context.WithCancelCause(context.Background())
	signal.Ignore(syscall.SIGPIPE) // a reader that left must not end a release half-way
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		<-signals
		signal.Stop(signals) // a second one ends the process at once; recover undoes what it leaves
		cancel(errInterrupted)
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
