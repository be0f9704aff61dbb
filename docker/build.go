package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
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
	Warn       func(error)       // gets what is wrong with the cache of layers, which fails no build; may be nil
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
	kept, err := c.openLayers(b.Platform)
	if err != nil {
		b.warn(err)
	}
	defer kept.close()
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
		b.warn(err)
	}
	if image.ID, err = c.ask(ctx, op, "image", "inspect", "--format", "{{.Id}}", image.Name); err != nil {
		return Image{}, errors.Join(err, c.forget(ctx, image))
	}
	return image, nil
}

func (b Build) warn(err error) {
	if b.Warn != nil {
		b.Warn(err)
	}
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
