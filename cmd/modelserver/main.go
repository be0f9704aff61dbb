// Command modelserver answers the predictions of one model over HTTP. It is
// the program in the images that slipway builds.
package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	os.Exit(run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is the program: 0 after a clean drain, 2 for wrong usage, else 1.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parse(args, getenv, stderr)
	if err != nil {
		return 2
	}
	if o.version {
		fmt.Fprintln(stdout, version())
		return 0
	}
	log := slog.New(slog.NewJSONHandler(stderr, nil))
	if err := serve(ctx, o, getenv, log); err != nil {
		log.Error("the model server ends", "error", err.Error())
		if err := explain(o.terminationLog, err); err != nil {
			log.Error("no termination log", "error", err.Error())
		}
		return 1
	}
	return 0
}
