package github

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/slipway-dev/slipway"
)

const (
	publicAPI  = "https://api.github.com"
	apiVersion = "2022-11-28"
	maxAnswer  = 8 << 20 // bytes; a page of 100 runs is about 1 MB
	callLimit  = 20 * time.Second
)

// rest speaks GitHub's REST API.
type rest struct {
	base   string // without a slash at the end
	client *http.Client
}

func newREST(base string, transport http.RoundTripper) (rest, error) {
	if base == "" {
		base = publicAPI
	}
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return rest{}, slipway.Errorf(slipway.Invalid, "reading GitHub's address", "it is no https:// address").
			WithHint("GITHUB_API_URL is https://api.github.com, or https://HOST/api/v3 on GitHub Enterprise Server")
	}
	return rest{strings.TrimRight(base, "/"), &http.Client{Transport: transport, Timeout: callLimit, CheckRedirect: refuseRedirect}}, nil
}

// refuseRedirect keeps a token, and what is posted, where they were meant to go.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// call sends one request and decodes the answer into out, which may be nil.
func (r rest) call(ctx context.Context, op, method, path, token string, body, out any) error {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, sent)
	if err != nil {
		return &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	req.Header.Set("Accept", "application/vnd.github+json")
	req.Header.Set("X-GitHub-Api-Version", apiVersion)
	req.Header.Set("User-Agent", "slipway")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := r.client.Do(req)
	if err != nil {
		return unreachable(op, req.URL.Host, err)
	}
	defer res.Body.Close()
	return decode(op, res, out)
}

func decode(op string, res *http.Response, out any) error {
	data, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	switch {
	case res.StatusCode/100 != 2:
		return refused(op, res, data)
	case out == nil:
		return nil
	case err != nil:
		return unreachable(op, res.Request.URL.Host, err)
	case len(data) > maxAnswer:
		return slipway.Errorf(slipway.Exhausted, op, "GitHub's answer is larger than %d bytes", maxAnswer)
	}
	if err := json.Unmarshal(data, out); err != nil {
		return &slipway.Error{Op: op, Code: slipway.Corrupt, Message: "GitHub's answer is not what it should be", Err: err}
	}
	return nil
}

// refusal is an answer other than success: the cause inside the slipway.Error.
type refusal struct {
	status int
	text   string // GitHub's message, bounded, one line
	later  time.Duration
}

func (r *refusal) Error() string {
	return strings.TrimRight(fmt.Sprintf("%d %s: %s", r.status, http.StatusText(r.status), r.text), ": ")
}

// RetryAfter is how long GitHub wants to be left alone; 0: it does not say.
func (r *refusal) RetryAfter() time.Duration { return r.later }

func refused(op string, res *http.Response, data []byte) error {
	var said struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(data, &said) // proxies answer pages, of which the status is enough
	r := &refusal{res.StatusCode, short(said.Message), limitOf(res, time.Now())}
	e := &slipway.Error{Op: op, Code: slipway.Invalid, Message: "GitHub refused", Err: r}
	switch s := res.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusForbidden && r.later > 0:
		e.Code, e.Message = slipway.Unavailable, "GitHub limits requests"
	case s >= 500, s == http.StatusRequestTimeout:
		e.Code, e.Message = slipway.Unavailable, "GitHub failed"
	case s == http.StatusUnauthorized:
		e.Code, e.Hint = slipway.Unauthorized, "the token is not accepted: make a new one, or check the GitHub App's identifier and key"
	case s == http.StatusForbidden:
		e.Code, e.Hint = slipway.Unauthorized, "give the token, or the GitHub App, Contents: write and Actions: read on the repository; an organisation with single sign-on has to authorise it"
	case s == http.StatusNotFound:
		e.Code, e.Hint = slipway.NotFound, "check OWNER/REPOSITORY; GitHub answers the same to who may not see it: give the token, or the GitHub App, access to the repository"
	case s/100 == 3:
		e.Message, e.Hint = "the repository has moved", "write its new name into slipway.yaml"
	}
	return e
}

// limitOf is how long to wait (GitHub Docs, "Rate limits for the REST API"): as
// Retry-After says, or until a limit that is used up begins anew.
func limitOf(res *http.Response, now time.Time) time.Duration {
	if seconds, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && seconds > 0 {
		return time.Duration(min(seconds, 1<<20)) * time.Second
	}
	if at, err := http.ParseTime(res.Header.Get("Retry-After")); err == nil {
		return max(at.Sub(now), 0)
	}
	if reset, err := strconv.ParseInt(res.Header.Get("X-RateLimit-Reset"), 10, 64); err == nil && res.Header.Get("X-RateLimit-Remaining") == "0" {
		return max(time.Unix(reset, 0).Sub(now), 0)
	}
	return 0
}

// unreachable takes off net/http's own wrapper, which quotes the URL.
func unreachable(op, host string, err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return (&slipway.Error{Op: op, Code: slipway.Unavailable, Message: host + " cannot be reached", Err: err}).
		WithHint("check HTTPS_PROXY, and that this machine reaches %s", host)
}

// short makes foreign text fit for a message: printable, one line, bounded.
func short(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	if r := []rune(strings.Join(strings.Fields(s), " ")); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return strings.Join(strings.Fields(s), " ")
}
