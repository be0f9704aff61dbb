package mlflow

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// open gets a file's bytes from a URL. Headers go with the request.
func (c *Client) open(ctx context.Context, op string, client *http.Client, address string, header http.Header, from int64, tag string) (*body, error) {
	ctx, stop := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		stop(nil)
		return nil, slipway.Errorf(slipway.Internal, op, "a malformed address for a file") // err would quote a presigned URL
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", c.config.UserAgent)
	if from > 0 && tag != "" {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
		req.Header.Set("If-Range", tag)
	}
	res, err := client.Do(req)
	if err != nil {
		defer stop(nil)
		return nil, unreachable(ctx, op, req.URL.Host, err)
	}
	b, err := c.accept(op, res, from, tag)
	if err != nil {
		res.Body.Close()
		stop(nil)
		return nil, err
	}
	b.ReadCloser = &guarded{ctx: ctx, stop: stop, stall: c.config.Stall, op: op, host: req.URL.Host, body: res.Body}
	return b, nil
}

var contentRange = regexp.MustCompile(`^bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)$`)

// accept checks the head of an answer. A part is only taken when it begins
// where we stopped and is of the same file as before.
func (c *Client) accept(op string, res *http.Response, from int64, tag string) (*body, error) {
	now := strongTag(res.Header)
	switch res.StatusCode {
	case http.StatusOK:
		return &body{tag: now}, nil
	case http.StatusPartialContent:
		m := contentRange.FindStringSubmatch(res.Header.Get("Content-Range"))
		if m == nil || m[1] != fmt.Sprint(from) || now != tag {
			return nil, errChanged{op}
		}
		return &body{from: from, tag: now}, nil
	case http.StatusRequestedRangeNotSatisfiable, http.StatusPreconditionFailed:
		return nil, errChanged{op}
	}
	return nil, c.refused(op, res)
}

// errChanged says that what was received before does not fit to what the
// server has now: begin again.
type errChanged struct{ op string }

func (e errChanged) Error() string { return e.op + ": the file is another one than before" }

// strongTag returns the ETag if it promises equal bytes (RFC 9110, 8.8.1).
func strongTag(h http.Header) string {
	tag := h.Get("ETag")
	if len(tag) < 2 || len(tag) > 200 || !strings.HasPrefix(tag, `"`) || unprintable(tag) {
		return ""
	}
	return tag
}

// guarded is a response's body that gives up when no byte comes for too long,
// and whose errors are ours.
type guarded struct {
	ctx   context.Context // of the transfer
	stop  context.CancelCauseFunc
	stall time.Duration
	op    string
	host  string
	body  io.ReadCloser
}

func (g *guarded) Read(p []byte) (int, error) {
	watch := time.AfterFunc(g.stall, func() { g.stop(fmt.Errorf("no byte for %s", g.stall)) })
	defer watch.Stop()
	n, err := g.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = unreachable(g.ctx, g.op, g.host, err)
	}
	return n, err
}

func (g *guarded) Close() error {
	err := g.body.Close()
	g.stop(nil)
	return err
}

// open gets a file of the proxy: from the object store behind it by a
// presigned URL where the proxy gives one, else through the proxy.
func (s *proxyStore) open(ctx context.Context, path string, from int64, tag string) (*body, error) {
	full := escapePath(join(s.root, path))
	if s.signed {
		b, err := s.openSigned(ctx, full, from, tag)
		if !unsigned(err) {
			return b, err
		}
	}
	if s.server != "" {
		return s.client.open(ctx, s.op, s.client.away, s.server+"/"+artifacts+"artifacts/"+full, nil, from, tag)
	}
	return s.client.open(ctx, s.op, s.client.home, s.client.endpoint(artifacts+"artifacts/"+full, nil), nil, from, tag)
}

// unsigned reports whether the proxy has no presigned URL for us, none that is
// safe to follow, one into a network we are not in, or to a store we do not
// trust: then the proxy itself is asked.
func unsigned(err error) bool {
	var unsafe errUnsafeURL
	var network *net.OpError
	var certificate *tls.CertificateVerificationError
	return hasStatus(err, http.StatusNotImplemented, http.StatusNotFound) || errors.As(err, &unsafe) ||
		(errors.As(err, &network) && network.Op == "dial") || errors.As(err, &certificate)
}

// openSigned asks the proxy for a URL of its own for each try: they live for
// minutes only. The store behind it sees the headers that the proxy names and
// nothing of ours.
func (s *proxyStore) openSigned(ctx context.Context, full string, from int64, tag string) (*body, error) {
	var out struct {
		URL     string            `json:"url"`
		Headers map[string]string `json:"headers"`
	}
	err := s.client.askOnce(ctx, call{op: s.op, path: artifacts + "presigned/" + full, server: s.server}, &out)
	if err != nil {
		return nil, err
	}
	u, err := s.client.checkSigned(out.URL)
	if err != nil {
		return nil, err
	}
	header := http.Header{}
	for k, v := range out.Headers {
		header.Set(k, v)
	}
	b, err := s.client.open(ctx, s.op, s.client.away, u.String(), header, from, tag)
	if hasStatus(err, http.StatusForbidden) { // it ran out, or the clocks differ: a new one may do
		return nil, &slipway.Error{Op: s.op, Code: slipway.Unavailable, Message: "the object store at " + u.Host + " refused a presigned URL", Err: err,
			Hint: "check the clocks of the MLflow server and of the store"}
	}
	if hasStatus(err, http.StatusNotFound) {
		return nil, slipway.Errorf(slipway.NotFound, s.op, "the object store at %s has no such file any more", u.Host)
	}
	return b, err
}

// errUnsafeURL is a presigned URL that is not followed.
type errUnsafeURL struct{ why string }

func (e errUnsafeURL) Error() string { return "the presigned URL " + e.why }

// checkSigned accepts http and https, and no step back from https to http.
func (c *Client) checkSigned(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || unprintable(s):
		return nil, errUnsafeURL{"is malformed"}
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, errUnsafeURL{"is neither http nor https"}
	case u.Scheme == "http" && c.base.Scheme == "https":
		return nil, errUnsafeURL{"is not encrypted although MLflow is"}
	case u.User != nil:
		return nil, errUnsafeURL{"carries a user"}
	}
	return u, nil
}
