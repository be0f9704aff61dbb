package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
	"github.com/slipway-dev/slipway/examples"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/uv"
)

// dockerBuild is a build of one platform, and what must come out of it.
type dockerBuild struct {
	build    docker.Build
	contract docker.Contract
}

// dockerContext prepares a build. A context that an earlier build of this run
// left is made anew: what is the same in it gives the same layers.
func (j *journey) dockerContext(ctx context.Context, platform string) (dockerBuild, error) {
	c, err := j.contextParts(ctx, platform)
	if err != nil {
		return dockerBuild{}, err
	}
	dir, err := j.emptyScratch("context")
	if err != nil {
		return dockerBuild{}, err
	}
	contract, err := c.Write(dir)
	if err != nil {
		return dockerBuild{}, err
	}
	b := docker.Build{Context: dir, Platform: platform, Args: j.buildArguments(), Labels: j.manifest().Labels(),
		Secrets: []string{"PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}, Progress: j.dockerProgress,
		Warn: func(err error) { j.story.warn("build", "%s", inLine(err)) }}
	if b.Dockerfile, err = j.dockerfile(dir); err != nil {
		return dockerBuild{}, err
	}
	if j.making.Dockerfile == "" && !j.needsPython() {
		b.Target = engineNative
	}
	return dockerBuild{b, contract}, nil
}

func (j *journey) contextParts(ctx context.Context, platform string) (docker.Context, error) {
	server, err := j.servers(j.making.Server).find(ctx, platform)
	if err != nil {
		return docker.Context{}, err
	}
	c := docker.Context{ModelDir: j.work.ModelDir, Server: server, Converted: j.work.Converted}
	if j.making.Dockerfile != "" {
		c.Beside = filepath.Dir(j.making.Dockerfile)
	}
	lock, err := j.dockerLock(ctx, platform)
	if err != nil {
		return docker.Context{}, err
	}
	if c.Requirements = lock; lock == nil && j.needsPython() {
		c.Requirements, c.Constraints = pipFiles(*j.work.Python)
	}
	c.Release, err = j.releaseFiles(lock)
	return c, err
}

// pipFiles are a request as pip takes it; the constraints' file lies beside that
// of the requirements.
func pipFiles(r uv.Request) (requirements, constraints []byte) {
	lines := r.Requirements
	if len(r.Constraints) > 0 {
		lines = append([]string{"-c " + docker.ContextConstraints}, lines...)
		constraints = []byte(strings.Join(r.Constraints, "\n") + "\n")
	}
	return []byte(strings.Join(lines, "\n") + "\n"), constraints
}

// releaseFiles are what the image says of the release.
func (j *journey) releaseFiles(lock []byte) (map[string][]byte, error) {
	manifest, err := j.manifest().Encode()
	if err != nil {
		return nil, &slipway.Error{Op: "describing the release", Code: slipway.Internal, Err: err}
	}
	golden, err := j.golden.Encode()
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{mlmodel.ManifestFile: manifest, mlmodel.GoldenFile: golden}
	if lock != nil {
		files[mlmodel.LockFile] = lock
	}
	return files, nil
}

// dockerfile is the one to build with, in the context where it is the user's:
// a .dockerignore of its name is there, too.
func (j *journey) dockerfile(contextDir string) (string, error) {
	if j.making.Dockerfile != "" {
		return filepath.Join(contextDir, filepath.Base(j.making.Dockerfile)), nil
	}
	dir, err := j.scratch("dockerfile")
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "Dockerfile")
	if err := writeFile(file, examples.Dockerfile, 0o644); err != nil {
		return "", &slipway.Error{Op: "writing the Dockerfile", Code: slipway.Exhausted, Err: err}
	}
	return file, nil
}

// buildArguments are known to everybody who has the image.
func (j *journey) buildArguments() map[string]string {
	args := map[string]string{"SOURCE_DATE_EPOCH": "0"} // BuildKit's own: the same layers give the same image
	if j.needsPython() {
		args["PYTHON"] = j.work.Python.Python
	}
	if j.making.Base != "" {
		args["BASE"] = j.making.Base
	}
	return args
}

// dockerLock returns the lock of the Python packages; nil: there is none,
// because the model needs none, or this machine cannot make one.
func (j *journey) dockerLock(ctx context.Context, platform string) ([]byte, error) {
	if !j.needsPython() {
		return nil, nil
	}
	p, err := j.locked(ctx, platform)
	if err == nil {
		return p.lock.Encode(), nil
	}
	return nil, j.unlocked(ctx, err)
}

// unlocked lets docker install the model's requirements as they are, where they
// cannot be locked here: because there is no uv, or a package has no wheel. All
// else that fails, a hash or an index that is not trusted for one, fails.
func (j *journey) unlocked(ctx context.Context, why error) error {
	code := slipway.CodeOf(why)
	if !j.withDocker() || ctx.Err() != nil || code != slipway.NotFound && code != slipway.Invalid {
		return why
	}
	if j.work.Python == nil {
		if _, err := j.python(); slipway.CodeOf(err) != slipway.NotFound {
			return why // the request itself is wrong
		}
		request, err := j.requestWithoutUV()
		if err != nil {
			return err
		}
		j.work.Python = &request
	}
	if !j.saidUnlocked {
		j.saidUnlocked = true
		step := "build"
		if j.release.Phase == slipway.Validating {
			step = "validate"
		}
		j.story.warn(step, "the Python packages are not locked, so another build may get others: %s", inLine(why))
	}
	return nil
}

// requestWithoutUV is what uv.Client.Request makes of the model's needs, as far
// as pip needs it.
func (j *journey) requestWithoutUV() (uv.Request, error) {
	needs, err := j.model.Needs()
	if err != nil {
		return uv.Request{}, err
	}
	if len(needs.Indexes) > 0 {
		return uv.Request{}, slipway.Errorf(slipway.Unauthorized, "reading "+needs.From, "the model asks for packages from %.200s, and only uv tells whether that is configured here", needs.Indexes[0]).
			WithHint("install uv: pip install 'uv>=%s'", uv.MinimumVersion)
	}
	r := uv.Request{Python: needs.Python}
	for _, q := range j.choose(needs) {
		r.Requirements = append(r.Requirements, q.String())
	}
	for _, file := range strings.Fields(orElse(j.getenv("UV_CONSTRAINT"), j.getenv("PIP_CONSTRAINT"))) {
		more, err := mlmodel.ReadConstraints(filepath.Dir(file), filepath.Base(file))
		if err != nil {
			return uv.Request{}, err
		}
		needs.Constraints = append(needs.Constraints, more...)
	}
	for _, q := range needs.Constraints {
		r.Constraints = append(r.Constraints, q.String())
	}
	return r, nil
}

// emptyScratch is scratch, with nothing in it.
func (j *journey) emptyScratch(name string) (string, error) {
	dir, err := j.scratch(name)
	if err != nil {
		return "", err
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", &slipway.Error{Op: "making a folder", Code: slipway.Exhausted, Err: err}
	}
	return j.scratch(name)
}
