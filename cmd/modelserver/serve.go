package main

import (
	"context"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// serve runs the model server until ctx ends.
func serve(ctx context.Context, o options, getenv func(string) string, log *slog.Logger) error {
	defer runtime.KeepAlive(ballast())
	l, err := net.Listen("tcp", o.addr)
	if err != nil {
		return &slipway.Error{Op: "listening on " + o.addr, Code: slipway.Unavailable, Err: err}
	}
	defer l.Close()
	if err := announce(o.addrFile, l.Addr().String()); err != nil {
		return err
	}
	s := serving.New(serving.Config{
		Dir: o.model, Engines: engines(o, log), Schema: serving.Schema(o.schema), DrainDelay: o.drainDelay, Log: log,
		ModelName: getenv("MODEL_NAME"), ModelVersion: getenv("MODEL_VERSION"), Ready: func() { limitMemory(getenv) },
		AnswerIn: o.python.timeout,
	})
	return s.Run(ctx, l)
}

// engines are all that this program can serve with here: Python only where
// there is one, or where the image was built for it.
func engines(o options, log *slog.Logger) []serving.Engine {
	list := []serving.Engine{sklearn.New()}
	if python := o.python.engine(o.model, log); python != nil {
		list = append(list, python)
	}
	return list
}

// ballast makes the garbage collector wait: it runs when the heap has doubled,
// and a small model's heap is about 3 MB, while every request leaves 2 kB
// behind, so that under load it would run dozens of times a second. Memory
// that is never touched counts for the heap and is not resident. GOGC=400
// would do the same for a small model, but let a model of 1 GB grow to 5.
// GOGC and GOMEMLIMIT work as in every Go program.
func ballast() []byte { return make([]byte, 14<<20) }

// limitMemory keeps the memory of a few huge requests from lying around until
// the heap has doubled once more: beyond twice the loaded model and 64 MiB the
// collector runs as often as it must, at most half of the time. GOMEMLIMIT
// says otherwise.
func limitMemory(getenv func(string) string) {
	if getenv("GOMEMLIMIT") != "" {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetMemoryLimit(int64(2*m.HeapAlloc) + 64<<20)
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
	_, err = f.Write(serving.LastWords(reason).Encode())
	return err
}
