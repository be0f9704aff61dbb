package main

import (
	"context"
	"errors"
	"os/exec"
	"slices"
	"sync"
	"time"

	"github.com/slipway-dev/slipway/docker"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/python"
)

// openInImage loads the model with the library that made it inside the image:
// what this machine lacks, a package of the distribution for one, is there. The
// image is built without golden predictions first; once they are made, the
// build that has them finds all layers but the last in the cache.
func (j *journey) openInImage(ctx context.Context) (*library, error) {
	client := j.builder
	made, err := j.dockerContext(ctx, machine())
	if err != nil {
		return nil, err
	}
	image, err := client.Build(ctx, made.build)
	if err != nil {
		return nil, err
	}
	l := &library{by: j.madeInImage(), began: time.Now()}
	l.ends.add(func() error { return client.Remove(ctx, image) })
	if err = client.Inspect(ctx, image, made.contract); err == nil {
		l.predictor, err = j.loadInImage(ctx, client, image, l)
	}
	if err != nil {
		return nil, errors.Join(err, l.end())
	}
	return l, nil
}

// madeInImage names the library whose answers count as proof.
func (j *journey) madeInImage() string {
	const in = " in the image"
	if p := j.packages[machine()]; p != nil {
		return p.madeBy(j.model.Flavor()) + in
	}
	return orElse(libraries[j.model.Flavor()], "the model's own code") + in
}

func (j *journey) loadInImage(ctx context.Context, client *docker.Client, image docker.Image, l *library) (serving.Predictor, error) {
	limits, err := j.limits()
	if err != nil {
		return nil, err
	}
	container, err := j.containerLimits()
	if err != nil {
		return nil, err
	}
	engine := python.New(python.Config{
		Interpreter: "python" + j.work.Python.Python, Lookup: func(name string) (string, error) { return name, nil },
		Env: j.modelEnvironment(), Workers: 1, LoadTimeout: limits.load, Timeout: limits.answer,
		Wrap: func(cmd *exec.Cmd) (*exec.Cmd, error) {
			cmd.Args[len(cmd.Args)-1] = inImage + cmd.Args[len(cmd.Args)-1]
			wrapped, end := client.Worker(ctx, image, cmd, container)
			l.ends.add(func() error { end(); return nil })
			return wrapped, nil
		},
	})
	shown := *j.model
	shown.Dir = mlmodel.ImageModelDir
	return engine.Load(ctx, &shown)
}

// inImage puts an image's packages where its model server has them. A Dockerfile
// may install them where its Python looks anyway.
var inImage = withPackages(`"`+mlmodel.ImagePackages+`"`) + "sys.path += [p for p in own if p not in sys.path]\n"

// endings are what has to be done when a library is done with, the last first.
type endings struct {
	mu   sync.Mutex
	list []func() error
}

func (e *endings) add(end func() error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, end)
}

func (e *endings) all() (err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, end := range slices.Backward(e.list) {
		err = errors.Join(err, end())
	}
	e.list = nil
	return err
}
