package main

import (
	"context"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
)

// The watched ports tell a watch of every call before and after it. None of
// them embeds what it wraps: a method that is new does not compile until it is
// told here too.
type (
	watchedModels struct {
		modelRegistry modelRegistry
		watch         *watch
	}
	watchedImages struct {
		imageRegistry imageRegistry
		watch         *watch
	}
	watchedTarget struct {
		target slipway.Target
		watch  *watch
	}
	watchedJournal struct {
		journal slipway.Journal
		watch   *watch
	}
	watchedLock struct {
		lock  slipway.Lock
		watch *watch
	}
	watchedVerifier struct {
		verifier verifier
		watch    *watch
	}
	watchedLocal struct {
		local localTarget
		watch *watch
	}
	watchedCluster struct {
		cluster clusterTarget
		watch   *watch
	}
)

// around wraps all ports. It is called before the target is wired, because
// the target pulls through the image registry, and again afterwards.
func (w *watch) around(p *ports) {
	if p.target == nil {
		models := p.models
		p.models = func() (modelRegistry, error) {
			m, err := models()
			if err != nil {
				return nil, err
			}
			return watchedModels{m, w}, nil
		}
		p.images = watchedImages{p.images, w}
		return
	}
	p.target, p.journal, p.verifier = watchedTarget{p.target, w}, watchedJournal{p.journal, w}, watchedVerifier{p.verifier, w}
	if p.local != nil {
		p.local = watchedLocal{p.local, w}
	}
	if p.cluster != nil {
		p.cluster = watchedCluster{p.cluster, w}
	}
}

// told tells of a call that gives a value.
func told[T any](w *watch, call string, do func() (T, error)) (T, error) {
	number := w.begin(call)
	value, err := do()
	w.end(number)
	return value, err
}

// toldOf tells of a call that gives none.
func toldOf(w *watch, call string, do func() error) error {
	number := w.begin(call)
	err := do()
	w.end(number)
	return err
}

func (m watchedModels) Resolve(ctx context.Context, ref slipway.ModelRef) (mlflow.Version, error) {
	return told(m.watch, "models.Resolve", func() (mlflow.Version, error) { return m.modelRegistry.Resolve(ctx, ref) })
}

func (m watchedModels) Promoted(ctx context.Context, ref slipway.ModelRef) (mlflow.Version, error) {
	return told(m.watch, "models.Promoted", func() (mlflow.Version, error) { return m.modelRegistry.Promoted(ctx, ref) })
}

func (m watchedModels) AwaitReady(ctx context.Context, v mlflow.Version, limit time.Duration) (mlflow.Version, error) {
	return told(m.watch, "models.AwaitReady", func() (mlflow.Version, error) { return m.modelRegistry.AwaitReady(ctx, v, limit) })
}

func (m watchedModels) Download(ctx context.Context, v mlflow.Version, dir string, progress func(done, total int64)) ([]mlmodel.File, error) {
	return told(m.watch, "models.Download", func() ([]mlmodel.File, error) { return m.modelRegistry.Download(ctx, v, dir, progress) })
}

func (m watchedModels) SearchVersions(ctx context.Context, filter string) ([]mlflow.Version, error) {
	return told(m.watch, "models.SearchVersions", func() ([]mlflow.Version, error) { return m.modelRegistry.SearchVersions(ctx, filter) })
}

func (m watchedModels) SetTag(ctx context.Context, name slipway.ModelName, version slipway.Version, key, value string) error {
	return toldOf(m.watch, "models.SetTag", func() error { return m.modelRegistry.SetTag(ctx, name, version, key, value) })
}

func (m watchedModels) SetAlias(ctx context.Context, name slipway.ModelName, alias string, version slipway.Version) error {
	return toldOf(m.watch, "models.SetAlias", func() error { return m.modelRegistry.SetAlias(ctx, name, alias, version) })
}

func (r watchedImages) Resolve(ctx context.Context, ref string) (slipway.Image, error) {
	return told(r.watch, "images.Resolve", func() (slipway.Image, error) { return r.imageRegistry.Resolve(ctx, ref) })
}

func (r watchedImages) Base(ctx context.Context, ref, platform string) (v1.Image, error) {
	return told(r.watch, "images.Base", func() (v1.Image, error) { return r.imageRegistry.Base(ctx, ref, platform) })
}

func (r watchedImages) Push(ctx context.Context, repository string, what oci.Artifact, tags []string, progress func(done, total int64)) (oci.Pushed, error) {
	return told(r.watch, "images.Push", func() (oci.Pushed, error) { return r.imageRegistry.Push(ctx, repository, what, tags, progress) })
}

func (r watchedImages) Plan(ctx context.Context, repository string, what oci.Artifact) (oci.Pushed, error) {
	return told(r.watch, "images.Plan", func() (oci.Pushed, error) { return r.imageRegistry.Plan(ctx, repository, what) })
}

func (r watchedImages) Check(ctx context.Context, image slipway.Image) error {
	return toldOf(r.watch, "images.Check", func() error { return r.imageRegistry.Check(ctx, image) })
}

func (r watchedImages) Unpack(ctx context.Context, image slipway.Image, platform, dir string) error {
	return toldOf(r.watch, "images.Unpack", func() error { return r.imageRegistry.Unpack(ctx, image, platform, dir) })
}

func (r watchedImages) File(ctx context.Context, image slipway.Image, path string, limit int64) ([]byte, error) {
	return told(r.watch, "images.File", func() ([]byte, error) { return r.imageRegistry.File(ctx, image, path, limit) })
}

func (r watchedImages) FindKept(ctx context.Context, repository, key string) (oci.Kept, error) {
	return told(r.watch, "images.FindKept", func() (oci.Kept, error) { return r.imageRegistry.FindKept(ctx, repository, key) })
}

func (r watchedImages) Keep(ctx context.Context, repository, key string, lock []byte, layers []v1.Layer) error {
	return toldOf(r.watch, "images.Keep", func() error { return r.imageRegistry.Keep(ctx, repository, key, lock, layers) })
}

func (r watchedImages) UnpackPackages(ctx context.Context, layers []v1.Layer, dir string) error {
	return toldOf(r.watch, "images.UnpackPackages", func() error { return r.imageRegistry.UnpackPackages(ctx, layers, dir) })
}

func (t watchedTarget) Observe(ctx context.Context) (slipway.Observation, error) {
	return told(t.watch, "target.Observe", func() (slipway.Observation, error) { return t.target.Observe(ctx) })
}

func (t watchedTarget) Act(ctx context.Context, a slipway.Action) error {
	return toldOf(t.watch, "target.Act("+string(a.Kind)+")", func() error { return t.target.Act(ctx, a) })
}

func (j watchedJournal) Lock(ctx context.Context, c slipway.Claim) (slipway.Lock, error) {
	return told(j.watch, "journal.Lock", func() (slipway.Lock, error) {
		lock, err := j.journal.Lock(ctx, c)
		if err != nil {
			return nil, err
		}
		return watchedLock{lock, j.watch}, nil
	})
}

func (j watchedJournal) Load(ctx context.Context) (slipway.Record, error) {
	return told(j.watch, "journal.Load", func() (slipway.Record, error) { return j.journal.Load(ctx) })
}

func (j watchedJournal) Store(ctx context.Context, fence uint64, r slipway.Record) (slipway.Record, error) {
	return told(j.watch, "journal.Store", func() (slipway.Record, error) { return j.journal.Store(ctx, fence, r) })
}

func (l watchedLock) Fence() uint64         { return l.lock.Fence() }
func (l watchedLock) Lost() <-chan struct{} { return l.lock.Lost() }
func (l watchedLock) Unlock(ctx context.Context) error {
	return toldOf(l.watch, "journal.Lock.Unlock", func() error { return l.lock.Unlock(ctx) })
}

func (v watchedVerifier) Verify(ctx context.Context, o slipway.Observation, r slipway.Release) slipway.Verdict {
	verdict, _ := told(v.watch, "verifier.Verify", func() (slipway.Verdict, error) { return v.verifier.Verify(ctx, o, r), nil })
	return verdict
}

func (l watchedLocal) Stop(ctx context.Context) error {
	return toldOf(l.watch, "local.Stop", func() error { return l.local.Stop(ctx) })
}

func (l watchedLocal) Stats(ctx context.Context) (proxy.Stats, error) {
	return told(l.watch, "local.Stats", func() (proxy.Stats, error) { return l.local.Stats(ctx) })
}

func (l watchedLocal) File(image slipway.Digest, path string, limit int64) ([]byte, error) {
	return told(l.watch, "local.File", func() ([]byte, error) { return l.local.File(image, path, limit) })
}

func (c watchedCluster) Find(ctx context.Context) error {
	return toldOf(c.watch, "cluster.Find", func() error { return c.cluster.Find(ctx) })
}

func (c watchedCluster) Create(ctx context.Context) error {
	return toldOf(c.watch, "cluster.Create", func() error { return c.cluster.Create(ctx) })
}
