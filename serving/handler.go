package serving

import (
	"context"
	"errors"
	"io"
	"net/http"
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
	if s.phase.Load() == draining {
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
	kind, refused := contentType(r.Header)
	if refused != nil {
		return refused
	}
	reserved, refused := s.readBody(c, r)
	defer s.bytes.Add(-reserved)
	if refused != nil {
		return refused
	}
	if refused := m.reply(r.Context(), c, kind, door, &s.who); refused != nil {
		return refused
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(c.reply) // a client that is gone needs no answer
	return nil
}

// reply answers c.body in c.reply.
func (m *model) reply(ctx context.Context, c *call, kind bodyKind, door door, who *identity) *refusal {
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

// readBody reads the whole body, within the limit for one and the limit for
// all that are being answered. It returns the bytes it reserved of the latter.
func (s *Server) readBody(c *call, r *http.Request) (reserved int64, refused *refusal) {
	if r.ContentLength > int64(s.config.MaxBody) {
		return 0, tooLargeBody(s.config.MaxBody)
	}
	c.body = c.body[:0]
	if need := int(max(r.ContentLength, 512)); cap(c.body) < need+1 {
		c.body = make([]byte, 0, need+1)
	}
	for {
		if grown := int64(cap(c.body)) - reserved; grown > 0 {
			reserved += grown
			if s.bytes.Add(grown) > int64(s.config.MaxPending) {
				return reserved, busy("The model server is reading as many bytes as it can; try again in a second.")
			}
		}
		n, err := r.Body.Read(c.body[len(c.body):cap(c.body)])
		c.body = c.body[:len(c.body)+n]
		switch {
		case len(c.body) > s.config.MaxBody:
			return reserved, tooLargeBody(s.config.MaxBody)
		case errors.Is(err, io.EOF):
			return reserved, nil
		case err != nil:
			return reserved, &refusal{status: http.StatusRequestTimeout, code: badRequest, class: classInvalid, message: "The body did not arrive in time or in full."}
		}
		if len(c.body) == cap(c.body) {
			c.body = append(c.body, 0)[:len(c.body)]
		}
	}
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
