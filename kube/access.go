package kube

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"

	"github.com/slipway-dev/slipway"
)

// maxAnswer bounds one answer of the API server, in bytes.
const maxAnswer = 64 << 20

// maxStatus bounds a Status of the API server, in bytes.
const maxStatus = 256 << 10

// HTTP returns a client that speaks to replicas and to the front door through
// the API server's proxy, with our credentials, and to nothing else. It
// follows no redirect. What the API server itself answers, instead of a model
// server, is an error: Unavailable, NotFound, or Unauthorized where a right is
// missing.
func (t *Target) HTTP() *http.Client {
	web := *t.http
	web.Transport = throughProxy{web.Transport}
	return &web
}

// Front returns the URL of the target's front door: its Service, through the
// API server's proxy.
func (t *Target) Front() string { return t.proxyURL("services", t.cfg.Ref.Name) }

// podURL returns where the replica is reached by itself.
func (t *Target) podURL(name string) string { return t.proxyURL("pods", name) }

func (t *Target) proxyURL(kind, name string) string {
	return t.base.JoinPath("api/v1/namespaces", t.cfg.Ref.Namespace, kind, fmt.Sprintf("http:%s:%d", name, Port), "proxy").String()
}

// guardedClient returns a client that sends our credentials to the API server
// alone.
func guardedClient(config *rest.Config) (*http.Client, *url.URL, error) {
	const op = "connecting to the cluster"
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	web := *shared
	if web.Transport == nil {
		web.Transport = http.DefaultTransport
	}
	web.Transport = guard{base: base, next: web.Transport}
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &web, base, nil
}

var errElsewhere = errors.New("a request with the cluster's credentials was to go to another host")

// guard keeps requests at the API server and bounds its answers.
type guard struct {
	base *url.URL
	next http.RoundTripper
}

func (g guard) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != g.base.Scheme || req.URL.Host != g.base.Host {
		return nil, errElsewhere
	}
	resp, err := g.next.RoundTrip(req)
	if err != nil {
		// The connection may lead to a host that is gone without a word. It
		// would be used again and again until the system notices, minutes later.
		if errors.Is(err, context.DeadlineExceeded) {
			utilnet.CloseIdleConnectionsFor(g.next)
		}
		return nil, err
	}
	resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	return resp, nil
}

// throughProxy turns into errors what the API server answers in place of the
// model server that was asked.
type throughProxy struct{ next http.RoundTripper }

func (p throughProxy) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.next.RoundTrip(req)
	if err != nil || resp.Header.Get("X-Model-Name") != "" {
		return resp, err
	}
	head, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	if err := proxyError(resp, head); err != nil {
		resp.Body.Close()
		return nil, err
	}
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head), rest), rest}
	return resp, nil
}

// proxyError tells whether the API server, or something before it, answered:
// with a Status, or with a code that only those give.
func proxyError(resp *http.Response, body []byte) error {
	const op = "asking through the API server"
	if s, ok := asStatus(resp, body); ok {
		return statusError(op, s)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden, http.StatusTooManyRequests,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return statusError(op, metav1.Status{Code: int32(resp.StatusCode), Message: resp.Status})
	}
	return nil
}

func asStatus(resp *http.Response, body []byte) (metav1.Status, bool) {
	var s metav1.Status
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" || resp.StatusCode < 300 {
		return s, false
	}
	if json.Unmarshal(body, &s) != nil || s.Kind != "Status" || s.APIVersion != "v1" {
		return s, false
	}
	s.Code = int32(resp.StatusCode)
	return s, true
}
