package proxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
)

// bufferPool keeps the buffers of bodies. Large ones are let go.
type bufferPool struct{ pool sync.Pool }

func (p *bufferPool) get() *bytes.Buffer {
	if b, ok := p.pool.Get().(*bytes.Buffer); ok {
		return b
	}
	return new(bytes.Buffer)
}

func (p *bufferPool) put(b *bytes.Buffer) {
	if b.Cap() > 64<<10 {
		return
	}
	b.Reset()
	p.pool.Put(b)
}

// errFull says that the proxy holds as many bytes as it may.
var errFull = errors.New("too many bytes are held")

// readBody reads the request's body whole and returns how many bytes of
// MaxPending it holds until the caller gives them back, also with an error.
// The error is an *http.MaxBytesError when it is too large.
func (p *Proxy) readBody(buf *bytes.Buffer, w http.ResponseWriter, r *http.Request) (held int64, err error) {
	if r.ContentLength == 0 {
		return 0, nil
	}
	if r.ContentLength > p.cfg.MaxBody {
		return 0, &http.MaxBytesError{Limit: p.cfg.MaxBody}
	}
	body := &counted{r: http.MaxBytesReader(w, r.Body, p.cfg.MaxBody), pending: &p.pending, limit: p.cfg.MaxPending}
	_, err = buf.ReadFrom(body)
	return body.held, err
}

// counted counts the bytes that are read against a limit of many readers.
type counted struct {
	r       io.Reader
	pending *atomic.Int64
	limit   int64
	held    int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.held += int64(n)
	if c.pending.Add(int64(n)) > c.limit {
		return n, errFull
	}
	return n, err
}

// hop holds the header fields that are between two neighbours only (RFC 9110
// §7.6.1), and those that the proxy sets itself.
var hop = map[string]bool{
	"Connection":          true,
	"Keep-Alive":          true,
	"Proxy-Authenticate":  true,
	"Proxy-Authorization": true,
	"Proxy-Connection":    true,
	"Te":                  true,
	"Trailer":             true,
	"Transfer-Encoding":   true,
	"Upgrade":             true,
}

var ours = map[string]bool{
	"Content-Length":    true,
	"Expect":            true,
	"Forwarded":         true,
	"Host":              true,
	"X-Forwarded-For":   true,
	"X-Forwarded-Host":  true,
	"X-Forwarded-Proto": true,
}

// writeRequest writes the client's request as the proxy passes it on. The
// proxy is the outermost one, so what clients say about others is dropped.
func writeRequest(w *bufio.Writer, r *http.Request, body []byte) error {
	uri := r.RequestURI
	if !strings.HasPrefix(uri, "/") && uri != "*" {
		uri = r.URL.RequestURI()
	}
	write := func(parts ...string) {
		for _, s := range parts {
			_, _ = w.WriteString(s) // bufio keeps the first error for Flush
		}
	}
	write(r.Method, " ", uri, " HTTP/1.1\r\nHost: ", r.Host, "\r\n")
	dropped := named(r.Header)
	for key, values := range r.Header {
		if hop[key] || ours[key] || dropped[key] {
			continue
		}
		for _, v := range values {
			write(key, ": ", v, "\r\n")
		}
	}
	if client, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		write("X-Forwarded-For: ", client, "\r\n")
	}
	write("X-Forwarded-Host: ", r.Host, "\r\nX-Forwarded-Proto: http\r\n")
	if len(body) > 0 || r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch {
		write("Content-Length: ", strconv.Itoa(len(body)), "\r\n")
	}
	write("\r\n")
	_, _ = w.Write(body)
	return w.Flush()
}

// copyHeader passes on the fields of an answer.
func copyHeader(to, from http.Header) {
	dropped := named(from)
	for key, values := range from {
		if !hop[key] && !dropped[key] {
			to[key] = values
		}
	}
}

// named returns the fields that Connection names as being between neighbours.
func named(h http.Header) map[string]bool {
	values := h["Connection"]
	if len(values) == 0 {
		return nil
	}
	fields := map[string]bool{}
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			fields[textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name))] = true
		}
	}
	return fields
}
