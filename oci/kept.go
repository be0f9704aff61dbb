package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/pack"
)

// EnvironmentType is the artifact type of a kept Python environment, LockType
// the media type of its lock, which is its last layer.
const (
	EnvironmentType                 = "application/vnd.slipway.environment.v1"
	LockType        types.MediaType = "application/vnd.slipway.lock.v1"
)

// Annotations of a kept environment and of its layers.
const (
	annotationKey    = "dev.slipway.environment"
	annotationDiffID = "dev.slipway.diff-id"
)

const (
	keptTag     = "slipway-env-"
	maxKept     = 100     // layers of packages
	maxLock     = 4 << 20 // bytes
	maxPackages = 64 << 10
)

// ErrKeptLost is in the chain of errors that come of a kept layer whose bytes
// the image registry no longer has. What mends it is to make the layers anew.
var ErrKeptLost = errors.New("the image registry no longer has the layer")

// Kept are a Python environment's layers and lock as an image registry keeps
// them, under what they were made of.
type Kept struct {
	Lock   []byte
	Layers []v1.Layer // in their order; read only where their bytes are needed
	From   string     // where they are: HOST/PATH:TAG
}

var keptKey = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,100}$`)

func checkKey(op, key string) error {
	if !keptKey.MatchString(key) {
		return slipway.Errorf(slipway.Invalid, op, "%.200q is no key of an environment", key)
	}
	return nil
}

// FindKept looks an environment up by its key. It reads a manifest and the
// lock; ctx must live as long as the layers. A layer that is read is checked
// against its digest and its diffID. One that is not, because the image
// registry it is pushed to has it, is as good as what Keep put there.
//
// The error's code is NotFound when it is not there, and also when what is
// there is damaged or something else: it is to be made again.
func (c *Client) FindKept(ctx context.Context, repository, key string) (Kept, error) {
	op := "looking for the environment " + key
	if err := checkKey(op, key); err != nil {
		return Kept{}, err
	}
	repo, err := parseRepository(repository)
	if err != nil {
		return Kept{}, err
	}
	s, err := c.open(ctx, repo, transport.PullScope)
	if err != nil {
		return Kept{}, err
	}
	kept, err := s.findKept(ctx, key)
	if err == nil {
		return kept, nil
	}
	err = failure(op, repo, err)
	switch slipway.CodeOf(err) {
	case slipway.Corrupt, slipway.Invalid, slipway.Exhausted:
		return Kept{}, &slipway.Error{Op: op, Code: slipway.NotFound, Message: "what " + kept.From + " holds is of no use", Err: err}
	}
	return Kept{}, err
}

func (s *session) findKept(ctx context.Context, key string) (Kept, error) {
	kept := Kept{From: s.repo.Name() + ":" + keptTag + key}
	m, err := s.getManifest(ctx, keptTag+key)
	if err != nil {
		return kept, err
	}
	parsed, err := parseManifest(m)
	if err != nil {
		return kept, err
	}
	lock, err := checkKept(parsed, key)
	if err != nil {
		return kept, err
	}
	left := s.client.config.MaxBytes
	for _, d := range parsed.Layers[:len(parsed.Layers)-1] {
		if left -= d.Size; left < 0 {
			return kept, slipway.Errorf(slipway.Exhausted, "reading the environment", "its layers are larger than is allowed")
		}
		l, err := s.keptLayer(ctx, d)
		if err != nil {
			return kept, err
		}
		kept.Layers = append(kept.Layers, l)
	}
	blob := s.getBlob(ctx, lock)
	defer blob.Close()
	kept.Lock, err = io.ReadAll(blob)
	return kept, err
}

// checkKept refuses what Keep does not write, and returns the lock.
func checkKept(m *v1.Manifest, key string) (v1.Descriptor, error) {
	refuse := func(format string, args ...any) (v1.Descriptor, error) {
		return v1.Descriptor{}, slipway.Errorf(slipway.Invalid, "reading the environment", format, args...)
	}
	n := len(m.Layers)
	switch {
	case m.ArtifactType != EnvironmentType:
		return refuse("it is of type %.100q", m.ArtifactType)
	case m.Annotations[annotationKey] != key:
		return refuse("it is another one, %.100q", m.Annotations[annotationKey])
	case n < 2 || n > maxKept+1:
		return refuse("it has %d layers", n)
	}
	lock := m.Layers[n-1]
	if lock.MediaType != LockType || lock.Size <= 0 || lock.Size > maxLock {
		return refuse("its lock is of type %.100q and has %d bytes", string(lock.MediaType), lock.Size)
	}
	return lock, nil
}

// Keep stores an environment under its key, so that FindKept finds it. Layers
// that the repository has are not uploaded; the same environment makes the same
// manifest. Errors are those of Push.
func (c *Client) Keep(ctx context.Context, repository, key string, lock []byte, layers []v1.Layer) error {
	op := "keeping the environment " + key
	if err := checkKey(op, key); err != nil {
		return err
	}
	if len(layers) == 0 || len(layers) > maxKept || len(lock) == 0 || len(lock) > maxLock {
		return slipway.Errorf(slipway.Invalid, op, "%d layers and a lock of %d bytes cannot be kept", len(layers), len(lock))
	}
	repo, err := parseRepository(repository)
	if err != nil {
		return err
	}
	cargo, err := loadKept(repo, key, lock, layers)
	if err != nil {
		return failure(op, repo, err)
	}
	s, err := c.open(ctx, repo, transport.PushScope, cargo.mounts()...)
	if err != nil {
		return err
	}
	return failure(op, repo, s.store(ctx, cargo, keptTag+key))
}

// store brings an artifact over whose blobs are there for the most part, and
// reads back those that were not.
func (s *session) store(ctx context.Context, c *cargo, tag string) error {
	missing, err := s.missing(ctx, c.blobs)
	if err != nil {
		return err
	}
	if _, err := s.uploadAll(ctx, missing, nil); err != nil {
		return err
	}
	if err := s.publish(ctx, c, []string{tag}); err != nil {
		return err
	}
	return s.readBack(ctx, &cargo{manifests: c.manifests, blobs: missing})
}

func loadKept(repo name.Repository, key string, lock []byte, layers []v1.Layer) (*cargo, error) {
	c := &cargo{image: slipway.Image{Repository: repo.Name()}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: EnvironmentType,
		Annotations: map[string]string{annotationKey: key}}
	for _, l := range layers {
		d, err := keptDescriptor(l)
		if err != nil {
			return nil, err
		}
		if _, err := c.addBlob(l, repo.Registry, true); err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
	}
	config, configBlob, err := inline([]byte("{}"), emptyType)
	if err != nil {
		return nil, err
	}
	last, lockBlob, err := inline(lock, LockType)
	if err != nil {
		return nil, err
	}
	m.Config, m.Layers = config, append(m.Layers, last)
	c.blobs = append(c.blobs, configBlob, lockBlob)
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	c.manifests = []manifest{{raw, types.OCIManifestSchema1, digest}}
	return c, err
}

// keptDescriptor lists a layer with what an image needs to know of it.
func keptDescriptor(l v1.Layer) (v1.Descriptor, error) {
	d, err := pack.Descriptor(l)
	if err != nil {
		return d, err
	}
	diffID, err := l.DiffID()
	if err != nil {
		return d, err
	}
	made := d.Annotations[pack.AnnotationPackages]
	d.Annotations = map[string]string{annotationDiffID: diffID.String()}
	if made != "" {
		d.Annotations[pack.AnnotationPackages] = made
	}
	if _, err := checkKeptLayer(d); err != nil {
		return d, fmt.Errorf("the layer of %.100q: %w", made, err)
	}
	return d, nil
}
