package mlflow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"

	"github.com/slipway-dev/slipway"
)

const (
	api       = "api/2.0/mlflow/"
	artifacts = "api/2.0/mlflow-artifacts/"

	maxAnswer  = 32 << 20 // bytes of an answer of the API: 10,000 model versions are about 5 MB
	maxFailure = 64 << 10 // bytes of an error's body that are read
)

// call is one question to the API.
type call struct {
	op     string // for errors: "resolving models:/iris@champion"
	method string // default GET
	path   string // below the server's address, escaped
	query  url.Values
	body   any    // sent as JSON; MLflow wants one for DELETE too
	once   bool   // creates something: not repeated when the server may have acted
	server string // another server than ours, which then sees no credentials: "https://host:port"
	fresh  bool   // on a connection of its own, so that another of the server's workers may answer
}

// ask sends the call, repeats it where that may help, and decodes the answer
// into out, which may be nil.
func (c *Client) ask(ctx context.Context, q call, out any) error {
	return c.repeat(ctx, q.once, func() error { return c.askOnce(ctx, q, out) })
}

func (c *Client) askOnce(ctx context.Context, q call, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.config.Timeout, fmt.Errorf("no answer within %s", c.config.Timeout))
	defer cancel()
	req, client, err := c.request(ctx, q)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return unreachable(ctx, q.op, req.URL.Host, err)
	}
	defer res.Body.Close()
	if res.StatusCode/100 != 2 {
		return c.refused(q.op, res)
	}
	return c.decode(ctx, q.op, res, out)
}

func (c *Client) request(ctx context.Context, q call) (*http.Request, *http.Client, error) {
	var body io.Reader
	if q.body != nil {
		b, err := json.Marshal(q.body)
		if err != nil {
			return nil, nil, &slipway.Error{Op: q.op, Code: slipway.Internal, Err: err}
		}
		body = bytes.NewReader(b)
	}
	address, client := c.endpoint(q.path, q.query), c.home
	if q.server != "" {
		address, client = q.server+"/"+q.path+"?"+q.query.Encode(), c.away
	}
	req, err := http.NewRequestWithContext(ctx, q.method, address, body)
	if err != nil {
		return nil, nil, &slipway.Error{Op: q.op, Code: slipway.Internal, Err: err}
	}
	req.Close = q.fresh
	req.Header.Set("User-Agent", c.config.UserAgent)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, client, nil
}

func (c *Client) decode(ctx context.Context, op string, res *http.Response, out any) error {
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case err != nil:
		return unreachable(ctx, op, res.Request.URL.Host, err)
	case len(body) > maxAnswer:
		return slipway.Errorf(slipway.Exhausted, op, "the answer of %s has more than %d MB", res.Request.URL.Host, maxAnswer>>20)
	case out == nil:
		return nil
	case !isJSON(res.Header):
		return notMLflow(op, res.Request.URL, "it answers with "+orNone(mediaType(res.Header))+" where MLflow answers with JSON")
	}
	if err := json.Unmarshal(body, out); err != nil {
		return &slipway.Error{Op: op, Code: slipway.Corrupt, Message: "the answer of " + res.Request.URL.Host + " is no valid JSON", Err: err}
	}
	return nil
}

func isJSON(h http.Header) bool { return mediaType(h) == "application/json" }

func mediaType(h http.Header) string {
	t, _, err := mime.ParseMediaType(h.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return t
}

func orNone(s string) string {
	if s == "" {
		return "something unnamed"
	}
	return s
}

// escapePath escapes each part of a slash-separated path.
func escapePath(path string) string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		parts[i] = url.PathEscape(p)
	}
	return strings.Join(parts, "/")
}
