package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/docker"
)

// The values of --builder.
const (
	builderSlipway = "slipway"
	builderDocker  = "docker"
)

// builderFlags say what makes the image.
type builderFlags struct {
	Builder    string `enum:"auto,slipway,docker" default:"auto" placeholder:"auto|slipway|docker" help:"What makes the image: slipway itself; docker, for packages of the distribution or a GPU base; or auto: docker where a Dockerfile is given."`
	Dockerfile string `placeholder:"FILE" help:"Build the image with docker and this Dockerfile; --builder docker without it takes slipway's own."`
}

// withDocker reports whether docker makes the image.
func (j *journey) withDocker() bool {
	f := j.making.builderFlags
	return f.Builder == builderDocker || f.Dockerfile != "" && f.Builder != builderSlipway
}

// openDocker takes the docker in PATH.
func openDocker(ctx context.Context, cacheDir string) (*docker.Client, error) {
	program, err := exec.LookPath("docker")
	if err != nil {
		program = "" // docker.New says what to do
	}
	return docker.New(ctx, docker.Config{Program: program, CacheDir: cacheDir, Environ: os.Environ()})
}

// openBuilder finds out first whether docker is there, where it is to make the
// image.
func (j *journey) openBuilder(ctx context.Context) (err error) {
	if !j.withDocker() || j.builder != nil {
		return nil
	}
	if j.builder, err = j.docker(ctx); err == nil {
		j.builder.Sweep(ctx)
	}
	return err
}

// dockerImages builds one image a platform, checks each, and takes it out of
// the engine: it is pushed as every other image.
func (j *journey) dockerImages(ctx context.Context) error {
	j.release.Image.Digest = "" // of an earlier build: docker may make another
	for _, platform := range j.work.Platforms {
		dir, err := j.dockerImage(ctx, j.builder, platform)
		if err != nil {
			return err
		}
		j.work.Layouts = append(j.work.Layouts, dir)
	}
	return j.openLayouts()
}

// dockerImage returns the OCI layout of a platform's image.
func (j *journey) dockerImage(ctx context.Context, client *docker.Client, platform string) (dir string, err error) {
	made, err := j.dockerContext(ctx, platform)
	if err != nil {
		return "", err
	}
	image, err := client.Build(ctx, made.build)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, client.Remove(ctx, image)) }()
	if err := client.Inspect(ctx, image, made.contract); err != nil {
		return "", err
	}
	if err := j.tryImage(ctx, client, image, platform); err != nil {
		return "", err
	}
	if dir, err = j.emptyScratch("image-" + strings.ReplaceAll(platform, "/", "-")); err != nil {
		return "", err
	}
	return dir, client.Save(ctx, image, dir, string(j.compression()), made.build.Labels)
}

// tryImage has the image give its golden predictions, where this machine can
// run it.
func (j *journey) tryImage(ctx context.Context, client *docker.Client, image docker.Image, platform string) error {
	if platform != machine() {
		j.story.warn("build", "the image for %s is checked where it serves: this machine cannot run it", platform)
		return nil
	}
	limits, err := j.containerLimits()
	if err != nil {
		return err
	}
	return client.Try(ctx, image, len(j.golden.Predictions), limits)
}

// containerLimits are those of a container of one worker.
func (j *journey) containerLimits() (docker.Limits, error) {
	l, err := j.limits()
	if err != nil {
		return docker.Limits{}, err
	}
	env := append([]string{"SLIPWAY_WORKERS=1"}, j.servingEnvironment()...)
	return docker.Limits{Time: l.load + 2*l.answer, Memory: max(sandboxMemory, l.memory) + 1<<30, Env: env, Network: j.making.AllowNetwork}, nil
}

// servingEnvironment is what the model server gets where it serves, as far as
// it is known here.
func (j *journey) servingEnvironment() []string {
	env := j.modelEnvironment()
	for name, value := range j.release.Env {
		if name != "SLIPWAY_WORKERS" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// dockerProgress shows the steps that BuildKit begins: "#7 [packages 3/4] RUN …".
func (j *journey) dockerProgress(line string) {
	number, step, ok := strings.Cut(line, " ")
	if ok && strings.HasPrefix(number, "#") && strings.HasPrefix(step, "[") {
		step = strings.Join(strings.Fields(mounts.ReplaceAllString(step, "")), " ")
		j.tell(slipway.Event{Kind: slipway.Progress, Step: "build", Message: clip(step, 60)})
	}
}

// mounts are the options of a RUN, which say little.
var mounts = regexp.MustCompile(`--mount=\S+`)

// openLayouts takes up the images that docker made, in this run or in the build
// step before it. They are not made again: docker would make others.
func (j *journey) openLayouts() error {
	var images []v1.Image
	for _, dir := range j.work.Layouts {
		image, err := openLayout(dir)
		if err != nil {
			return (&slipway.Error{Op: "reading the image that docker built", Code: slipway.NotFound, Err: err}).
				WithHint("run push where build ran, with release.json.d, or slipway build again")
		}
		images = append(images, image)
	}
	return j.adopt(images)
}

func openLayout(dir string) (v1.Image, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, errors.New("the layout has not one image")
	}
	return index.Image(manifest.Manifests[0].Digest)
}
