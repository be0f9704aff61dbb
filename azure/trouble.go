package azure

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// trouble holds what went wrong on the wire while something was asked for. The
// libraries that sign in turn such errors into text, which may quote answers
// with tokens in them; so they are caught here and their text is not used.
type trouble struct {
	mu  sync.Mutex
	err error
}

type troubleKey struct{}

// withTrouble returns a context under which errors are noted.
func withTrouble(ctx context.Context) (context.Context, *trouble) {
	t := &trouble{}
	return context.WithValue(ctx, troubleKey{}, t), t
}

// note keeps the last error: it is the one after which nothing was tried again.
func note(ctx context.Context, err error) {
	if t, ok := ctx.Value(troubleKey{}).(*trouble); ok {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.err = err
	}
}

func (t *trouble) last() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.err
}

// noting notes the errors of requests.
type noting struct{ next http.RoundTripper }

func (n noting) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.next.RoundTrip(r)
	note(r.Context(), err)
	return resp, err
}

// hearing makes the errors of answers known as the line's: those of HTTP/2 have
// no type by which to tell them from an answer that is not understood.
type hearing struct{ next http.RoundTripper }

func (h hearing) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := h.next.RoundTrip(r)
	if err == nil {
		resp.Body = heard{resp.Body, r.Context()}
	}
	return resp, err
}

type heard struct {
	io.ReadCloser
	ctx context.Context // of the request
}

func (h heard) Read(p []byte) (int, error) {
	n, err := h.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = broken{err}
		note(h.ctx, err)
	}
	return n, err
}

// broken is an answer that broke off.
type broken struct{ error }

func (b broken) Unwrap() error { return b.error }

// maxAnswer bounds an answer of any service but of Blob storage, in bytes: a
// cluster's credentials are some 10 kB.
const maxAnswer = 4 << 20

// bounded cuts answers that are too long.
type bounded struct{ next http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.next.RoundTrip(r)
	if err == nil {
		resp.Body = http.MaxBytesReader(nil, resp.Body, maxAnswer)
	}
	return resp, err
}

// refuseRedirect keeps what we send at the host it is for: none of these
// services redirects.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
