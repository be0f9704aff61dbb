// Package oci moves images over the wire: it pushes them to image registries,
// checks that they can still be pulled, and unpacks them (OCI distribution
// specification 1.1).
//
// Names, authentication and manifests are go-containerregistry's. Uploads are
// our own: that library sends a layer as one request and starts again when it
// breaks, while here a layer goes in chunks and resumes at the offset the
// image registry has.
//
// Everything an image registry says is checked against the digest it was asked
// for. Plain HTTP is spoken with loopback addresses only, proxies are those of
// the environment (HTTPS_PROXY, NO_PROXY), and certificates are checked
// against the system's (SSL_CERT_FILE).
package oci

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/slipway-dev/slipway"
)

// Config is what a Client can be told. The zero value works.
type Config struct {
	Keychain  authn.Keychain    // credentials; nil: none
	Transport http.RoundTripper // nil: like http.DefaultTransport
	UserAgent string            // default: slipway

	Jobs     int           // requests at a time; default 4
	Chunk    int64         // bytes of one request of a large upload; default 32 MiB
	Attempts int           // of one request, while it makes no headway; default 6, which is about 10 seconds
	Backoff  time.Duration // before the second attempt, doubled for each further; default 250 ms
	Patience time.Duration // longest Retry-After that is waited for; default 2 minutes
	Stall    time.Duration // a request that moves no byte for so long is given up; default 1 minute

	MaxBytes   int64 // of one unpacked image; default 64 GiB
	MaxEntries int   // of one unpacked image, over all its layers; default 500,000
}

func (c Config) withDefaults() Config {
	fill(&c.UserAgent, "slipway")
	fill(&c.Jobs, 4)
	fill(&c.Chunk, 32<<20)
	fill(&c.Attempts, 6)
	fill(&c.Backoff, 250*time.Millisecond)
	fill(&c.Patience, 2*time.Minute)
	fill(&c.Stall, time.Minute)
	fill(&c.MaxBytes, 64<<30)
	fill(&c.MaxEntries, 500_000)
	if c.Keychain == nil {
		c.Keychain = authn.NewMultiKeychain()
	}
	if c.Transport == nil {
		t := http.DefaultTransport.(*http.Transport).Clone()
		t.MaxIdleConnsPerHost = c.Jobs
		c.Transport = t
	}
	return c
}

func fill[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Client talks to image registries. It is safe for concurrent use.
type Client struct {
	config Config
	wire   http.RoundTripper

	mu       sync.Mutex
	sessions map[string]*session
}

// New returns a client.
func New(c Config) *Client {
	c = c.withDefaults()
	return &Client{
		config:   c,
		wire:     transport.NewUserAgent(&retrying{config: c, inner: &watched{stall: c.Stall, inner: &guarded{c.Transport}}}, c.UserAgent),
		sessions: map[string]*session{},
	}
}

// session is one repository, with what is needed to be let in.
type session struct {
	client *Client
	repo   name.Repository
	http   *http.Client
}

// open returns a session that may pull, or push and pull, and may mount from
// the repositories of mounts.
func (c *Client) open(ctx context.Context, repo name.Repository, access string, mounts ...name.Repository) (*session, error) {
	scopes := []string{repo.Scope(access)}
	for _, m := range mounts {
		scopes = append(scopes, m.Scope(transport.PullScope))
	}
	key := repo.RegistryStr() + " " + strings.Join(scopes, " ")
	c.mu.Lock()
	s := c.sessions[key]
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	auth, err := authn.Resolve(ctx, c.config.Keychain, repo)
	if err != nil {
		return nil, credentialsFailure(repo, err)
	}
	t, err := transport.NewWithContext(ctx, repo.Registry, auth, c.wire, scopes)
	if err != nil {
		return nil, failure("reaching "+repo.RegistryStr(), repo, err)
	}
	s = &session{client: c, repo: repo, http: &http.Client{Transport: t}}
	c.mu.Lock()
	c.sessions[key] = s
	c.mu.Unlock()
	return s, nil
}

// parseRepository reads HOST[:PORT]/PATH.
func parseRepository(s string) (name.Repository, error) {
	repo, err := name.NewRepository(s)
	if err == nil {
		err = checkPath(repo)
	}
	if err != nil {
		return repo, &slipway.Error{Op: "reading the image's name", Code: slipway.Invalid, Message: fmt.Sprintf("%.200q is no repository", s), Err: err,
			Hint: "write HOST/NAME in lower case and without a tag, like myregistry.azurecr.io/models/iris"}
	}
	return repo, nil
}

// checkPath refuses a path that means another one in an address.
func checkPath(repo name.Repository) error {
	for part := range strings.SplitSeq(repo.RepositoryStr(), "/") {
		if part == "." || part == ".." {
			return fmt.Errorf("a part of its path is %q", part)
		}
	}
	return nil
}

// parseReference reads HOST/PATH:TAG or HOST/PATH@DIGEST.
func parseReference(op, s string) (name.Reference, error) {
	r, err := name.ParseReference(s)
	if err == nil {
		err = checkPath(r.Context())
	}
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err, Hint: "write HOST/NAME:TAG or HOST/NAME@DIGEST"}
	}
	return r, nil
}

// url returns the address of something in the repository. The transport turns
// it into http where the image registry, on a loopback address, speaks that.
func (s *session) url(format string, args ...any) *url.URL {
	return &url.URL{Scheme: "https", Host: s.repo.RegistryStr(), Path: "/v2/" + s.repo.RepositoryStr() + fmt.Sprintf(format, args...)}
}

// send makes one request without a body.
func (s *session) send(ctx context.Context, method string, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	return s.http.Do(req)
}
