package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// serve runs the model server until ctx ends.
func serve(ctx context.Context, o options, getenv func(string) string, log *slog.Logger) error {
	tuneMemory(getenv)
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return &slipway.Error{Op: "listening on " + o.addr, Code: slipway.Unavailable, Err: err}
	}
	defer l.Close()
	if err := announce(o.addrFile, l.Addr().String()); err != nil {
		return err
	}
	s := serving.New(serving.Config{
		Dir: o.model, Engines: engines(), Schema: serving.Schema(o.schema), DrainDelay: o.drainDelay, Log: log,
		ModelName: getenv("MODEL_NAME"), ModelVersion: getenv("MODEL_VERSION"),
	})
	return s.Run(ctx, l)
}

// engines are all that this program can serve with.
func engines() []serving.Engine { return []serving.Engine{sklearn.New()} }

// tuneMemory trades a little memory for fewer collections, unless GOGC says
// otherwise. A request leaves about 2 kB behind and a model server lives with
// a heap of a few megabytes, so at Go's default it would collect every 4 MB,
// dozens of times a second under load; at 400 it does so every 16 MB.
func tuneMemory(getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// announce writes the address to the file, which appears with all its content
// or not at all.
func announce(file, addr string) error {
	if file == "" {
		return nil
	}
	err := writeAtomically(file, addr+"\n")
	if err != nil {
		return &slipway.Error{Op: "writing the address to " + file, Code: slipway.Invalid, Err: err}
	}
	return nil
}

func writeAtomically(file, text string) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".addr-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

// maxReason is how much of a termination log Kubernetes keeps.
const maxReason = 4096

// explain writes why the server ended where Kubernetes, or the supervisor of
// one machine, reads it. Outside of a cluster the default file's directory may
// not be writable, and a file is not made in /dev.
func explain(file string, reason error) error {
	flags := os.O_WRONLY | os.O_TRUNC
	if filepath.Dir(file) != "/dev" {
		flags |= os.O_CREATE
	}
	f, err := os.OpenFile(file, flags, 0o644)
	if os.IsNotExist(err) && filepath.Dir(file) == "/dev" {
		return nil // not in a cluster
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text := reason.Error()
	if hint := slipway.HintOf(reason); hint != "" {
		text += " (" + hint + ")"
	}
	_, err = fmt.Fprintf(f, "%.*s\n", maxReason-1, text)
	return err
}
