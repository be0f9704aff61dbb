package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
)

// buildLimit bounds a build: what compiles GPU libraries takes its time.
const buildLimit = 2 * time.Hour

// Build is one `docker buildx build`.
type Build struct {
	Context    string            // a folder, see Context
	Dockerfile string            // a file
	Target     string            // a stage of it; "": the last
	Platform   string            // "linux/amd64"
	Args       map[string]string // build arguments: they stay in the image, so nothing secret
	Labels     map[string]string
	Secrets    []string          // names of environment variables that a RUN may mount; those not set are left out
	Progress   func(line string) // gets what BuildKit tells; may be nil
}

// Image is one that the Docker engine has.
type Image struct {
	Name string // slipway-build:…, of this build alone
	ID   string // "sha256:…"
}

// Build builds an image into the engine. The layers of earlier builds are
// taken where nothing before them changed. Codes: Invalid, a line of the
// Dockerfile is wrong or fails, which the error names; NotFound and
// Unauthorized, there is no such base; Unavailable, the network or the engine
// is; Exhausted, disk, memory or time is.
func (c *Client) Build(ctx context.Context, b Build) (Image, error) {
	const op = "building the image with docker"
	ctx, cancel := context.WithTimeout(ctx, buildLimit)
	defer cancel()
	image := Image{Name: newName(imagePrefix+":", time.Now().Add(leftover))}
	kept := c.layers()
	cmd := c.command(ctx, append(b.arguments(image.Name, c.environ), append(kept.arguments(), b.Context)...)...)
	dockerfile, err := os.ReadFile(b.Dockerfile)
	if err != nil {
		return Image{}, (&slipway.Error{Op: op, Code: slipway.NotFound, Message: "there is no Dockerfile", Err: err}).WithHint("name it with --dockerfile")
	}
	said := &told{lines: b.Progress, about: dockerfile}
	cmd.Stderr = said
	if err := c.ended(ctx, op, cmd, cmd.Run(), said); err != nil {
		return Image{}, errors.Join(err, c.forget(ctx, image))
	}
	if err := kept.keep(); err != nil {
		return Image{}, errors.Join(err, c.forget(ctx, image))
	}
	if image.ID, err = c.ask(ctx, op, "image", "inspect", "--format", "{{.Id}}", image.Name); err != nil {
		return Image{}, errors.Join(err, c.forget(ctx, image))
	}
	return image, nil
}

// arguments are those of buildx, without the cache and the context. --load
// brings the image into the engine, whatever builder made it. An attestation
// would make an index of it, which --load cannot take.
func (b Build) arguments(name string, environ []string) []string {
	args := []string{"buildx", "build", "--load", "--progress", "plain", "--tag", name, "--platform", b.Platform, "--file", b.Dockerfile}
	if b.Target != "" {
		args = append(args, "--target", b.Target)
	}
	for _, name := range slices.Sorted(maps.Keys(b.Args)) {
		args = append(args, "--build-arg", name+"="+b.Args[name])
	}
	for _, name := range slices.Sorted(maps.Keys(b.Labels)) {
		args = append(args, "--label", name+"="+b.Labels[name])
	}
	for _, name := range b.Secrets {
		if variable(environ, name) != "" {
			args = append(args, "--secret", "id="+name+",env="+name)
		}
	}
	return args
}

// newName is a name that tells when what has it may go.
func newName(prefix string, until time.Time) string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%s%d-%s", prefix, until.Unix(), hex.EncodeToString(random[:]))
}

// forget takes the image out of the engine, when it got there. BuildKit keeps
// its layers for the next build.
func (c *Client) forget(ctx context.Context, image Image) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	if found, err := c.ask(ctx, removeOp, "image", "ls", "--quiet", "--filter", "reference="+image.Name); err != nil || found == "" {
		return nil //nolint:nilerr // the engine is gone, or never had it
	}
	return c.Remove(ctx, image)
}

const removeOp = "removing what docker built"

// Remove takes the image out of the engine, also when ctx has ended.
func (c *Client) Remove(ctx context.Context, image Image) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	_, err := c.ask(ctx, removeOp, "image", "rm", image.Name)
	return err
}

// layers is the folder where a builder keeps its layers that has no memory of
// its own that lasts: a builder in a container goes with a CI machine, and a
// folder can be kept. The engine's own builder cannot use one, and needs none.
type layers struct{ dir string }

func (c *Client) layers() layers {
	if c.driver == "docker" || c.cache == "" {
		return layers{}
	}
	return layers{filepath.Join(c.cache, "layers")}
}

func (l layers) arguments() []string {
	if l.dir == "" {
		return nil
	}
	args := []string{"--cache-to", "type=local,mode=max,dest=" + l.fresh()}
	if _, err := os.Stat(filepath.Join(l.dir, "index.json")); err == nil {
		args = append(args, "--cache-from", "type=local,src="+l.dir)
	}
	return args
}

// fresh is where a build writes: BuildKit adds to a folder and never takes
// away, so the new one takes the place of the old.
func (l layers) fresh() string { return l.dir + ".new-" + strconv.Itoa(os.Getpid()) }

func (l layers) keep() error {
	if l.dir == "" {
		return nil
	}
	if _, err := os.Stat(l.fresh()); err != nil {
		return nil //nolint:nilerr // the builder kept nothing
	}
	if err := errors.Join(os.RemoveAll(l.dir), os.Rename(l.fresh(), l.dir)); err != nil {
		return (&slipway.Error{Op: "keeping the layers", Code: slipway.Exhausted, Err: err}).WithHint("remove %s", l.dir)
	}
	return nil
}
