package main

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/docker"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/local"
	"github.com/slipway-dev/slipway/local/proxy"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/uv"
	"github.com/slipway-dev/slipway/verify"
)

// ports are the outside worlds of one run. Everything that leaves a trace
// outside this process goes through one of them.
type ports struct {
	models   func() (modelRegistry, error) // asked for only when a model is not a directory
	images   imageRegistry
	python   func() (*uv.Client, error)                    // asked for only when a model has Python packages
	docker   func(context.Context) (*docker.Client, error) // asked for only when docker makes the image
	target   slipway.Target                                // nil without a target
	journal  slipway.Journal
	verifier verifier
	local    localTarget    // what only a target on this machine can do; nil elsewhere
	cluster  clusterTarget  // what only a target in a cluster can do; nil elsewhere
	azure    *azure.Account // signs in when something in Azure is asked for
	goldens  verify.Golden  // where those of images that are not here yet are kept; nil: the target keeps them
	cacheDir string
}

// modelRegistry is what a release needs of MLflow.
type modelRegistry interface {
	Resolve(context.Context, slipway.ModelRef) (mlflow.Version, error)
	Promoted(context.Context, slipway.ModelRef) (mlflow.Version, error)
	AwaitReady(context.Context, mlflow.Version, time.Duration) (mlflow.Version, error)
	Download(ctx context.Context, v mlflow.Version, dir string, progress func(done, total int64)) ([]mlmodel.File, error)
	SetTag(ctx context.Context, name slipway.ModelName, version slipway.Version, key, value string) error
	SearchVersions(ctx context.Context, filter string) ([]mlflow.Version, error)
	SetAlias(ctx context.Context, name slipway.ModelName, alias string, version slipway.Version) error
}

// imageRegistry is what a release needs of image registries.
type imageRegistry interface {
	Resolve(ctx context.Context, ref string) (slipway.Image, error)
	Base(ctx context.Context, ref, platform string) (v1.Image, error)
	Push(ctx context.Context, repository string, what oci.Artifact, tags []string, progress func(done, total int64)) (oci.Pushed, error)
	Plan(ctx context.Context, repository string, what oci.Artifact) (oci.Pushed, error)
	Check(context.Context, slipway.Image) error
	Unpack(ctx context.Context, image slipway.Image, platform, dir string) error
	File(ctx context.Context, image slipway.Image, path string, limit int64) ([]byte, error)
	FindKept(ctx context.Context, repository, key string) (oci.Kept, error)
	Keep(ctx context.Context, repository, key string, lock []byte, layers []v1.Layer) error
	UnpackPackages(ctx context.Context, layers []v1.Layer, dir string) error
}

// verifier asks every replica of a release.
type verifier interface {
	Verify(context.Context, slipway.Observation, slipway.Release) slipway.Verdict
}

// localTarget is what only a target on this machine can do.
type localTarget interface {
	Stop(context.Context) error
	Stats(context.Context) (proxy.Stats, error)
	File(image slipway.Digest, path string, limit int64) ([]byte, error)
}

// clusterTarget is what only a target in a cluster can do.
type clusterTarget interface {
	Find(context.Context) error   // NotFound: there is no such Deployment yet
	Create(context.Context) error // makes what is missing of namespace and objects
}

// stats returns what the target's own proxy has counted; nil where nothing
// counts for us.
func (w *ports) stats(ctx context.Context) (*proxy.Stats, error) {
	if w.local == nil {
		return nil, nil
	}
	counted, err := w.local.Stats(ctx)
	if err != nil {
		return nil, err
	}
	return &counted, nil
}

// wire connects a run to the real worlds. It and its two halves are the only
// places that know them all.
func (p *program) wire(s settings) (*ports, error) {
	w := p.wireRegistries(s)
	return w, p.wireTarget(w, s)
}

func (p *program) wireRegistries(s settings) *ports {
	home := p.getenv("HOME")
	cache := filepath.Join(orElse(p.getenv("XDG_CACHE_HOME"), filepath.Join(home, ".cache")), "slipway")
	account := p.azureAccount()
	return &ports{
		azure:    account,
		images:   oci.New(oci.Config{Keychain: oci.Keychain(p.getenv, azureLogin(account)), UserAgent: "slipway/" + programVersion()}),
		cacheDir: cache,
		models:   sync.OnceValues(func() (modelRegistry, error) { return p.openMLflow(account, s, home) }),
		python: sync.OnceValues(func() (*uv.Client, error) {
			return uv.New(uv.Config{CacheDir: filepath.Join(cache, "python"), Environ: os.Environ()})
		}),
		docker: func(ctx context.Context) (*docker.Client, error) {
			return openDocker(ctx, filepath.Join(cache, "docker"))
		},
	}
}

func (p *program) openMLflow(account *azure.Account, s settings, home string) (modelRegistry, error) {
	config, err := mlflow.ConfigFrom(p.getenv, home)
	if err != nil {
		return nil, usageError{err}
	}
	config.URI = orElse(s.mlflowURI, config.URI)
	config.Folders = azureFolders(account)
	if config.URI == "" {
		return nil, usageError{usagef("no model registry is named").WithHint("set MLFLOW_TRACKING_URI, or --mlflow URI")}
	}
	client, err := mlflow.New(config)
	if err != nil {
		return nil, usageError{err}
	}
	return client, nil
}

// wireTarget adds the target, which a local one makes from images of the
// registry in w, and a cluster from the registry itself.
func (p *program) wireTarget(w *ports, s settings) error {
	switch s.to.Scheme {
	case "local":
		return p.wireLocal(w, s)
	case "kubernetes":
		return p.wireCluster(w, s)
	}
	w.verifier = verify.Verifier{Golden: goldens{images: w.images}.find}
	return nil
}

func (p *program) wireLocal(w *ports, s settings) error {
	executable, err := os.Executable()
	if err != nil {
		return &slipway.Error{Op: "finding this program", Code: slipway.Internal, Err: err}
	}
	target, err := local.New(local.Config{
		Ref: s.to, StateDir: p.stateDir(), Executable: executable, Images: w.images,
		Replicas: s.replicas, Server: s.server, Getenv: p.getenv,
	})
	if err != nil {
		return usageError{err}
	}
	w.target, w.local, w.journal = target, target, target.Journal()
	w.verifier = verify.Verifier{Config: verify.Config{Front: target.Front(), Sink: p.checked}, Golden: goldens{w.images, target}.find}
	return nil
}

// wireCluster needs nothing of this machine but a kubeconfig, or an identity in
// Azure: what a release must know of those before it lies in the cluster.
func (p *program) wireCluster(w *ports, s settings) error {
	target, err := kube.New(kube.Config{Ref: s.to, Getenv: p.getenv, Lease: p.lease, Found: p.azureCluster(w.azure, s)})
	if err != nil {
		return usageError{err}
	}
	w.target, w.cluster, w.journal = target, target, target.Journal()
	w.goldens = goldens{w.images, keptGoldens{filepath.Join(w.cacheDir, "golden")}}.find
	// Each check takes its time through the API server: less is left between two.
	w.verifier = verify.Verifier{Config: verify.Config{HTTP: target.HTTP(), Front: target.Front(), Spacing: 5 * time.Millisecond, Sink: p.checked}, Golden: w.goldens}
	return nil
}

// checked shows how far verifying is. What it found is for the driver to tell.
func (p *program) checked(e slipway.Event) {
	if e.Kind == slipway.Progress {
		p.story.tell(e)
	}
}

// stateDir is where local targets are kept (XDG base directory specification).
func (p *program) stateDir() string {
	return filepath.Join(orElse(p.getenv("XDG_STATE_HOME"), filepath.Join(p.getenv("HOME"), ".local", "state")), "slipway", "local")
}

// servers finds model servers for images.
func (j *journey) servers(file string) servers {
	executable, err := os.Executable()
	if err != nil {
		executable = ""
	}
	return servers{file: file, executable: executable, cache: j.cacheDir, environ: os.Environ()}
}

// localTargets are the targets this user has on this machine: package local
// names a target's folder after its address.
func (p *program) localTargets() []string {
	entries, err := os.ReadDir(p.stateDir())
	if err != nil {
		return nil // none was ever made
	}
	var targets []string
	for _, e := range entries {
		if address, err := url.PathUnescape(e.Name()); err == nil && e.IsDir() {
			targets = append(targets, "local://"+address)
		}
	}
	return targets
}
