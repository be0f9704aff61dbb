package kube

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"

	"k8s.io/client-go/rest"

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
	return &rest.Config{Host: "https://" + c.Name, Transport: &finding{cluster: c}}
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
	at := &apiServer{}
	at.base, err = url.Parse(access.Server)
	if err == nil {
		at.next, err = rest.TransportFor(&rest.Config{Host: access.Server, TLSClientConfig: rest.TLSClientConfig{
			CAData: access.CA, CertData: access.ClientCert, KeyData: access.ClientKey}})
	}
	if err != nil {
		return nil, &slipway.Error{Op: "connecting to the cluster " + f.cluster.Name, Code: slipway.Invalid, Err: err}
	}
	if access.Token != nil {
		at.next = bearing{access.Token, at.next}
	}
	f.at.Store(at)
	return at, nil
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
