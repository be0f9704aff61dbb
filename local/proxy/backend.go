package proxy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Backend is a replica as the proxy sees it: an address, the connections to
// it, and what is in flight there.
type Backend struct {
	proxy *Proxy
	addr  string

	mu       sync.Mutex
	idle     []*conn // the one used last is at the end
	inFlight int
	draining bool
	empty    chan struct{} // closed once it drains and nothing is in flight
}

// NewBackend returns the replica that listens on the address, HOST:PORT.
func (p *Proxy) NewBackend(addr string) *Backend {
	return &Backend{proxy: p, addr: addr, empty: make(chan struct{})}
}

// Drain gives the replica no more requests and waits until it has answered
// those it has. Call it after a Route that leaves the replica out.
func (b *Backend) Drain(ctx context.Context) error {
	b.mu.Lock()
	if !b.draining {
		b.draining = true
		b.closeIdle(0)
		if b.inFlight == 0 {
			close(b.empty)
		}
	}
	b.mu.Unlock()
	select {
	case <-b.empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// InFlight returns how many requests are with the replica.
func (b *Backend) InFlight() int { return b.load() }

// acquire counts a request as the replica's, unless it drains.
func (b *Backend) acquire() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining {
		return false
	}
	b.inFlight++
	return true
}

func (b *Backend) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.inFlight--
	if b.draining && b.inFlight == 0 {
		close(b.empty)
	}
}

func (b *Backend) load() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.inFlight
}

// maxIdle bounds the kept connections to one replica.
const maxIdle = 256

// conn is a connection to a replica. It reads at most left more bytes: a
// replica must not fill the memory with headers.
type conn struct {
	net.Conn
	left int64
	r    *bufio.Reader
	w    *bufio.Writer
	used time.Time
}

const maxHeader = 1 << 20

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the answer's header is too large")
	}
	n, err := c.Conn.Read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// get returns a kept connection or a new one.
func (b *Backend) get(ctx context.Context) (*conn, error) {
	for c := b.kept(); c != nil; c = b.kept() {
		if time.Since(c.used) < 100*time.Millisecond || c.open() {
			return c, nil
		}
		_ = c.Close()
	}
	raw, err := (&net.Dialer{Timeout: 2 * time.Second}).DialContext(ctx, "tcp", b.addr)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw}
	c.r, c.w = bufio.NewReaderSize(c, 8<<10), bufio.NewWriterSize(raw, 8<<10)
	return c, nil
}

func (b *Backend) kept() *conn {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := len(b.idle)
	if n == 0 {
		return nil
	}
	c := b.idle[n-1]
	b.idle = b.idle[:n-1]
	return c
}

// open reports whether the replica still has the connection open and sent
// nothing on it unasked.
func (c *conn) open() bool {
	raw, err := c.Conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return false
	}
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		_, _, peekErr = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return true
	})
	return err == nil && errors.Is(peekErr, unix.EAGAIN)
}

// keep puts a connection back, or closes it when it is not wanted.
func (b *Backend) keep(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.draining || len(b.idle) == maxIdle {
		_ = c.Close()
		return
	}
	c.used = time.Now()
	b.idle = append(b.idle, c)
	if old := b.idle[0]; c.used.Sub(old.used) > 30*time.Second {
		b.closeIdle(len(b.idle) - 1)
	}
}

// closeIdle closes all but the newest few kept connections. Nothing is on
// them, so there is nothing to lose by an error.
func (b *Backend) closeIdle(keep int) {
	n := len(b.idle) - keep
	for _, c := range b.idle[:n] {
		_ = c.Close()
	}
	b.idle = append([]*conn(nil), b.idle[n:]...)
}

// ask sends the request and reads the answer: all of it, or the first
// maxWhole bytes. sent says that the replica may have seen the whole request.
func (b *Backend) ask(r *http.Request, body []byte) (a *answer, sent bool, err error) {
	c, err := b.get(r.Context())
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = errors.New("the replica takes no connection in time")
		}
		return nil, false, err
	}
	stop := context.AfterFunc(r.Context(), func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	a, err = b.talk(c, r, body)
	if !stop() && err == nil && a.rest == nil {
		err = r.Context().Err()
	}
	if err != nil {
		_ = c.Close()
		return nil, true, err
	}
	return a, true, nil
}

func (b *Backend) talk(c *conn, r *http.Request, body []byte) (*answer, error) {
	if err := c.SetDeadline(time.Now().Add(b.proxy.cfg.Timeout)); err != nil {
		return nil, err
	}
	c.left = maxHeader
	if err := writeRequest(c.w, r, body); err != nil {
		return nil, err
	}
	resp, err := readResponse(c.r, r) //nolint:bodyclose // answer.done closes it
	if err != nil {
		return nil, err
	}
	c.left = 1 << 62
	return b.readAnswer(c, resp)
}

// readResponse reads the head of the final answer.
func readResponse(br *bufio.Reader, r *http.Request) (*http.Response, error) {
	for range 5 {
		resp, err := http.ReadResponse(br, r)
		if err != nil || resp.StatusCode >= http.StatusOK {
			return resp, err
		}
	}
	return nil, errors.New("too many interim answers")
}

// maxWhole is how much of an answer is read before any of it is passed on.
const maxWhole = 1 << 20

// answer is a replica's answer. While rest is set the replica is not done.
type answer struct {
	backend *Backend
	conn    *conn
	status  int
	header  http.Header
	head    *bytes.Buffer // all of the body, or its beginning
	rest    io.Reader     // what follows; nil: nothing
	body    io.Closer
	close   bool // the replica wants the connection closed
}

func (b *Backend) readAnswer(c *conn, resp *http.Response) (*answer, error) {
	a := &answer{
		backend: b,
		conn:    c,
		status:  resp.StatusCode,
		header:  resp.Header,
		head:    b.proxy.buffers.get(),
		body:    resp.Body,
		close:   resp.Close,
	}
	n, err := a.head.ReadFrom(io.LimitReader(resp.Body, maxWhole))
	if err != nil {
		b.proxy.buffers.put(a.head)
		return nil, err
	}
	if n == maxWhole {
		a.rest = resp.Body
		return a, nil
	}
	return a, nil
}

// writeTo passes the answer to the client and is done with the replica. The
// error says that the replica did not finish its answer.
func (a *answer) writeTo(w http.ResponseWriter) error {
	defer a.backend.proxy.buffers.put(a.head)
	copyHeader(w.Header(), a.header)
	if a.rest != nil {
		return a.stream(w)
	}
	a.done(!a.close)
	w.WriteHeader(a.status)
	// The client may be gone; that is its own affair.
	_, _ = w.Write(a.head.Bytes())
	return nil
}

// stream passes on an answer that is too large to be read whole.
func (a *answer) stream(w http.ResponseWriter) error {
	w.WriteHeader(a.status)
	from := &source{r: a.rest, conn: a.conn, each: a.backend.proxy.cfg.Timeout}
	_, err := io.Copy(w, io.MultiReader(a.head, from))
	a.done(err == nil && !a.close)
	return from.err
}

// done gives the connection back; the replica has one request less.
func (a *answer) done(whole bool) {
	defer a.backend.release()
	_ = a.body.Close()
	if whole {
		a.backend.keep(a.conn)
		return
	}
	_ = a.conn.Close()
}

// source remembers the replica's errors apart from the client's, and gives
// each read its own time.
type source struct {
	r    io.Reader
	conn *conn
	each time.Duration
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if err := s.conn.SetReadDeadline(time.Now().Add(s.each)); err != nil {
		return 0, err
	}
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}
