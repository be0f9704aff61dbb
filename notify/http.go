package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// answerLimit bounds what is read of an answer, in bytes.
const answerLimit = 64 << 10

// attempts is how often a message is sent to one that is busy.
const attempts = 3

// pause is how long to wait where the busy one does not say.
const pause = time.Second

// client is shared by all channels. It honours HTTP proxies, follows no
// redirect and trusts what the system trusts (SSL_CERT_FILE adds to it).
var client = &http.Client{
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxResponseHeaderBytes: 64 << 10,
		IdleConnTimeout:        30 * time.Second,
	},
}

// post is a message for one address.
type post struct {
	op     string // "telling slack"
	to     string
	header http.Header
	body   []byte
}

// newPost writes v as JSON for the address. media is its type, "" for JSON.
func newPost(op, to, media string, v any) (post, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return post{}, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	if media == "" {
		media = "application/json; charset=utf-8"
	}
	header := http.Header{"Content-Type": {media}, "User-Agent": {"slipway"}}
	return post{op: op, to: to, header: header, body: bytes.TrimRight(b.Bytes(), "\n")}, nil
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// send sends the message, again where the other side is busy and the time left
// allows it. Any answer but a success is an error, and comes back beside it.
func (p post) send(ctx context.Context) (answer, error) {
	a, err := patiently(ctx, p.sendOnce)
	if err != nil || a.status/100 == 2 {
		return a, err
	}
	return a, p.refused(a)
}

// patiently asks, and again while the answer is that the other side is busy.
func patiently(ctx context.Context, ask func(context.Context) (answer, error)) (answer, error) {
	for attempt := 1; ; attempt++ {
		a, err := ask(ctx)
		wait, busy := a.busy()
		if deadline, ok := ctx.Deadline(); err != nil || !busy || attempt == attempts || ok && time.Until(deadline) < wait {
			return a, err
		}
		select {
		case <-ctx.Done():
			return a, nil
		case <-time.After(wait):
		}
	}
}

func (p post) sendOnce(ctx context.Context) (answer, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.to, bytes.NewReader(p.body))
	if err != nil {
		return answer{}, slipway.Errorf(slipway.Invalid, p.op, "the address cannot be used")
	}
	r.Header = p.header
	res, err := client.Do(r)
	if err != nil {
		return answer{}, p.unreached(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, answerLimit))
	if err != nil {
		return answer{}, p.unreached(ctx, err)
	}
	return answer{status: res.StatusCode, header: res.Header, body: body}, nil
}

// unreached is the error of a message that got no answer. net/http's own names
// the whole address, which is a secret.
func (p post) unreached(ctx context.Context, err error) error {
	var at *url.Error
	if errors.As(err, &at) {
		err = at.Err
	}
	e := &slipway.Error{Op: p.op, Code: slipway.Unavailable, Message: "it cannot be reached", Err: err}
	if ctx.Err() != nil {
		e.Message, e.Err = "it did not answer in time", nil
	}
	return e.WithHint("see whether this machine reaches it; HTTPS_PROXY names a proxy")
}

// busy reports whether asking again may help, and when (RFC 9110, 10.2.3,
// Retry-After in seconds; a date is taken as a second).
func (a answer) busy() (time.Duration, bool) {
	if a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable {
		return 0, false
	}
	seconds, err := strconv.ParseUint(a.header.Get("Retry-After"), 10, 16)
	if err != nil || seconds == 0 {
		return pause, true
	}
	return time.Duration(seconds) * time.Second, true
}

// withoutAddress is a text in which nothing of the address stands that may be
// secret: many servers repeat what they were asked for, whole or in parts.
func withoutAddress(text, address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	for _, whole := range []string{u.RequestURI(), u.EscapedPath(), u.Path, u.RawQuery} {
		if len(whole) > 1 {
			text = strings.ReplaceAll(text, whole, "…")
		}
	}
	for _, part := range partsOf(u) {
		if len(part) >= leastSecret {
			text = strings.ReplaceAll(text, part, "…")
		}
	}
	return text
}

// partsOf are the names and values in path and query, as they stand there and
// as they are.
func partsOf(u *url.URL) []string {
	parts := strings.FieldsFunc(u.RequestURI(), func(r rune) bool { return strings.ContainsRune("/?&=", r) })
	parts = append(parts, strings.Split(u.Path, "/")...)
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	return parts
}

// leastSecret is how long a part of an address is at least, in bytes, to be
// taken for a secret and not for a word.
const leastSecret = 16

// refused is the error of an answer that is no success. What the other side
// said is clipped and made one line.
func (p post) refused(a answer) *slipway.Error {
	said := line(withoutAddress(string(a.body), p.to), 200)
	if said != "" {
		said = ": " + said
	}
	e := slipway.Errorf(slipway.Invalid, p.op, "it answered %d%s", a.status, said)
	switch {
	case a.status == http.StatusTooManyRequests:
		e.Code = slipway.Exhausted
		return e.WithHint("it takes fewer messages than it was sent; wait, or use a channel of its own")
	case a.status == http.StatusUnauthorized || a.status == http.StatusForbidden:
		e.Code = slipway.Unauthorized
	case a.status == http.StatusNotFound || a.status == http.StatusGone:
		e.Code = slipway.NotFound
	case a.status/100 == 3:
		return slipway.Errorf(slipway.Invalid, p.op, "it answered %d, a redirect, which is not followed", a.status).WithHint("set the address to where it leads")
	case a.status >= 500:
		e.Code = slipway.Unavailable
		return e.WithHint("it is not well; slipway notify --test tries it again")
	}
	return e
}
