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
	"sync/atomic"
	"time"

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
	web.Transport, web.Timeout = throughProxy{t.guard}, 0 // whoever asks a model server knows how long
	return &web
}

// Front returns the URL of the target's front door: its Service, through the
// API server's proxy.
func (t *Target) Front() string { return t.proxyURL("services", t.cfg.Ref.Name) }

// podURL returns where the replica is reached by itself.
func (t *Target) podURL(name string) string { return t.proxyURL("pods", name) }

func (t *Target) proxyURL(kind, name string) string {
	return t.guard.base.JoinPath("api/v1/namespaces", t.cfg.Ref.Namespace, kind, fmt.Sprintf("http:%s:%d", name, Port), "proxy").String()
}

// guardedClient returns a client that sends our credentials to the API server
// alone.
func guardedClient(config *rest.Config) (*http.Client, guard, error) {
	const op = "connecting to the cluster"
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, guard{}, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	shared, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, guard{}, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	web := *shared
	if web.Transport == nil {
		web.Transport = http.DefaultTransport
	}
	g := guard{base: base, next: web.Transport, trouble: new(atomic.Int64)}
	web.Transport = watched{g}
	web.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &web, g, nil
}

var errElsewhere = errors.New("a request with the cluster's credentials was to go to another host")

// guard keeps requests at the API server and bounds its answers.
type guard struct {
	base    *url.URL
	next    http.RoundTripper
	trouble *atomic.Int64 // when the API server itself was last out of reach, Unix nanoseconds
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

// watched notes when a call to the API server itself does not get through.
type watched struct{ guard }

func (w watched) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := w.guard.RoundTrip(req)
	if err != nil && !errors.Is(err, context.Canceled) {
		w.trouble.Store(time.Now().UnixNano())
	}
	return resp, err
}

// troubled is how long after it was out of reach an API server is blamed for
// what does not come through it.
const troubled = 15 * time.Second

// blame tells a model server that does not answer in time from an API server
// that is not there to ask it.
func (g guard) blame(req *http.Request, err error) error {
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(time.Unix(0, g.trouble.Load())) > troubled && g.answers(req) {
		return err
	}
	return unreached("asking through the API server", err)
}

// answers asks the API server for a sign of life.
func (g guard) answers(req *http.Request) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), 2*time.Second)
	defer cancel()
	probe, err := http.NewRequestWithContext(ctx, http.MethodGet, g.base.JoinPath("livez").String(), nil)
	if err != nil {
		return false
	}
	resp, err := g.RoundTrip(probe)
	if err != nil {
		return false
	}
	return resp.Body.Close() == nil
}

// throughProxy turns into errors what the API server answers in place of the
// model server that was asked.
type throughProxy struct{ guard }

func (p throughProxy) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := p.guard.RoundTrip(req)
	if err != nil {
		return nil, p.blame(req, err)
	}
	if resp.Header.Get("X-Model-Name") != "" {
		return resp, nil
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
