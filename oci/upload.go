package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// blob is a layer or a config on its way.
type blob struct {
	digest v1.Hash
	size   int64
	layer  bool
	open   func() (io.ReadCloser, error)
	from   *name.Repository // where the same image registry may have it already
}

// uploading is one blob's way into a repository (OCI distribution
// specification 1.1, "Pushing a blob in chunks").
type uploading struct {
	session *session
	blob    *blob
	moved   func(offset int64) // tells how much of the blob is there
	source  source

	location *url.URL // of the open upload; nil: none is
	offset   int64    // bytes the image registry has
	chunk    int64    // bytes of one request
	whole    bool     // chunks were refused: all in one request
	closing  bool     // the last request of the upload was sent
	resumed  bool     // the upload went on after it broke
	mount    *name.Repository
	mounted  bool // it was mounted: no byte had to move
}

// leastChunk is where splitting ends when requests are refused for their size.
const leastChunk = 1 << 20

// upload brings a blob over, however often the connection breaks, as long as
// it makes headway. mounted says that no byte had to move.
func (s *session) upload(ctx context.Context, b *blob, moved func(int64)) (mounted bool, err error) {
	u := &uploading{session: s, blob: b, moved: moved, source: source{open: b.open}, chunk: s.client.config.Chunk, mount: b.from}
	defer u.source.drop()
	if err := u.run(ctx); err != nil {
		return false, failure("pushing "+slipwayDigest(b.digest).Short(), s.repo, err)
	}
	moved(b.size)
	return u.mounted, nil
}

func (u *uploading) run(ctx context.Context) error {
	for attempt, best := 1, int64(0); ; attempt++ {
		err := u.try(ctx)
		if err == nil {
			return nil
		}
		if u.offset > best {
			attempt, best = 1, u.offset
		}
		delay, ok := u.again(attempt, err)
		if !ok {
			return err
		}
		if err := sleep(ctx, delay); err != nil {
			return err
		}
		if done, err := u.settle(ctx); done || err != nil {
			return err
		}
	}
}

// try goes on from where the upload is to its end.
func (u *uploading) try(ctx context.Context) error {
	if u.location == nil {
		if err := u.begin(ctx); err != nil || u.mounted {
			return err
		}
	}
	for !u.whole && u.blob.size > u.chunk && u.offset < u.blob.size {
		if err := u.patch(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

// begin opens an upload, or mounts the blob from a repository that has it.
func (u *uploading) begin(ctx context.Context) error {
	at := u.session.url("/blobs/uploads/")
	if u.mount != nil {
		at.RawQuery = url.Values{"mount": {u.blob.digest.String()}, "from": {u.mount.RepositoryStr()}}.Encode()
	}
	resp, err := u.session.send(ctx, http.MethodPost, at, nil)
	if err != nil {
		return err
	}
	switch {
	case resp.StatusCode == http.StatusCreated && u.mount != nil:
		discard(resp)
		u.mounted = true
		return nil
	case resp.StatusCode != http.StatusAccepted:
		return refused(resp)
	}
	u.chunk = max(u.chunk, number(resp.Header.Get("OCI-Chunk-Min-Length")))
	return u.follow(resp)
}

// follow takes over where the upload continues, which changes with every
// answer, and ends the answer.
func (u *uploading) follow(resp *http.Response) error {
	defer discard(resp)
	location, err := resp.Location()
	if err != nil {
		return fmt.Errorf("the image registry does not say where the upload goes on: %w", err)
	}
	u.location = location
	return nil
}

// patch sends the next chunk.
func (u *uploading) patch(ctx context.Context) error {
	n := min(u.chunk, u.blob.size-u.offset)
	header := http.Header{"Content-Range": {fmt.Sprintf("%d-%d", u.offset, u.offset+n-1)}}
	resp, err := u.send(ctx, http.MethodPatch, u.location, n, header)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refused(resp)
	}
	has := u.offset + n
	if r := resp.Header.Get("Range"); r != "" {
		if has = received(r); has > u.offset+n || has <= u.offset {
			discard(resp)
			return fmt.Errorf("the image registry has %d bytes after %d were sent", has, u.offset+n)
		}
	}
	u.offset = has
	u.moved(has)
	return u.follow(resp)
}

// finish sends what is not there yet, and the digest of the whole.
func (u *uploading) finish(ctx context.Context) error {
	at := *u.location
	if at.RawQuery != "" {
		at.RawQuery += "&" // not parsed and written anew: it may be signed
	}
	at.RawQuery += "digest=" + url.QueryEscape(u.blob.digest.String())
	u.closing = true
	resp, err := u.send(ctx, http.MethodPut, &at, u.blob.size-u.offset, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return refused(resp)
	}
	defer discard(resp)
	return checkHeader(resp, u.blob.digest)
}

// send makes a request whose body is the next n bytes of the blob.
func (u *uploading) send(ctx context.Context, method string, at *url.URL, n int64, header http.Header) (*http.Response, error) {
	offset := u.offset
	req, err := http.NewRequestWithContext(ctx, method, at.String(), nil)
	if err != nil {
		return nil, err
	}
	for k, v := range header {
		req.Header[k] = v
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	if n > 0 {
		// The transport takes every attempt's body from GetBody.
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("")), n
		req.GetBody = func() (io.ReadCloser, error) {
			body, err := u.source.section(offset, n)
			if err != nil {
				return nil, err
			}
			return &counted{ReadCloser: body, moved: u.moved, n: offset}, nil
		}
	}
	return u.session.http.Do(req)
}

// again decides after a failure whether and when another attempt is made, and
// in which way.
func (u *uploading) again(attempt int, err error) (time.Duration, bool) {
	config := u.session.client.config
	var r *refusal
	switch {
	case attempt >= config.Attempts:
		return 0, false
	case !errors.As(err, &r):
		delay, _ := config.delay(attempt, "")
		return delay, transientError(err)
	case u.mount != nil && u.location == nil && r.status < 500 && r.status != http.StatusTooManyRequests:
		u.mount = nil // not every image registry mounts
		return 0, true
	case u.adapt(attempt, r):
		return 0, true
	case transientStatus(r.status), r.status == http.StatusRequestedRangeNotSatisfiable && u.location != nil:
		return config.delay(attempt, r.after)
	}
	return 0, false
}

// adapt changes the way of the upload where that may mend the refusal.
func (u *uploading) adapt(attempt int, r *refusal) bool {
	switch {
	case u.location == nil:
		return false
	case r.status == http.StatusRequestEntityTooLarge && u.chunk > leastChunk && u.blob.size > leastChunk:
		u.chunk = max(leastChunk, min(u.chunk, u.blob.size)/8) // a proxy's limit, perhaps
		u.whole = false
	case u.offset == 0 && !u.closing && refusesChunks(r.status):
		u.whole = true
	case u.resumed && r.has("DIGEST_INVALID"):
		// It may have lost bytes where it broke.
	case u.offset > 0 && (r.status == http.StatusNotFound || r.status == http.StatusBadRequest) && !r.has("DIGEST_INVALID"):
		// The upload was forgotten.
	case r.status == http.StatusRequestedRangeNotSatisfiable && attempt > 3:
		// To ask where to go on did not help. More than once, for a request
		// that broke may still be written while the next one is answered.
	default:
		return false
	}
	u.forget()
	return true
}

func refusesChunks(status int) bool {
	switch status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusLengthRequired,
		http.StatusUnsupportedMediaType, http.StatusRequestedRangeNotSatisfiable, http.StatusNotImplemented:
		return true
	}
	return false
}

// forget gives the open upload up: the next attempt begins a new one.
func (u *uploading) forget() {
	u.location, u.offset, u.closing, u.resumed = nil, 0, false, false
	u.source.drop()
	u.moved(0)
}

// settle finds out after a failure what the image registry has: all of the
// blob, the beginning of an upload, or nothing.
func (u *uploading) settle(ctx context.Context) (done bool, err error) {
	if u.location == nil {
		return false, nil
	}
	if u.closing {
		if has, err := u.session.has(ctx, u.blob); has || err != nil {
			return has, err
		}
	}
	u.closing = false
	if u.whole || u.blob.size <= u.chunk {
		u.forget()
		return false, nil
	}
	known, err := u.ask(ctx)
	if err == nil && !known {
		u.forget()
	}
	return false, err
}

// ask takes over from the image registry how far the upload is. It is false
// where the image registry no longer knows the upload, or cannot say.
func (u *uploading) ask(ctx context.Context) (known bool, err error) {
	resp, err := u.session.send(ctx, http.MethodGet, u.location, nil)
	if err != nil {
		return false, err
	}
	has := received(resp.Header.Get("Range"))
	if resp.StatusCode/100 != 2 || has > u.blob.size || resp.Header.Get("Location") == "" {
		discard(resp)
		return false, nil
	}
	u.offset, u.resumed = has, true
	u.source.drop()
	u.moved(has)
	return true, u.follow(resp)
}

// received reads "0-1023", the range of the bytes an upload has. "0-0" stands
// for none: every image registry answers so to a new upload.
func received(s string) int64 {
	_, end, ok := strings.Cut(strings.TrimPrefix(s, "bytes="), "-")
	if n := number(end); ok && n > 0 {
		return n + 1
	}
	return 0
}

// number returns a header's number, 0 where there is none.
func number(s string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// counted tells how far a body was read.
type counted struct {
	io.ReadCloser
	moved func(int64)
	n     int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	if n > 0 {
		c.moved(c.n)
	}
	return n, err
}
