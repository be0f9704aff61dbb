package main

import (
	"errors"
	"flag"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving/python"
)

// pythonOptions are how models are served that need Python.
type pythonOptions struct {
	interpreter string
	site        string // list of folders, as in PATH
	workers     int
	batchWait   time.Duration
	timeout     time.Duration
	memory      python.Size
	debug       bool
}

func (o *pythonOptions) flags(f *flag.FlagSet) {
	f.StringVar(&o.interpreter, "python", "", "the Python `interpreter` of models that need one; default: pythonX.Y of the model's version")
	f.StringVar(&o.site, "site-packages", "", "the `folder` of a Python model's packages; default: site-packages beside this program, where there is one")
	f.IntVar(&o.workers, "workers", 0, "how many `processes` answer for a Python model; default: one for each CPU, at most 4")
	f.DurationVar(&o.batchWait, "batch-wait", 0, "how long a free worker waits for more requests to answer together, where the image allows it; default: it takes what waits already")
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long a Python model may take for a request, before its worker is replaced")
	f.Var(&o.memory, "worker-memory", "how much memory a worker may have: a `size` such as 512M or 2G; default: no limit")
	f.BoolVar(&o.debug, "debug", false, "show clients the stack traces of a Python model")
}

func (o *pythonOptions) check() error {
	switch {
	case o.workers < 0 || o.workers > 64:
		return errors.New("-workers is 0 to 64")
	case o.batchWait < 0 || o.batchWait > time.Second:
		return errors.New("-batch-wait is 0 to 1 second")
	case o.timeout <= 0:
		return errors.New("-timeout is more than 0")
	}
	return nil
}

// engine returns the Python engine, or nil where nothing asks for one.
func (o *pythonOptions) engine(model string, log *slog.Logger) *python.Engine {
	site := filepath.SplitList(o.site)
	if len(site) == 0 {
		site = ownPackages()
	}
	m, err := mlmodel.ReadManifest(model)
	if err != nil {
		m = mlmodel.Manifest{} // no image; or the server says what is wrong with it
	}
	if o.interpreter == "" && len(site) == 0 && m.Engine != "python" {
		return nil
	}
	defer leaveCPUs(os.Getenv)
	return python.New(python.Config{
		Interpreter: o.interpreter, Site: site, Env: workerEnvironment(os.Environ()), Workers: o.workers, BatchWait: o.batchWait,
		Timeout: o.timeout, Memory: int64(o.memory), Debug: o.debug, Log: log, Batch: m.Python != nil && m.Python.Batch,
	})
}

// leaveCPUs keeps this process to a quarter of the CPUs, once the workers are
// counted by all of them: they need them, and a Go program that hands every
// request on to another process wakes threads on all it has to find nothing to
// do. That takes a third of the time of a small request. GOMAXPROCS says
// otherwise.
func leaveCPUs(getenv func(string) string) {
	if getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(max(1, runtime.GOMAXPROCS(0)/4))
	}
}

// ownPackages is the site-packages folder beside this program, as in an image.
func ownPackages() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	folder := filepath.Join(filepath.Dir(self), path.Base(mlmodel.ImagePackages))
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return nil
	}
	return []string{folder}
}

// workerEnvironment is this process's, with a folder for temporary files that
// can be written: with a read-only root, /dev/shm is what there is.
func workerEnvironment(env []string) []string {
	given := slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, "TMPDIR=") })
	if !given && !writable("/tmp") && writable("/dev/shm") {
		return append(env, "TMPDIR=/dev/shm")
	}
	return env
}

func writable(folder string) bool {
	f, err := os.CreateTemp(folder, ".slipway-*")
	if err != nil {
		return false
	}
	defer f.Close()
	return os.Remove(f.Name()) == nil
}
