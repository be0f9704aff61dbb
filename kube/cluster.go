package kube

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/flowcontrol"

	"github.com/slipway-dev/slipway"
)

// Cluster is a cluster that no kubeconfig names. How to reach it is found out
// at the first call, and again until that works.
type Cluster struct {
	Name string // for people; a host's name
	Find func(context.Context) (Access, error)
}

// Access is how to reach an API server.
type Access struct {
	Server     string // https://HOST:PORT
	CA         []byte // PEM: who signs its certificate
	ClientCert []byte // PEM, with ClientKey; or
	ClientKey  []byte
	Token      func(context.Context) (string, error) // a bearer token, asked for each call; nil: none
}

// config is a configuration by which requests go to the cluster's name, and
// from there to where it turns out to be.
func (c *Cluster) config() *rest.Config {
	f := &finding{cluster: c}
	return &rest.Config{Host: "https://" + c.Name, Transport: f,
		RateLimiter: leave{flowcontrol.NewTokenBucketRateLimiter(perSecond, atOnce), f}}
}

// findLimit is how long it may take to find a cluster and to sign in: az alone
// may take ten seconds, and is run twice.
const findLimit = time.Minute

// leave has calls wait until the cluster is found and there is a token for it.
// client-go asks for leave before callLimit begins, which is the API server's.
type leave struct {
	flowcontrol.RateLimiter
	finding *finding
}

func (l leave) Wait(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, findLimit)
	defer cancel()
	if _, err := l.finding.found(limited); err != nil {
		return err
	}
	return l.RateLimiter.Wait(ctx)
}

// finding sends requests to the API server, once it is known.
type finding struct {
	cluster *Cluster

	mu sync.Mutex // one looks for it at a time
	at atomic.Pointer[apiServer]
}

// apiServer is where one is, and what speaks to it.
type apiServer struct {
	base *url.URL
	next http.RoundTripper
}

func (f *finding) RoundTrip(req *http.Request) (*http.Response, error) {
	at, err := f.found(req.Context())
	if err != nil {
		return nil, errors.Join(err, closing(req))
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host, req.Host = at.base.Scheme, at.base.Host, ""
	return at.next.RoundTrip(req)
}

// WrappedRoundTripper is what has the connections, so that client-go's helpers
// get at them; nil before the cluster is found. It waits for nobody.
func (f *finding) WrappedRoundTripper() http.RoundTripper {
	if at := f.at.Load(); at != nil {
		return at.next
	}
	return nil
}

func (f *finding) found(ctx context.Context) (*apiServer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if at := f.at.Load(); at != nil {
		return at, nil
	}
	access, err := f.cluster.Find(ctx)
	if err != nil {
		return nil, err
	}
	at, err := access.apiServer()
	if err != nil {
		return nil, &slipway.Error{Op: "connecting to the cluster " + f.cluster.Name, Code: slipway.Invalid, Err: err}
	}
	if access.Token != nil { // the first one may take as long as finding the cluster
		if _, err := access.Token(ctx); err != nil {
			return nil, err
		}
		at.next = bearing{access.Token, at.next}
	}
	f.at.Store(at)
	return at, nil
}

func (a Access) apiServer() (*apiServer, error) {
	base, err := url.Parse(a.Server)
	if err != nil {
		return nil, err
	}
	next, err := rest.TransportFor(&rest.Config{Host: a.Server, TLSClientConfig: rest.TLSClientConfig{
		CAData: a.CA, CertData: a.ClientCert, KeyData: a.ClientKey}})
	return &apiServer{base, next}, err
}

// bearing adds the token of the moment: one that is kept would expire in the
// middle of a long release.
type bearing struct {
	token func(context.Context) (string, error)
	next  http.RoundTripper
}

func (b bearing) RoundTrip(req *http.Request) (*http.Response, error) {
	token, err := b.token(req.Context())
	if err != nil {
		return nil, errors.Join(err, closing(req))
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", "Bearer "+token)
	return b.next.RoundTrip(req)
}

func (b bearing) WrappedRoundTripper() http.RoundTripper { return b.next }

func closing(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	return req.Body.Close()
}
