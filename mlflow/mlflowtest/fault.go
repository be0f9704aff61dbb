package mlflowtest

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault is something the server does wrong. What is set happens, in the order
// of the fields.
type Fault struct {
	Method string // of the requests it is for; empty: all
	Path   string // contained in their path and query; empty: all
	Skip   int    // how many such requests go well before
	Times  int    // how often it happens; 0: always

	Delay    time.Duration // wait before anything
	Hang     bool          // answer nothing until the client goes away
	Drop     bool          // close the connection without an answer
	Status   int           // answer with this status, Header and Body
	Header   http.Header
	Body     string
	Truncate int64  // break the connection after so many bytes of the body, if it has more
	Then     func() // called once the fault has struck: to change a file meanwhile

	struck int
}

// HTMLError is the page of an unhandled exception.
func HTMLError(status int) Fault {
	return Fault{Status: status, Header: http.Header{"Content-Type": {"text/html; charset=utf-8"}},
		Body: pageHead + "<title>" + strconv.Itoa(status) + " " + http.StatusText(status) + "</title>\n<h1>" + http.StatusText(status) + "</h1>\n"}
}

// Break makes the server misbehave from now on; Mend ends all faults.
func (s *Server) Break(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}

// Mend ends all faults.
func (s *Server) Mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// next returns the fault that this request meets, counting it.
func (s *Server) next(r *http.Request) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.faults {
		if (f.Method != "" && f.Method != r.Method) || !strings.Contains(r.URL.RequestURI(), f.Path) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.Times > 0 && f.struck >= f.Times {
			continue
		}
		f.struck++
		return f
	}
	return nil
}

// misbehave plays the fault, if any. It is false when the request is done with.
func (s *Server) misbehave(w http.ResponseWriter, r *http.Request) (http.ResponseWriter, bool) {
	f := s.next(r)
	if f == nil {
		return w, true
	}
	if f.Then != nil {
		defer f.Then()
	}
	if f.Delay > 0 && !pause(r, f.Delay) {
		return w, false
	}
	switch {
	case f.Hang:
		io.Copy(io.Discard, r.Body) //nolint:errcheck // the client's leaving is only noticed once its body is read
		<-r.Context().Done()
		return w, false
	case f.Drop:
		panic(http.ErrAbortHandler)
	case f.Status != 0:
		for k, v := range f.Header {
			w.Header()[k] = v
		}
		w.WriteHeader(f.Status)
		io.WriteString(w, f.Body) //nolint:errcheck // a client that went away is its own affair
		return w, false
	case f.Truncate > 0:
		return &truncated{ResponseWriter: w, left: f.Truncate}, true
	}
	return w, true
}

func pause(r *http.Request, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// truncated breaks the connection after some bytes of the body.
type truncated struct {
	http.ResponseWriter
	left int64
}

func (t *truncated) Write(b []byte) (int, error) {
	if int64(len(b)) > t.left {
		t.ResponseWriter.Write(b[:t.left])                   //nolint:errcheck // the connection breaks anyway
		http.NewResponseController(t.ResponseWriter).Flush() //nolint:errcheck // as above
		panic(http.ErrAbortHandler)
	}
	t.left -= int64(len(b))
	return t.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (t *truncated) Unwrap() http.ResponseWriter { return t.ResponseWriter }
