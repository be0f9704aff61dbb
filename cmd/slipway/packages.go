package main

import (
	"context"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/pack"
	"github.com/slipway-dev/slipway/uv"
)

// packageFlags say which Python packages a model gets, and how.
type packageFlags struct {
	MLflowPackage string `name:"mlflow-package" enum:"skinny,full" default:"skinny" placeholder:"skinny|full" help:"mlflow-skinny with numpy and pandas, which loads models, or the whole of mlflow."`
	CPU           bool   `name:"cpu" help:"Take xgboost-cpu for xgboost: 469 MB less, and no GPU."`
	Upgrade       bool   `help:"Resolve the model's requirements again instead of taking the lock that is kept."`
	Compression   string `enum:"zstd,gzip" default:"zstd" placeholder:"zstd|gzip" help:"How layers of Python packages are compressed: zstd or gzip."`
}

// packages are a model's Python packages for one platform: locked, and as the
// layers of an image.
type packages struct {
	request uv.Request
	lock    uv.Lock
	layers  []v1.Layer // nil: not made yet
	kept    bool       // the image registry has them under the request's key
}

// machine is the platform this program runs on.
func machine() string { return "linux/" + runtime.GOARCH }

// askForPackages reads what the model asks for. Push asks the same again.
func (j *journey) askForPackages() error {
	if j.work.Python != nil {
		return nil
	}
	client, err := j.python()
	if err != nil {
		return err
	}
	needs, err := j.model.Needs()
	if err != nil {
		return err
	}
	request, err := client.Request(needs, j.choose(needs), machine())
	if err == nil {
		j.work.Python = &request
	}
	return err
}

// choose are the requirements of the packages that the image gets.
func (j *journey) choose(needs mlmodel.Needs) []mlmodel.Requirement {
	return uv.Choose(needs.Requirements, uv.Choice{Full: j.making.MLflowPackage == "full", CPU: j.making.CPU, MLflow: j.model.MLflowVersion})
}

// locked returns the packages for a platform. They are resolved once: the image
// registry keeps the lock beside the layers, so that every machine makes the
// same image of the same requirements. That they cannot be is found out once,
// too: it takes as long.
func (j *journey) locked(ctx context.Context, platform string) (*packages, error) {
	if p, err := j.packages[platform], j.notLocked[platform]; p != nil || err != nil {
		return p, err
	}
	p, err := j.lockFor(ctx, platform)
	if j.packages == nil {
		j.packages, j.notLocked = map[string]*packages{}, map[string]error{}
	}
	switch {
	case err == nil:
		j.packages[platform] = p
	case ctx.Err() == nil:
		j.notLocked[platform] = err
	}
	return p, err
}

func (j *journey) lockFor(ctx context.Context, platform string) (*packages, error) {
	if err := j.askForPackages(); err != nil {
		return nil, err
	}
	p := &packages{request: *j.work.Python}
	p.request.Platform = platform
	if err := j.lock(ctx, p); err != nil {
		return nil, err
	}
	return p, nil
}

func (j *journey) lock(ctx context.Context, p *packages) error {
	client, err := j.python()
	if err != nil {
		return err
	}
	if !j.making.Upgrade {
		if err := j.findKept(ctx, client, p); err != nil || p.layers != nil {
			return err
		}
	}
	request := p.request
	request.Upgrade = j.making.Upgrade
	p.lock, err = client.Lock(ctx, request)
	return err
}

// findKept looks into the image registry: into the image's repository, and into
// those where this machine has seen the packages, from which they are mounted.
// What is damaged there counts as missing and is made again.
func (j *journey) findKept(ctx context.Context, client *uv.Client, p *packages) error {
	if j.image == "" {
		return nil
	}
	shelf := j.shelf(p)
	for _, repository := range shelf.near(j.image) {
		found, err := j.findKeptIn(ctx, repository, p)
		if err != nil {
			return err
		}
		if found {
			p.kept = repository == j.image
			shelf.note(repository)
			return client.Keep(ctx, p.request, p.lock)
		}
	}
	return nil
}

func (j *journey) findKeptIn(ctx context.Context, repository string, p *packages) (bool, error) {
	kept, err := j.images.FindKept(ctx, repository, j.keptKey(p))
	switch slipway.CodeOf(err) {
	case "":
	case slipway.NotFound, slipway.Unauthorized: // a repository that is not there yet
		return false, nil
	default:
		return false, err
	}
	lock, err := uv.ParseLock(kept.Lock)
	if err != nil || lock.Python != p.request.Python || lock.Platform != p.request.Platform {
		return false, nil //nolint:nilerr // not ours: it is made again
	}
	p.lock, p.layers = lock, kept.Layers
	return true, nil
}

// keptKey names the layers: the same packages, compressed alike.
func (j *journey) keptKey(p *packages) string {
	return p.request.Key() + "-" + string(j.compression())
}

// compression is how the layers are compressed: as the user says, and push as
// build did.
func (j *journey) compression() pack.Compression {
	return pack.Compression(orElse(j.making.Compression, orElse(j.work.Compression, string(pack.Zstd))))
}

// shelf names the repositories that have the layers.
func (j *journey) shelf(p *packages) keptShelf {
	return keptShelf{filepath.Join(j.cacheDir, "kept", j.keptKey(p)+".json")}
}

// site returns the packages on this disk: from an earlier run, from the image
// registry's layers, or from wheels.
func (j *journey) site(ctx context.Context, p *packages) (uv.Site, error) {
	client, err := j.python()
	if err != nil {
		return uv.Site{}, err
	}
	if site, ok := client.Find(p.lock); ok {
		return site, nil
	}
	if p.layers != nil {
		j.story.note("build", "unpacking %s", plural(len(p.lock.Packages), "Python package"))
		return client.Adopt(ctx, p.lock, func(dir string) error { return j.images.UnpackPackages(ctx, p.layers, dir) })
	}
	return client.Install(ctx, p.lock, func(step string) { j.story.note("build", "%s", step) })
}

// packageLayers returns the layers for a platform.
func (j *journey) packageLayers(ctx context.Context, platform string) (*packages, error) {
	p, err := j.locked(ctx, platform)
	if err != nil || p.layers != nil {
		return p, err
	}
	site, err := j.site(ctx, p)
	if err != nil {
		return nil, err
	}
	groups, err := uv.Groups(site.Dir)
	if err != nil {
		return nil, err
	}
	var packed []pack.PackageGroup
	for _, g := range groups {
		packed = append(packed, pack.PackageGroup{Name: g.Name, Packages: g.Packages, Files: g.Files})
	}
	p.layers, err = pack.PackageLayers(ctx, j.cacheDir, site.Dir, packed, j.compression())
	return p, err
}

// checkBase refuses a base whose Python is known to be another. Docker's own
// images of Python say it in their environment; of others the pod finds out.
func checkBase(base v1.Image, version string) error {
	config, err := base.ConfigFile()
	if err != nil {
		return err
	}
	for _, variable := range config.Config.Env {
		has, ok := strings.CutPrefix(variable, "PYTHON_VERSION=")
		if ok && has != version && !strings.HasPrefix(has, version+".") {
			return slipway.Errorf(slipway.Invalid, "checking the base", "it has Python %.20s, and the model needs %s", has, version).
				WithHint("take --base python:%s-slim, or leave it out", version)
		}
	}
	return nil
}

// keepPackages has the image registry keep what was made here, so that the next
// machine neither resolves nor downloads it. The image is complete without.
func (j *journey) keepPackages(ctx context.Context) {
	for _, platform := range j.work.Platforms {
		p := j.packages[platform]
		if p == nil || p.kept || p.layers == nil {
			continue
		}
		if err := j.images.Keep(ctx, j.image, j.keptKey(p), p.lock.Encode(), p.layers); err != nil {
			j.story.warn("push", "the image registry did not keep the Python packages, so other machines make them again: %v", err)
			continue
		}
		p.kept = true
		j.shelf(p).note(j.image)
	}
}

// version returns what the lock has of the first of the packages that it has:
// "scikit-learn 1.5.2".
func (p *packages) version(names ...string) string {
	for _, name := range names {
		if found, ok := p.lock.Package(name); ok {
			return found.Name + " " + found.Version
		}
	}
	return ""
}

// flavorPackages are what made a model, by its flavour.
var flavorPackages = map[string][]string{
	"sklearn": {"scikit-learn"}, "xgboost": {"xgboost", "xgboost-cpu"}, "lightgbm": {"lightgbm"}, "onnx": {"onnxruntime", "onnx"},
	"pytorch": {"torch"}, "statsmodels": {"statsmodels"}, "catboost": {"catboost"}, "tensorflow": {"tensorflow"},
}

// madeBy names the library whose answers count as proof.
func (p *packages) madeBy(flavor string) string {
	return orElse(p.version(flavorPackages[flavor]...), "the model's own code, "+orElse(p.version("mlflow-skinny", "mlflow"), "Python "+p.lock.Python))
}
