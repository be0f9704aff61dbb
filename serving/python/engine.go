package python

import (
	"context"
	"log/slog"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// Config is how models are served with Python. Nothing is required.
type Config struct {
	Interpreter string                                 // path or name; default: pythonX.Y of the model's version, else a python3 of that version
	Site        []string                               // folders of packages, before the interpreter's own; .pth files in them count
	Env         []string                               // environment of the workers; default: none. Threads of numeric libraries are set where it does not say otherwise
	Workers     int                                    // processes; default: one for each CPU, at most 4
	Batch       bool                                   // requests that wait may be answered together: see Batchable
	BatchWait   time.Duration                          // how long a free worker waits for more of them; default 0: it takes what is there
	Queue       int                                    // requests that may wait; more are refused, code Exhausted; default 256
	Timeout     time.Duration                          // of a request, waiting included; then its worker is replaced; default 60 s
	LoadTimeout time.Duration                          // of a worker until it is ready; default 10 min
	Memory      int64                                  // bytes of a worker; default 0: no limit
	Debug       bool                                   // clients see the model's stack traces
	Log         *slog.Logger                           // default: nowhere
	Lookup      func(name string) (string, error)      // finds a program; default: in PATH
	Wrap        func(cmd *exec.Cmd) (*exec.Cmd, error) // returns the command that is started instead, in a sandbox, with the same files; default: cmd itself
	Explain     func(cmd *exec.Cmd, err error) error   // says why a command of Wrap ended; default: what the system says
}

// Engine serves whatever mlflow.pyfunc.load_model loads; see the package.
type Engine struct {
	config      Config
	cpus        int    // that the workers share
	interpreter string // of the workers; set by Load
}

var _ serving.Engine = (*Engine)(nil)

// New returns the engine. The workers share the CPUs that the process may use
// when New is called.
func New(c Config) *Engine {
	cpus := runtime.GOMAXPROCS(0)
	setDefault(&c.Workers, max(1, min(4, cpus)))
	setDefault(&c.Queue, 256)
	setDefault(&c.Timeout, time.Minute)
	setDefault(&c.LoadTimeout, 10*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Lookup == nil {
		c.Lookup = exec.LookPath
	}
	return &Engine{config: c, cpus: cpus}
}

func setDefault[T comparable](v *T, value T) {
	var zero T
	if *v == zero {
		*v = value
	}
}

// Name returns "python".
func (*Engine) Name() string { return "python" }

// Check reports whether there is a Python for the model. Whether the model
// loads is only known when it is loaded: that runs its code. Codes: Invalid,
// the model is no Python function; NotFound, interpreter or packages are missing.
func (e *Engine) Check(m *mlmodel.Model) error {
	if m.Loader == "" {
		return slipway.Errorf(slipway.Invalid, "checking the model", "the model of flavour %q has no python_function flavour, so Python cannot load it", m.Flavor())
	}
	if err := e.config.checkSite(); err != nil {
		return err
	}
	_, err := e.config.find(m)
	return err
}

// Load starts the workers and returns when the first is ready. A model that
// does not load is an error of code Invalid that names the exception. The
// Predictor is to be closed.
func (e *Engine) Load(ctx context.Context, m *mlmodel.Model) (serving.Predictor, error) {
	if err := e.Check(m); err != nil {
		return nil, err
	}
	interpreter, err := e.config.find(m)
	if err != nil {
		return nil, err
	}
	return start(ctx, &Engine{config: e.config, cpus: e.cpus, interpreter: interpreter}, m)
}

// threadVariables bound the threads of numeric libraries.
var threadVariables = []string{"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"}

// environment is the workers' own: the configured one and what is not in it.
// Workers share the CPUs, and MLflow neither calls home nor traces.
func (e *Engine) environment() []string {
	env := slices.Clone(e.config.Env)
	threads := strconv.Itoa(max(1, e.cpus/e.config.Workers))
	for _, name := range threadVariables {
		env = withDefault(env, name, threads)
	}
	return withDefault(env, "MLFLOW_DISABLE_TELEMETRY", "true")
}

func withDefault(env []string, name, value string) []string {
	if slices.ContainsFunc(env, func(s string) bool { return strings.HasPrefix(s, name+"=") }) {
		return env
	}
	return append(env, name+"="+value)
}
