package serving

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// mlflowVersion is what /version answers: the release of MLflow whose scoring
// protocol this server speaks.
const mlflowVersion = "3.17.2"

var (
	jsonType = []string{"application/json"}
	textType = []string{"text/plain; charset=utf-8"}
	closing  = []string{"close"}
)

// ServeHTTP routes by path and method.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["X-Model-Name"], h["X-Model-Version"] = s.who.nameHeader, s.who.versionHeader
	if s.phase.Load() == draining || s.conns.Load() > int64(s.config.MaxConns/2) {
		h["Connection"] = closing
	}
	switch r.URL.Path {
	case "/invocations":
		s.post(w, r, invocations)
	case "/predict":
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			s.get(w, r, s.example)
			return
		}
		s.post(w, r, predict)
	case "/health", "/ping":
		s.get(w, r, s.health)
	case "/ready":
		s.get(w, r, s.ready)
	case "/metrics":
		s.get(w, r, s.stats.serve)
	case "/version":
		s.get(w, r, s.version)
	case "/":
		s.get(w, r, s.help)
	default:
		s.refuse(w, r, &refusal{status: http.StatusNotFound, code: notFound, class: notFound, message: "There is nothing at this path. GET / lists what there is."})
	}
}

func (s *Server) get(w http.ResponseWriter, r *http.Request, page func(http.ResponseWriter, *http.Request)) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		s.wrongMethod(w, r, "GET, HEAD")
		return
	}
	page(w, r)
}

func (s *Server) wrongMethod(w http.ResponseWriter, r *http.Request, allow string) {
	w.Header().Set("Allow", allow)
	s.refuse(w, r, &refusal{status: http.StatusMethodNotAllowed, code: badRequest, class: classInvalid, message: "This path takes " + allow + "."})
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) { s.text(w, http.StatusOK, "\n") }

func (s *Server) version(w http.ResponseWriter, _ *http.Request) {
	s.text(w, http.StatusOK, mlflowVersion)
}

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	switch s.phase.Load() {
	case ready:
		if state, ok := s.processes(); ok && state.Workers == 0 {
			s.text(w, http.StatusServiceUnavailable, "the model is being started again\n")
			return
		}
		s.text(w, http.StatusOK, "ready\n")
	case draining:
		s.text(w, http.StatusServiceUnavailable, "draining\n")
	default:
		s.text(w, http.StatusServiceUnavailable, "the model is being loaded\n")
	}
}

func (s *Server) text(w http.ResponseWriter, status int, body string) {
	w.Header()["Content-Type"] = textType
	w.WriteHeader(status)
	_, _ = io.WriteString(w, body) // a client that is gone needs no answer
}

// call is what answering one request needs; calls are used again.
type call struct {
	body  []byte
	reply []byte
}

var calls = sync.Pool{New: func() any { return new(call) }}

// release gives the call back, but for buffers that a big request grew.
func (c *call) release() {
	const keep = 64 << 10
	if cap(c.body) > keep || cap(c.reply) > keep {
		return
	}
	calls.Put(c)
}

// post answers a request for predictions.
func (s *Server) post(w http.ResponseWriter, r *http.Request, door door) {
	if r.Method != http.MethodPost {
		s.wrongMethod(w, r, "POST")
		return
	}
	start := time.Now()
	defer s.inside.Add(-1)
	if s.inside.Add(1) > int64(s.config.MaxInFlight) {
		s.finish(w, r, door, start, busy("The model server answers as many requests as it can; try again in a second."))
		return
	}
	c := calls.Get().(*call)
	defer c.release()
	refused := s.answer(w, r, c, door)
	s.finish(w, r, door, start, refused)
}

// answer writes the predictions, or returns why there are none.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, c *call, door door) *refusal {
	m := s.state.Load()
	if m == nil {
		return busy("The model is being loaded; try again in a second.")
	}
	kind, refused := contentType(r.Header, door)
	if refused != nil {
		return refused
	}
	room, refused := s.readBody(c, r)
	defer s.large.Release(room)
	if refused != nil {
		return refused
	}
	if refused := m.reply(context.WithValue(r.Context(), requestKey{}, r), c, kind, door, &s.who); refused != nil {
		return refused
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	if r.Header["X-Request-Id"] != nil {
		h.Set("X-Request-Id", requestID(r))
	}
	_, _ = w.Write(c.reply) // a client that is gone needs no answer
	return nil
}

// reply answers c.body in c.reply.
func (m *model) reply(ctx context.Context, c *call, kind bodyKind, door door, who *identity) (refused *refusal) {
	defer rescue(&refused)
	out, d, refused := m.output(ctx, c.body, kind, door)
	if refused != nil {
		return refused
	}
	defer d.done()
	b := c.reply[:0]
	switch {
	case d.llm:
		b = appendOutput(b, out, bare)
	case door == predict:
		b = appendOutput(append(b, `{"predictions": `...), out, asNull)
		b = appendText(append(b, `, "model": `...), who.name)
		b = appendText(append(b, `, "version": `...), who.version)
		b = append(b, '}')
	default:
		b = append(appendOutput(append(b, `{"predictions": `...), out, bare), '}')
	}
	c.reply = b
	return nil
}

// smallBody is up to which size bodies are read without waiting; with
// MaxInFlight of them they take 16 MiB.
const smallBody = 64 << 10

// memoryPerByte is how many bytes a byte of a large body may take in all: a
// number of two characters becomes eight bytes, and the engine makes as many
// again.
const memoryPerByte = 8

// admitLarge waits until there is room for a large body. What waits is not
// read, so it takes no memory. The caller gives the room back.
func (s *Server) admitLarge(ctx context.Context, size int) (room int64, refused *refusal) {
	room = min(int64(size)*memoryPerByte, s.config.MaxMemory)
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout/2)
	defer cancel()
	if err := s.large.Acquire(ctx, room); err != nil {
		return 0, busy("The model server answers as many large requests as it can; try again in a second.")
	}
	return room, nil
}

// readBody reads the whole body into c. It returns the room it took, also when
// it refuses.
func (s *Server) readBody(c *call, r *http.Request) (room int64, refused *refusal) {
	size, limit := r.ContentLength, s.config.MaxBody
	switch {
	case size > int64(limit):
		return 0, tooLargeBody(limit)
	case size > smallBody:
		if room, refused = s.admitLarge(r.Context(), int(size)); refused != nil {
			return 0, refused
		}
	case size < 0: // not announced
		limit = min(limit, smallBody)
	}
	c.body = slices.Grow(c.body[:0], int(max(size, 511))+1)
	full, refused := c.read(r.Body, limit)
	if full && size < 0 && limit < s.config.MaxBody {
		if room, refused = s.admitLarge(r.Context(), s.config.MaxBody); refused != nil {
			return 0, refused
		}
		full, refused = c.read(r.Body, s.config.MaxBody)
	}
	if full && refused == nil {
		refused = tooLargeBody(s.config.MaxBody)
	}
	return room, refused
}

// read appends to c.body until the end, or until it is longer than limit: full.
func (c *call) read(body io.Reader, limit int) (full bool, refused *refusal) {
	for len(c.body) <= limit {
		c.body = slices.Grow(c.body, 1)
		n, err := body.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, &refusal{status: http.StatusRequestTimeout, code: badRequest, class: classInvalid, message: "The body did not arrive in time or in full."}
		}
	}
	return true, nil
}

// finish counts and logs the request and writes the refusal, if there is one.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, door door, start time.Time, refused *refusal) {
	status := http.StatusOK
	if refused != nil {
		status = refused.status
		s.refuse(w, r, refused)
	}
	took := time.Since(start)
	s.stats.count(door, status, took)
	if refused == nil {
		s.log.answered(r, took)
	}
}

// refuse writes an error in MLflow's shape.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, refused *refusal) {
	h := w.Header()
	id := requestID(r)
	h.Set("X-Request-Id", id)
	switch refused.status {
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", "1")
	case http.StatusRequestEntityTooLarge, http.StatusRequestTimeout:
		h["Connection"] = closing // the rest of the body is not worth reading
	}
	s.log.refused(r, id, refused)
	var crash *panicked
	if errors.As(refused.err, &crash) {
		s.stats.panics.Add(1)
	}
	h["Content-Type"] = jsonType
	if refused.plain {
		h["Content-Type"] = textType
	}
	w.WriteHeader(refused.status)
	_, _ = w.Write(refused.body()) // a client that is gone needs no answer
}
