package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/pack"
)

// scratch is the base without anything in it.
const scratch = "scratch"

// buildFlags say what an image is made of.
type buildFlags struct {
	Golden         string   `placeholder:"FILE" help:"Golden predictions: requests with the answers you expect (JSON)."`
	AllowUnchecked bool     `help:"Release a model although no golden predictions can be made for it."`
	Platform       []string `placeholder:"OS/ARCH" help:"linux/amd64 or linux/arm64; repeat it for an image of both (this machine's)."`
	Base           string   `placeholder:"IMAGE" help:"What the image starts from (scratch; python:X.Y-slim for models served by Python)."`
	Server         string   `placeholder:"FILE" help:"The model server to put into the image."`
	builderFlags
	engineFlags
	proofFlags
	packageFlags
}

type buildCommand struct {
	sourceFlags
	buildFlags
	handedFlags
}

// Run makes the golden predictions and the image.
func (cmd buildCommand) Run(ctx context.Context, p *program) error {
	h := cmd.handover()
	j, err := p.resumeMaking(h, cmd.MLflow)
	if err != nil {
		return err
	}
	j.making, j.engine = cmd.buildFlags, cmd.engineFlags
	j.work.Python, j.work.Layouts = nil, nil
	if j.scratchDir, err = filepath.Abs(filepath.Join(h.dir(), "build")); err != nil { // push needs what lies there
		return err
	}
	if err := j.prepared(ctx); err != nil {
		return err
	}
	if err := j.build(ctx); err != nil {
		return err
	}
	if err := h.writeGolden(j.golden); err != nil {
		return err
	}
	if err := h.writeWork(j.work); err != nil {
		return err
	}
	return j.handOn(h)
}

// prepared loads the model for a step that runs in a process of its own,
// fetching it again where an earlier step's disk is not at hand.
func (j *journey) prepared(ctx context.Context) error {
	if _, err := j.fetch(ctx); err != nil {
		return err
	}
	return j.load(ctx)
}

// build makes the golden predictions and the image of them, before anything
// leaves this machine.
func (j *journey) build(ctx context.Context) error {
	return j.step(ctx, "build", slipway.Building, func(ctx context.Context) (outcome, error) {
		defer j.closeLibrary()
		for _, part := range []func(context.Context) error{j.openBuilder, j.openOriginal, j.makeGolden, j.settleEngine, j.chooseParts, j.makeImages} {
			if err := part(ctx); err != nil {
				return outcome{}, err
			}
		}
		if j.onBuilt != nil {
			j.onBuilt()
		}
		if len(j.golden.Predictions) > 0 {
			j.pages = append(j.pages, goldenSummary(j.release, j.golden))
		}
		return j.builtOutcome(), nil
	})
}

// platforms are those the image is made for.
func (j *journey) platforms() []string {
	if len(j.making.Platform) > 0 {
		return j.making.Platform
	}
	return []string{machine()}
}

// chooseParts settles the platforms and the base, once: push makes the same
// image of them again, so a tag is resolved to its digest.
func (j *journey) chooseParts(ctx context.Context) error {
	j.work.Platforms, j.work.Server, j.work.Base, j.work.Compression = j.platforms(), j.making.Server, "", string(j.compression())
	j.release.Golden, j.release.GoldenBy = j.golden.Source, j.golden.By
	if j.withDocker() {
		return nil // a Dockerfile says what it starts from
	}
	base := j.making.Base
	if base == "" && j.needsPython() {
		base = "python:" + j.work.Python.Python + "-slim"
	}
	if base == "" || base == scratch {
		return nil
	}
	found, err := j.images.Resolve(ctx, base)
	j.work.Base = found.Ref()
	return err
}

// makeImages packs one image a platform, and for several their index. The same
// parts give the same digest.
func (j *journey) makeImages(ctx context.Context) error {
	switch {
	case len(j.work.Layouts) > 0:
		return j.openLayouts()
	case j.withDocker():
		return j.dockerImages(ctx)
	}
	var variants []pack.Variant
	for _, platform := range j.work.Platforms {
		v, err := j.variant(ctx, platform)
		if err != nil {
			return err
		}
		variants = append(variants, v)
	}
	images, err := pack.Images(ctx, pack.Config{ModelDir: j.work.ModelDir, Manifest: j.manifest(), Golden: j.golden, Converted: j.work.Converted,
		CacheDir: j.cacheDir}, variants...)
	if err != nil {
		return err
	}
	return j.adopt(images)
}

func (j *journey) variant(ctx context.Context, platform string) (v pack.Variant, err error) {
	v.Platform = platform
	if v.Server, err = j.servers(j.work.Server).find(ctx, platform); err != nil {
		return v, err
	}
	if j.work.Base != "" {
		if v.Base, err = j.images.Base(ctx, j.work.Base, platform); err != nil {
			return v, err
		}
	}
	if !j.needsPython() {
		return v, nil
	}
	if v.Base != nil {
		if err := checkBase(v.Base, j.work.Python.Python); err != nil {
			return v, err
		}
	}
	p, err := j.packageLayers(ctx, platform)
	if err != nil {
		return v, err
	}
	v.Packages, v.Lock = p.layers, p.lock.Encode()
	return v, nil
}

func (j *journey) manifest() mlmodel.Manifest {
	m := mlmodel.Manifest{SchemaVersion: slipway.RecordSchema, Model: j.release.Model, Engine: j.release.Engine,
		Golden: j.golden.Source, GoldenBy: j.golden.By, Proof: j.work.Proof}
	if j.needsPython() {
		m.Python = &mlmodel.PythonRuntime{Version: j.work.Python.Python, Batch: j.work.Batch}
	}
	if j.work.Converted != "" {
		m.Converted = mlmodel.ConvertedSkops
	}
	return m
}

// adopt notes the digest and size of what was built. When a step before built
// it too, it must be the same.
func (j *journey) adopt(images []v1.Image) error {
	j.built = images
	what, err := j.toPush()
	if err != nil {
		return err
	}
	hash, err := what.Digest()
	if err != nil {
		return err
	}
	digest := slipway.Digest(hash.String())
	if before := j.release.Image.Digest; before != "" && before != digest {
		return slipway.Errorf(slipway.Corrupt, "building the image", "it came out as %s, and the build step made %s", digest.Short(), before.Short()).
			WithHint("run push where build ran, with release.json.d and the same slipway")
	}
	size, err := imageSize(images[0])
	if err != nil {
		return err
	}
	j.release.Image.Digest, j.release.Image.Size, j.release.Image.Platforms = digest, size, j.work.Platforms
	j.release.Image.Tags = imageTags(j.release.Model, j.ref)
	return nil
}

// imageSize is the bytes of all layers and the config.
func imageSize(image v1.Image) (int64, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return 0, err
	}
	size := manifest.Config.Size
	for _, l := range manifest.Layers {
		size += l.Size
	}
	return size, nil
}

// imageTags are for people: the version, and the alias or stage it was
// promoted by.
func imageTags(m slipway.ModelVersion, ref slipway.ModelRef) []string {
	tags := []string{string(m.Version)}
	if by := orElse(ref.Alias, strings.ToLower(ref.Stage)); by != "" {
		tags = append(tags, by)
	}
	return tags
}

func (j *journey) builtOutcome() outcome {
	image := j.release.Image
	message := fmt.Sprintf("%s, %s, %s; %s", j.engineText(), image.Digest.Short(), bytesText(image.Size), goldenText(j.golden))
	if j.library != nil { // how long the model itself took, which nothing here can shorten
		message += ", checked in " + seconds(j.library.took)
	}
	message += j.builderText()
	if len(image.Platforms) > 1 {
		message = strings.Join(image.Platforms, " and ") + "; " + message
	}
	name := orElse(image.Repository, repositoryName(j.release.Model.Name))
	return outcome{message, []string{"Docker image built", "Image tag: " + name + ":" + image.Tags[0]}}
}

// builderText says what docker did, where it did.
func (j *journey) builderText() string {
	switch {
	case !j.withDocker():
		return ""
	case j.elsewhere():
		return "; built by docker"
	}
	return "; built by docker and checked in a container"
}
