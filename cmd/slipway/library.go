package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/sandbox"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/proof"
	"github.com/slipway-dev/slipway/serving/python"
	"github.com/slipway-dev/slipway/uv"
)

// How long a model may take in the sandbox, in all. It is foreign code.
const (
	loadLimit    = 5 * time.Minute // or as long as the release lets a replica take
	convertLimit = 10 * time.Minute
	proofLimit   = 5 * time.Minute
)

// library is what made the model, at work in a sandbox on this machine with the
// packages that the image gets.
type library struct {
	packages  *packages
	site      uv.Site
	python    uv.Interpreter
	predictor serving.Predictor
	by        string        // "scikit-learn 1.5.2"
	began     time.Time     // when the model was first loaded
	took      time.Duration // until all was asked of it that the image needs to know
	ends      endings       // of its containers and image
}

// openLibrary loads the model with the library that made it: in a sandbox on
// this machine or, where docker builds the image and here it does not load,
// inside the image.
func (j *journey) openLibrary(ctx context.Context) (*library, error) {
	l, err := j.openHere(ctx)
	if err == nil || ctx.Err() != nil || !j.withDocker() || !j.needsPython() || j.elsewhere() {
		return l, err
	}
	j.story.note("build", "the model is loaded inside the image: here, %s", inLine(err))
	return j.openInImage(ctx)
}

// openHere loads it in a sandbox. That runs foreign code, so nothing of this
// machine is within its reach but what the model needs.
func (j *journey) openHere(ctx context.Context) (*library, error) {
	if err := sandbox.Check(ctx); err != nil {
		return nil, err
	}
	p, err := j.locked(ctx, machine())
	if err != nil {
		return nil, err
	}
	l := &library{packages: p, by: p.madeBy(j.model.Flavor())}
	client, err := j.python()
	if err != nil {
		return nil, err
	}
	if l.python, err = client.Interpreter(ctx, p.lock.Python); err != nil {
		return nil, err
	}
	if l.site, err = j.site(ctx, p); err != nil {
		return nil, err
	}
	dir, err := j.shownModel()
	if err != nil {
		return nil, err
	}
	l.began = time.Now()
	l.predictor, err = j.loadOriginal(ctx, l, dir)
	return l, err
}

func (j *journey) loadOriginal(ctx context.Context, l *library, dir string) (serving.Predictor, error) {
	shown := *j.model
	shown.Dir = dir
	limits, err := j.limits()
	if err != nil {
		return nil, err
	}
	engine := python.New(python.Config{
		Interpreter: l.python.Path, Site: []string{l.site.Dir}, Env: j.modelEnvironment(), Workers: 1,
		LoadTimeout: limits.load, Timeout: limits.answer, Memory: limits.memory,
		Wrap:    func(cmd *exec.Cmd) (*exec.Cmd, error) { return j.inSandbox(ctx, cmd, l, dir, limits) },
		Explain: sandbox.Explain,
	})
	return engine.Load(ctx, &shown)
}

// inSandbox returns the command that runs cmd with nothing of this machine but
// interpreter, packages and model.
func (j *journey) inSandbox(ctx context.Context, cmd *exec.Cmd, l *library, dir string, limits limits) (*exec.Cmd, error) {
	return sandbox.Command(ctx, sandbox.Config{
		Program: cmd.Path, Args: cmd.Args[1:], Env: cmd.Env, Network: j.making.AllowNetwork,
		ReadOnly: []string{l.python.Prefix, l.site.Dir, dir}, Memory: max(sandboxMemory, limits.memory),
		ExtraFiles: cmd.ExtraFiles, Stdout: cmd.Stdout, Stderr: cmd.Stderr,
	})
}

// modelEnvironment is what the model declares that it needs, as far as it is
// known here: secrets of a cluster stay there.
func (j *journey) modelEnvironment() []string {
	var env []string
	for _, name := range j.model.EnvVars {
		value, given := j.release.Env[name]
		if !given && givesSecret(j.release.SecretEnv, name) {
			value = j.getenv(name)
			given = value != ""
		}
		if given {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// shownModel returns the model directory as the sandbox's user can read it: a
// copy, where it is only for this one.
func (j *journey) shownModel() (string, error) {
	if readable(j.work.ModelDir) {
		return j.work.ModelDir, nil
	}
	dir, err := j.scratch("model")
	if err != nil {
		return "", err
	}
	if err := os.CopyFS(dir, os.DirFS(j.work.ModelDir)); err != nil {
		return "", &slipway.Error{Op: "copying the model for the sandbox", Code: slipway.Exhausted, Err: err}
	}
	return dir, errors.Join(makeReadable(dir), os.Chmod(dir, 0o755))
}

func readable(dir string) bool {
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o004 == 0 {
			err = os.ErrPermission
		}
		return err
	})
	return err == nil
}

func makeReadable(dir string) error {
	return filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return os.Chmod(path, 0o644)
	})
}

// convert turns the pickled model into the form that the native engine reads,
// and returns the file.
func (j *journey) convert(ctx context.Context, l *library) (string, error) {
	if l.packages == nil {
		return "", slipway.Errorf(slipway.Invalid, "converting the model", "that needs its packages on this machine").
			WithHint("install uv (pip install uv), or leave it to Python: --engine python")
	}
	client, err := j.python()
	if err != nil {
		return "", err
	}
	extra, err := client.Extra(ctx, l.packages.lock, proof.Requirements...)
	if err != nil {
		return "", err
	}
	model, err := j.shownModel()
	if err != nil {
		return "", err
	}
	out, err := j.scratch("converted")
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, convertLimit)
	defer cancel()
	cmd, said, err := j.converter(ctx, l, model, extra, out)
	if err != nil {
		return "", err
	}
	failed := sandbox.Explain(cmd, cmd.Run())
	if code := slipway.CodeOf(failed); code == slipway.Exhausted || code == slipway.Unauthorized {
		return "", failed
	}
	if _, err := proof.ReadConversion(said.b); err != nil {
		return "", err
	}
	return filepath.Join(out, "model.skops"), failed
}

// converter is the command that writes the converted model into out, and what
// it will have said.
func (j *journey) converter(ctx context.Context, l *library, model, extra, out string) (*exec.Cmd, *lastBytes, error) {
	said := &lastBytes{limit: 64 << 10}
	cmd, err := sandbox.Command(ctx, sandbox.Config{
		Program: l.python.Path, Args: []string{"-B", "-c", withPackages(`os.environ["SLIPWAY_SITE"]`) + proof.ConvertScript, model, filepath.Join(out, "model.skops"), extra},
		Env:      append(j.modelEnvironment(), "SLIPWAY_SITE="+l.site.Dir, "MLFLOW_DISABLE_TELEMETRY=true"),
		ReadOnly: []string{l.python.Prefix, l.site.Dir, model, extra}, Dir: out, Network: j.making.AllowNetwork,
		Stdout: said,
	})
	return cmd, said, err
}

// withPackages is Python that puts the packages of a folder, which a Python
// expression names, in the place of the interpreter's own. Those stay where
// there is no such folder.
func withPackages(folder string) string {
	return `import os, site, sys
packages = ` + folder + `
own = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
if os.path.isdir(packages):
    sys.path[:] = [p for p in sys.path if p not in own]
    site.addsitedir(packages)
`
}

// lastBytes keeps the end of what is written.
type lastBytes struct {
	limit int
	b     []byte
}

func (l *lastBytes) Write(p []byte) (int, error) {
	l.b = append(l.b, p...)
	if extra := len(l.b) - l.limit; extra > 0 {
		l.b = bytes.Clone(l.b[extra:])
	}
	return len(p), nil
}

// closeLibrary ends what runs in the sandbox.
func (j *journey) closeLibrary() {
	if j.library == nil {
		return
	}
	if err := j.library.end(); err != nil {
		j.story.warn("build", "%v", err)
	}
	j.library = nil
}

func (l *library) end() error {
	if c, ok := l.predictor.(io.Closer); ok {
		_ = c.Close() // it is killed with the sandbox, or the container
	}
	return l.ends.all()
}
