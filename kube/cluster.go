package kube

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"

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

	mu   sync.Mutex
	base *url.URL
	next http.RoundTripper
}

func (f *finding) RoundTrip(req *http.Request) (*http.Response, error) {
	base, next, err := f.found(req.Context())
	if err != nil {
		return nil, errors.Join(err, closing(req))
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host, req.Host = base.Scheme, base.Host, ""
	return next.RoundTrip(req)
}

func (f *finding) found(ctx context.Context) (*url.URL, http.RoundTripper, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.next != nil {
		return f.base, f.next, nil
	}
	access, err := f.cluster.Find(ctx)
	if err != nil {
		return nil, nil, err
	}
	base, err := url.Parse(access.Server)
	if err == nil {
		f.next, err = rest.TransportFor(&rest.Config{Host: access.Server, TLSClientConfig: rest.TLSClientConfig{
			CAData: access.CA, CertData: access.ClientCert, KeyData: access.ClientKey}})
	}
	if err != nil {
		return nil, nil, &slipway.Error{Op: "connecting to the cluster " + f.cluster.Name, Code: slipway.Invalid, Err: err}
	}
	if f.base = base; access.Token != nil {
		f.next = bearing{access.Token, f.next}
	}
	return f.base, f.next, nil
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

func closing(req *http.Request) error {
	if req.Body == nil {
		return nil
	}
	return req.Body.Close()
}
