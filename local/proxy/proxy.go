// Package proxy is the front door of a local target: a reverse proxy that
// loses no request while the model servers behind it are replaced or crash.
//
// It owns routing, retries and the connections to the replicas. Which of them
// are fit to serve is told to it.
//
// A request is read whole before it is passed on, and an answer of ordinary
// size before it is given back. Until the client has seen a byte of an answer
// the request can therefore be given to another replica: model servers change
// nothing, so asking twice is harmless.
package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"
)

// Config tunes a Proxy. The zero value is what a local target uses.
type Config struct {
	MaxBody     int64         // bytes of a request's body; default 16 MiB
	Timeout     time.Duration // of one replica's answer; default 60 s
	Hold        time.Duration // how long a request waits for a replica when none is there but one is on its way; default 3 s
	MaxInFlight int64         // requests at a time; default 4096
	MaxPending  int64         // bytes of all bodies held at a time; default 256 MiB
}

// Stats counts requests since the proxy was made.
type Stats struct {
	Answered int64 `json:"answered"` // answers of replicas passed on, whatever their status
	Failed   int64 `json:"failed"`   // of these, with a status of 500 or more
	Retried  int64 `json:"retried"`  // given to another replica, or again over a new connection
	Refused  int64 `json:"refused"`  // not a request for a model server: too large, malformed
	Lost     int64 `json:"lost"`     // no replica answered, or its answer broke off half-way
	Left     int64 `json:"left"`     // the client went away first
	InFlight int64 `json:"inFlight"` // with a replica, or waiting for one, right now
}

// Proxy is an http.Handler that passes every request to one replica.
type Proxy struct {
	cfg      Config
	table    atomic.Pointer[table]
	turn     atomic.Uint64
	inFlight atomic.Int64
	pending  atomic.Int64 // bytes of bodies
	buffers  bufferPool

	answered, failed, retried, refused, lost, left atomic.Int64
}

// table is an immutable routing table.
type table struct {
	backends []*Backend
	expect   bool          // another one is on its way
	changed  chan struct{} // closed when a newer table took its place
}

// New returns a proxy that has nobody to route to.
func New(cfg Config) *Proxy {
	if cfg.MaxBody == 0 {
		cfg.MaxBody = 16 << 20
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 60 * time.Second
	}
	if cfg.Hold == 0 {
		cfg.Hold = 3 * time.Second
	}
	if cfg.MaxInFlight == 0 {
		cfg.MaxInFlight = 4096
	}
	if cfg.MaxPending == 0 {
		cfg.MaxPending = 256 << 20
	}
	p := &Proxy{cfg: cfg}
	p.table.Store(&table{changed: make(chan struct{})})
	return p
}

// Route sends all requests from now on to these replicas. Ones that are with
// other replicas stay there. With expect, a request that finds no replica
// waits for the next Route.
func (p *Proxy) Route(backends []*Backend, expect bool) {
	old := p.table.Swap(&table{backends: backends, expect: expect, changed: make(chan struct{})})
	close(old.changed)
}

// Stats returns the counts so far.
func (p *Proxy) Stats() Stats {
	return Stats{
		Answered: p.answered.Load(),
		Failed:   p.failed.Load(),
		Retried:  p.retried.Load(),
		Refused:  p.refused.Load(),
		Lost:     p.lost.Load(),
		Left:     p.left.Load(),
		InFlight: p.inFlight.Load(),
	}
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.inFlight.Add(1) > p.cfg.MaxInFlight {
		p.inFlight.Add(-1)
		p.lose(w, http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "too many requests at a time")
		return
	}
	defer p.inFlight.Add(-1)
	if r.Method == http.MethodConnect {
		p.refuse(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED", "CONNECT is not for model servers")
		return
	}
	buf := p.buffers.get()
	defer p.buffers.put(buf)
	held, err := p.readBody(buf, w, r)
	defer p.pending.Add(-held)
	if err != nil {
		p.bodyFailed(w, r, err)
		return
	}
	p.pass(w, r, buf.Bytes())
}

// pass gives the request to replicas until one answers.
func (p *Proxy) pass(w http.ResponseWriter, r *http.Request, body []byte) {
	a, err := p.ask(r, body)
	switch {
	case err == nil:
		p.answer(w, a)
	case r.Context().Err() != nil:
		p.left.Add(1)
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.lose(w, http.StatusGatewayTimeout, "DEADLINE_EXCEEDED", "the model did not answer in time")
	case errors.Is(err, errNobody):
		p.lose(w, http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "no model is ready here")
	default:
		p.lose(w, http.StatusBadGateway, "INTERNAL_ERROR", "the model server broke off while it answered")
	}
}

// maxSends bounds how many replicas get to see one request. It may be the
// request that kills them.
const maxSends = 3

var errNobody = errors.New("no replica is ready")

// ask returns the first answer. A replica that cannot be reached costs
// nothing but time; one that broke off after the request was sent counts.
func (p *Proxy) ask(r *http.Request, body []byte) (*answer, error) {
	deadline := time.Now().Add(p.cfg.Hold)
	var last *Backend
	for sends := 0; ; {
		b, err := p.pick(r.Context(), last, deadline)
		if err != nil {
			return nil, err
		}
		a, sent, err := b.ask(r, body)
		if err == nil {
			return a, nil
		}
		b.release()
		if sent {
			sends++
		}
		if r.Context().Err() != nil || errors.Is(err, os.ErrDeadlineExceeded) || sends == maxSends {
			return nil, err
		}
		p.retried.Add(1)
		last = b
	}
}

// pick returns the replica with the least to do, another than last where
// there is one, and counts the request as its own. When there is none it
// waits for the next table, or looks again in a moment.
func (p *Proxy) pick(ctx context.Context, last *Backend, deadline time.Time) (*Backend, error) {
	for {
		t := p.table.Load()
		if b := p.least(t, last); b != nil && b.acquire() {
			if b != last {
				return b, nil
			}
			// Only the one that just failed is left: it may be dead and not
			// yet known to be.
			if time.Now().Before(deadline) && wait(ctx, t.changed, 5*time.Millisecond) == nil {
				return b, nil
			}
			b.release()
		}
		left := time.Until(deadline)
		if left <= 0 || (len(t.backends) == 0 && !t.expect) {
			return nil, errNobody
		}
		if len(t.backends) > 0 {
			left = min(left, 5*time.Millisecond)
		}
		if err := wait(ctx, t.changed, left); err != nil {
			return nil, err
		}
	}
}

func (p *Proxy) least(t *table, last *Backend) *Backend {
	var best *Backend
	n := uint64(len(t.backends))
	start := p.turn.Add(1)
	for i := range n {
		b := t.backends[(start+i)%n]
		if best == nil || best == last || (b != last && b.load() < best.load()) {
			best = b
		}
	}
	return best
}

func wait(ctx context.Context, changed <-chan struct{}, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-changed:
	case <-timer.C:
	}
	return nil
}

// answer passes a replica's answer on.
func (p *Proxy) answer(w http.ResponseWriter, a *answer) {
	p.answered.Add(1)
	if a.status >= http.StatusInternalServerError {
		p.failed.Add(1)
	}
	if err := a.writeTo(w); err != nil {
		p.lost.Add(1)
		// The status is out: only closing the connection tells the client
		// that the answer is not whole.
		panic(http.ErrAbortHandler)
	}
}

func (p *Proxy) bodyFailed(w http.ResponseWriter, r *http.Request, err error) {
	var large *http.MaxBytesError
	switch {
	case errors.Is(err, errFull):
		p.lose(w, http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE", "too many large requests at a time")
	case errors.As(err, &large):
		p.refuse(w, http.StatusRequestEntityTooLarge, "INVALID_PARAMETER_VALUE", "the request is larger than the model server takes")
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.refuse(w, http.StatusRequestTimeout, "BAD_REQUEST", "the request did not arrive in time")
	case errors.Is(err, io.ErrUnexpectedEOF), r.Context().Err() != nil, isNet(err):
		p.left.Add(1)
	default:
		p.refuse(w, http.StatusBadRequest, "BAD_REQUEST", "the request is malformed")
	}
}

func isNet(err error) bool {
	var opErr *net.OpError
	return errors.As(err, &opErr)
}

func (p *Proxy) refuse(w http.ResponseWriter, status int, code, message string) {
	p.refused.Add(1)
	fail(w, status, code, message)
}

func (p *Proxy) lose(w http.ResponseWriter, status int, code, message string) {
	p.lost.Add(1)
	w.Header().Set("Retry-After", "1")
	fail(w, status, code, message)
}

// fail answers in MLflow's form of an error.
func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The client may be gone; there is nobody else to tell.
	_ = json.NewEncoder(w).Encode(struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}{code, message})
}
