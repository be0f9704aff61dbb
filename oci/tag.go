package oci

import (
	"context"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// Tag makes a tag point at an image that is in the repository.
func (c *Client) Tag(ctx context.Context, img slipway.Image, tag string) error {
	op := "setting the tag " + tag
	if _, err := slipway.ParseDigest(string(img.Digest)); err != nil {
		return err
	}
	repo, err := parseRepository(img.Repository)
	if err != nil {
		return err
	}
	if err := checkTags(repo, []string{tag}); err != nil {
		return err
	}
	s, err := c.open(ctx, repo, transport.PushScope)
	if err != nil {
		return err
	}
	m, err := s.getManifest(ctx, string(img.Digest))
	if err != nil {
		return failure(op, repo, err)
	}
	_, err = s.putManifest(ctx, tag, m)
	return failure(op, repo, err)
}

var fallbackTag = regexp.MustCompile(`^sha256-[0-9a-f]{64}$`)

// Tags lists the tags of a repository that people set, sorted as the image
// registry sorts them. A repository that does not exist has none.
func (c *Client) Tags(ctx context.Context, repository string) ([]string, error) {
	repo, err := parseRepository(repository)
	if err != nil {
		return nil, err
	}
	s, err := c.open(ctx, repo, transport.PullScope)
	if err != nil {
		return nil, err
	}
	all, err := remote.List(repo, remote.WithContext(ctx), remote.WithTransport(s.http.Transport))
	if err != nil {
		err = failure("listing the tags of "+repo.Name(), repo, err)
		if slipway.CodeOf(err) == slipway.NotFound {
			return nil, nil
		}
		return nil, err
	}
	var tags []string
	for _, t := range all {
		if !fallbackTag.MatchString(t) && !strings.HasPrefix(t, keptTag) {
			tags = append(tags, strings.Clone(t))
		}
	}
	return tags, nil
}
