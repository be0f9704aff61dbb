package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

type pushCommand struct {
	sourceFlags
	handedFlags
	Image string `placeholder:"HOST/PATH" help:"Repository in the image registry, where extract did not say."`
}

// Run uploads what the image registry lacks.
func (cmd pushCommand) Run(ctx context.Context, p *program) error {
	h := cmd.handover()
	j, err := p.resumeMaking(h, cmd.MLflow)
	if err != nil {
		return err
	}
	j.release.Image.Repository = orElse(cmd.Image, j.release.Image.Repository)
	j.image = j.release.Image.Repository
	if j.golden, err = h.readGolden(); err != nil {
		return err
	}
	if err := j.reopened(ctx); err != nil {
		return err
	}
	if err := j.makeImages(ctx); err != nil {
		return err
	}
	if err := j.push(ctx); err != nil {
		return err
	}
	return j.handOn(h)
}

// reopened has the files of the model that build used at hand again. What
// serves it was settled then.
func (j *journey) reopened(ctx context.Context) error {
	if _, err := j.fetch(ctx); err != nil {
		return err
	}
	var err error
	j.model, err = mlmodel.Open(j.work.ModelDir)
	return err
}

// toPush is the image, or the index of the images of several platforms.
func (j *journey) toPush() (oci.Artifact, error) {
	if len(j.built) == 1 {
		return j.built[0], nil
	}
	return pack.Index(j.built...)
}

// push uploads what is missing and reads it back.
func (j *journey) push(ctx context.Context) error {
	return j.step(ctx, "push", slipway.Pushing, func(ctx context.Context) (outcome, error) {
		if err := j.needsImage(); err != nil {
			return outcome{}, err
		}
		what, err := j.toPush()
		if err != nil {
			return outcome{}, err
		}
		pushed, err := j.images.Push(ctx, j.image, what, j.release.Image.Tags, j.story.progress("push"))
		if err != nil {
			return outcome{}, err
		}
		j.release.Image.Repository, j.release.Image.Digest = pushed.Image.Repository, pushed.Image.Digest
		if pushed.TagProblem != nil {
			j.story.warn("push", "%v; the image is deployed by its digest", pushed.TagProblem)
		}
		j.keepPackages(ctx)
		if pushed.ReferrerProblem != nil {
			j.story.warn("push", "the image registry took the image but not its metadata: %v", pushed.ReferrerProblem)
		}
		message := fmt.Sprintf("%s:%s  %d of %s, %s of %s", j.image, j.release.Image.Tags[0],
			pushed.UploadedLayers, plural(pushed.Layers, "layer"), bytesText(pushed.UploadedBytes), bytesText(pushed.Bytes))
		return outcome{message, []string{"Pushed to " + registryName(j.release.Image.Host())}}, nil
	})
}

// registryName is the name the seed's users grep for: ACR for Azure's.
func registryName(host string) string {
	if strings.HasSuffix(strings.ToLower(host), ".azurecr.io") {
		return "ACR"
	}
	return host
}
