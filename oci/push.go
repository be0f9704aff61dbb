package oci

import (
	"context"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-dev/slipway"
)

// Artifact is what can be pushed: a v1.Image or a v1.ImageIndex of them.
type Artifact interface {
	partial.Describable
	RawManifest() ([]byte, error)
}

var (
	_ Artifact = v1.Image(nil)
	_ Artifact = v1.ImageIndex(nil)
)

// Pushed is what a push did, or what Plan says that one would do.
type Pushed struct {
	Image          slipway.Image
	Layers         int            // without the configs
	UploadedLayers int            // those that the repository lacked and that could not be mounted
	Bytes          int64          // of all layers and configs, compressed
	UploadedBytes  int64          // of those uploaded
	Referrer       slipway.Digest // of the referrer that holds the image's mlmodel.Manifest; "" without one

	// ReferrerProblem says why an image registry took the image but no
	// referrer. The image is complete without it.
	ReferrerProblem error

	// TagProblem says which tag somebody else set since: another release of
	// the same alias, say. The image is complete, by its digest.
	TagProblem error
}

// Push uploads what the repository lacks, manifest last, then tags it and
// reads back what the image registry holds (see readBack). The metadata in the
// image is attached as a referrer. progress, when not nil, is called by one
// goroutine at a time with the bytes uploaded of those to upload.
//
// Errors: Invalid for a bad name; Unauthorized when the image registry refuses
// the credentials or all pushes; NotFound when the repository has to be made
// first; Conflict when a tag may not move; Unavailable when it is down, slow or
// limits the rate; Corrupt when what it holds is not what was sent.
func (c *Client) Push(ctx context.Context, repository string, what Artifact, tags []string, progress func(done, total int64)) (Pushed, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return Pushed{}, err
	}
	if err := checkTags(repo, tags); err != nil {
		return Pushed{}, err
	}
	cargo, err := load(what, repo)
	if err != nil {
		return Pushed{}, err
	}
	s, err := c.open(ctx, repo, transport.PushScope, cargo.mounts()...)
	if err != nil {
		return Pushed{}, err
	}
	missing, err := s.missing(ctx, cargo.blobs)
	if err != nil {
		return Pushed{}, err
	}
	uploaded, err := s.uploadAll(ctx, missing, progress)
	if err != nil {
		return Pushed{}, err
	}
	if err := s.publish(ctx, cargo, tags); err != nil {
		return Pushed{}, err
	}
	if err := s.readBack(ctx, cargo); err != nil {
		return Pushed{}, err
	}
	p := cargo.pushed(uploaded)
	p.Image.Tags = tags
	if p.Referrer, p.ReferrerProblem, err = s.refer(ctx, cargo); err != nil {
		return p, err
	}
	if err = s.readTags(ctx, cargo, tags); slipway.CodeOf(err) == slipway.Conflict {
		p.TagProblem, err = err, nil
	}
	return p, err
}

// Plan says what Push would upload. It changes nothing. Layers that could be
// mounted count as to be uploaded.
func (c *Client) Plan(ctx context.Context, repository string, what Artifact) (Pushed, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return Pushed{}, err
	}
	cargo, err := load(what, repo)
	if err != nil {
		return Pushed{}, err
	}
	s, err := c.open(ctx, repo, transport.PullScope)
	if err != nil {
		return Pushed{}, err
	}
	missing, err := s.missing(ctx, cargo.blobs)
	if err != nil {
		return Pushed{}, err
	}
	return cargo.pushed(missing), nil
}

func checkTags(repo name.Repository, tags []string) error {
	for _, t := range tags {
		if _, err := name.NewTag(repo.Name()+":"+t, name.StrictValidation); err != nil {
			return &slipway.Error{Op: "reading the tag", Code: slipway.Invalid, Err: err, Hint: "tags are letters, digits, '_', '.' and '-', at most 128"}
		}
	}
	return nil
}

// missing returns the blobs that the repository lacks.
func (s *session) missing(ctx context.Context, blobs []*blob) ([]*blob, error) {
	lacks := make([]bool, len(blobs))
	group, ctx := s.group(ctx)
	for i, b := range blobs {
		group.Go(func() error {
			has, err := s.has(ctx, b)
			lacks[i] = !has
			return failure("looking what "+s.repo.Name()+" has", s.repo, err)
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var missing []*blob
	for i, b := range blobs {
		if lacks[i] {
			missing = append(missing, b)
		}
	}
	return missing, nil
}

func (s *session) group(ctx context.Context) (*errgroup.Group, context.Context) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(s.client.config.Jobs)
	return group, ctx
}

// has reports whether the repository has the blob, in its full size.
func (s *session) has(ctx context.Context, b *blob) (bool, error) {
	resp, err := s.send(ctx, http.MethodHead, s.url("/blobs/%s", b.digest), nil)
	if err != nil {
		return false, err
	}
	switch resp.StatusCode {
	case http.StatusOK:
		defer discard(resp)
		return true, checkHead(resp, b.digest, b.size)
	case http.StatusNotFound:
		discard(resp)
		return false, nil
	}
	return false, refused(resp)
}

// checkHead compares what an answer says about a blob with what it must be.
func checkHead(resp *http.Response, digest v1.Hash, size int64) error {
	if resp.ContentLength >= 0 && resp.ContentLength != size {
		return corrupt("checking "+digest.String(), "the image registry has %d bytes of it and should have %d", resp.ContentLength, size)
	}
	return checkHeader(resp, digest)
}

func checkHeader(resp *http.Response, digest v1.Hash) error {
	if said := resp.Header.Get("Docker-Content-Digest"); said != "" && said != digest.String() {
		return corrupt("checking "+digest.String(), "the image registry says it is %.80q", said)
	}
	return nil
}

// uploadAll returns those of the blobs that were not mounted.
func (s *session) uploadAll(ctx context.Context, blobs []*blob, progress func(done, total int64)) ([]*blob, error) {
	t := &tally{report: progress}
	for _, b := range blobs {
		t.total += b.size
	}
	mounted := make([]bool, len(blobs))
	group, ctx := s.group(ctx)
	for i, b := range blobs {
		group.Go(func() (err error) {
			mounted[i], err = s.upload(ctx, b, t.of())
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var uploaded []*blob
	for i, b := range blobs {
		if !mounted[i] {
			uploaded = append(uploaded, b)
		}
	}
	return uploaded, nil
}

// tally adds up how far several blobs are. Done falls when an upload resumes
// at an earlier offset.
type tally struct {
	report func(done, total int64)
	mu     sync.Mutex
	done   int64
	total  int64
}

// of returns the function that tells one blob's offset.
func (t *tally) of() func(int64) {
	var last int64
	return func(offset int64) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if offset == last {
			return
		}
		t.done += offset - last
		last = offset
		if t.report != nil {
			t.report(t.done, t.total)
		}
	}
}
