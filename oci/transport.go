package oci

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway"
)

// guarded refuses plain HTTP to everything but loopback addresses: a redirect,
// a Location or a token service named by an image registry must not make a
// credential or an image travel in the clear.
type guarded struct{ inner http.RoundTripper }

var errPlain = errors.New("plain HTTP is refused for hosts other than this machine")

func (g *guarded) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" && !loopback(req.URL.Hostname()) {
		return nil, closing(req, fmt.Errorf("%s: %w", req.URL.Host, errPlain))
	}
	return g.inner.RoundTrip(req)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func closing(req *http.Request, err error) error {
	if req.Body != nil {
		return errors.Join(err, req.Body.Close())
	}
	return err
}

// watched gives up a request that moves no byte in either direction for a
// while, however large it is.
type watched struct {
	stall time.Duration
	inner http.RoundTripper
}

func (w *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	stalled := fmt.Errorf("nothing moved for %s: %w", w.stall, errStalled)
	timer := time.AfterFunc(w.stall, func() { cancel(stalled) })
	end := func() { timer.Stop(); cancel(nil) }
	moved := func() { timer.Reset(w.stall) }
	out := req.Clone(ctx)
	if req.Body != nil && req.Body != http.NoBody {
		out.Body = &moving{ReadCloser: req.Body, moved: moved}
	}
	resp, err := w.inner.RoundTrip(out)
	if err != nil {
		end()
		if errors.Is(context.Cause(ctx), errStalled) {
			err = stalled
		}
		return nil, err
	}
	moved()
	resp.Request = req
	resp.Body = &moving{ReadCloser: resp.Body, moved: moved, end: end, ctx: ctx}
	return resp, nil
}

var errStalled = errors.New("the image registry is too slow")

type moving struct {
	io.ReadCloser
	moved func()
	end   func()
	ctx   context.Context // of the response; it says why reading ended
}

func (m *moving) Read(p []byte) (int, error) {
	n, err := m.ReadCloser.Read(p)
	if n > 0 {
		m.moved()
	}
	if err != nil && !errors.Is(err, io.EOF) && m.ctx != nil && errors.Is(context.Cause(m.ctx), errStalled) {
		err = context.Cause(m.ctx)
	}
	return n, err
}

func (m *moving) Close() error {
	err := m.ReadCloser.Close()
	if m.end != nil {
		m.end()
	}
	return err
}

// retrying asks again for what can be asked twice, and gives every attempt a
// fresh body: the transport above repeats a request with a new token after a
// 401, when its body is already spent.
type retrying struct {
	config Config
	inner  http.RoundTripper
}

func (r *retrying) RoundTrip(req *http.Request) (*http.Response, error) {
	attempts := 1
	switch {
	case req.URL.Path == "/v2/":
		attempts = min(2, r.config.Attempts) // whether it is there at all is soon told
	case req.Method == http.MethodGet, req.Method == http.MethodHead:
		attempts = r.config.Attempts
	}
	for attempt := 1; ; attempt++ {
		resp, err := r.once(req)
		if attempt >= attempts || !transient(resp, err) {
			return resp, err
		}
		var after string
		if resp != nil {
			after = resp.Header.Get("Retry-After")
		}
		delay, ok := r.config.delay(attempt, after)
		if !ok {
			return resp, err
		}
		if resp != nil {
			discard(resp)
		}
		if err := sleep(req.Context(), delay); err != nil {
			return nil, err
		}
	}
}

func (r *retrying) once(req *http.Request) (*http.Response, error) {
	if req.GetBody == nil {
		return r.inner.RoundTrip(req)
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, closing(req, err)
	}
	fresh := req.Clone(req.Context())
	fresh.Body = body
	resp, err := r.inner.RoundTrip(fresh)
	return resp, closing(req, err)
}

// transient reports whether asking again may help.
func transient(resp *http.Response, err error) bool {
	if err != nil {
		return transientError(err)
	}
	return transientStatus(resp.StatusCode)
}

func transientStatus(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

func transientError(err error) bool {
	var dns *net.DNSError
	var authority x509.UnknownAuthorityError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError // the other side speaks plain HTTP
	var ours *slipway.Error
	switch {
	case errors.Is(err, errPlain), errors.Is(err, http.ErrSchemeMismatch), errors.Is(err, context.Canceled):
		return false
	case errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, errStalled):
		return false
	case errors.As(err, &dns) && dns.IsNotFound, errors.As(err, &authority), errors.As(err, &certificate), errors.As(err, &plain):
		return false
	case errors.As(err, &ours):
		return ours.Code == slipway.Unavailable
	}
	return true
}

// delay returns how long to wait before the next attempt: what the image
// registry asks for (RFC 9110, 10.2.3), else the backoff. It is false where
// that is longer than we are ready to wait.
func (c Config) delay(attempt int, after string) (time.Duration, bool) {
	backoff := c.Backoff << min(attempt-1, 6)
	backoff += rand.N(backoff/2 + 1) // so that clients do not come back together
	asked := retryAfter(after)
	return max(asked, backoff), asked <= c.Patience
}

func retryAfter(s string) time.Duration {
	if n, err := strconv.ParseInt(s, 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if at, err := http.ParseTime(s); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// discard ends a response, and reads a short rest so that its connection is
// used again.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // or it is not used again
	resp.Body.Close()
}
