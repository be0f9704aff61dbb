package oci

import (
	"context"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// Probed is what an image registry lets us do with a repository.
type Probed struct {
	Time    time.Time // by the image registry's clock, to the second; zero: it does not say
	Removed bool      // the probe is gone; else it is an upload without a byte, which the image registry drops by itself
}

// Probe finds out whether we may push to the repository and pull from it. It
// opens an upload, sends nothing, and cancels it, so that neither a blob nor a
// tag comes of it. That an upload may be cancelled is Docker's (its HTTP API V2,
// "Canceling an Upload"); OCI's specification does not ask for it. The errors
// are those of Push.
func (c *Client) Probe(ctx context.Context, repository string) (Probed, error) {
	op := "asking whether we may push to " + repository
	repo, err := parseRepository(repository)
	if err != nil {
		return Probed{}, err
	}
	s, err := c.open(ctx, repo, transport.PushScope)
	if err == nil {
		err = s.mayPull(ctx)
	}
	if err != nil {
		return Probed{}, err
	}
	resp, err := s.send(ctx, http.MethodPost, s.url("/blobs/uploads/"), nil)
	if err == nil && resp.StatusCode != http.StatusAccepted {
		err = refused(resp)
	}
	if err != nil {
		return Probed{}, failure(op, repo, err)
	}
	defer discard(resp)
	shows, _ := http.ParseTime(resp.Header.Get("Date")) // RFC 9110, 6.6.1; else it is zero
	return Probed{Time: shows, Removed: s.cancel(ctx, resp)}, nil
}

// mayPull asks for a tag that nobody sets, as a pull does: who may not pull is
// refused, who may learns that it is not there. A list of the tags would be of
// many pages, and a right of its own.
func (s *session) mayPull(ctx context.Context) error {
	_, err := s.getManifest(ctx, "slipway-doctor")
	err = failure("asking whether we may pull from "+s.repo.Name(), s.repo, err)
	if slipway.CodeOf(err) == slipway.NotFound {
		return nil
	}
	return err
}

// cancelLimit bounds how long we try to remove what we began.
const cancelLimit = 10 * time.Second

// cancel ends the upload that resp opened, also when ctx has ended meanwhile.
func (s *session) cancel(ctx context.Context, resp *http.Response) bool {
	location, err := resp.Location()
	if err != nil {
		return false
	}
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), cancelLimit)
	defer stop()
	answer, err := s.send(ctx, http.MethodDelete, location, nil)
	if err != nil {
		return false
	}
	discard(answer)
	return answer.StatusCode/100 == 2
}

// Host returns the image registry of a repository, HOST or HOST:PORT. Code
// Invalid for a bad name.
func Host(repository string) (string, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return "", err
	}
	return repo.RegistryStr(), nil
}
