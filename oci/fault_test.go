package oci_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway/oci"
)

// front stands before an image registry, in process or real, and does to
// requests what networks and image registries do to them.
type front struct {
	next http.Handler
	host string // HOST:PORT
	name string // of its own, for repositories

	mu    sync.Mutex
	rules []*rule
	seen  []seen
}

// seen is a request that arrived.
type seen struct {
	method, path, query, contentRange, authorization string
	sent                                             int64 // bytes of its body that arrived
}

// rule is what happens to the first requests it matches.
type rule struct {
	method string
	part   string // of the path
	times  int    // how often; 0: always
	skip   int    // how many it lets pass first
	do     func(w http.ResponseWriter, r *http.Request, next http.Handler)
}

func newFront(t testing.TB, next http.Handler, rules ...*rule) *front {
	t.Helper()
	f := &front{next: next, rules: rules, name: strings.ToLower(rand.Text()[:12])}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	f.host = strings.TrimPrefix(server.URL, "http://")
	return f
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	arrived := &counter{ReadCloser: r.Body}
	r.Body = arrived
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.seen = append(f.seen, seen{r.Method, r.URL.Path, r.URL.RawQuery, r.Header.Get("Content-Range"), r.Header.Get("Authorization"), arrived.n})
	}()
	if rule := f.match(r); rule != nil {
		rule.do(w, r, f.next)
		return
	}
	f.next.ServeHTTP(w, r)
}

func (f *front) match(r *http.Request) *rule {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, rule := range f.rules {
		if r.Method != rule.method || !strings.Contains(r.URL.Path, rule.part) {
			continue
		}
		if rule.skip > 0 {
			rule.skip--
			continue
		}
		if rule.times == 1 {
			f.rules = append(f.rules[:i:i], f.rules[i+1:]...)
		}
		rule.times--
		return rule
	}
	return nil
}

func (f *front) add(rules ...*rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, rules...)
}

// requests returns what arrived with that method and part of the path.
func (f *front) requests(method, part string) []seen {
	f.mu.Lock()
	defer f.mu.Unlock()
	var found []seen
	for _, s := range f.seen {
		if s.method == method && strings.Contains(s.path, part) {
			found = append(found, s)
		}
	}
	return found
}

type counter struct {
	io.ReadCloser
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}

// drain reads the request's body: only then a server notices that the client went.
func drain(r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
}

// answer replies with a status instead of passing the request on.
func answer(status int, body string, header ...string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

// breakAfter lets n bytes of the request pass, then the connection breaks.
func breakAfter(n int64) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(_ http.ResponseWriter, r *http.Request, next http.Handler) {
		r.Body = io.NopCloser(io.MultiReader(io.LimitReader(r.Body, n), broken{}))
		func() {
			defer func() { _ = recover() }() // a proxy may abort as well
			next.ServeHTTP(httptest.NewRecorder(), r)
		}()
		panic(http.ErrAbortHandler)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// breakAnswer breaks the connection in the middle of the answer's body.
func breakAnswer(w http.ResponseWriter, r *http.Request, next http.Handler) {
	rec := httptest.NewRecorder()
	next.ServeHTTP(rec, r)
	for k, v := range rec.Header() {
		w.Header()[k] = v
	}
	w.WriteHeader(rec.Code)
	fmt.Fprintf(w, "%s", rec.Body.Bytes()[:rec.Body.Len()/2])
	if f, ok := w.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler)
}

// change passes the request on and changes the answer.
func change(with func(rec *httptest.ResponseRecorder)) func(http.ResponseWriter, *http.Request, http.Handler) {
	return func(w http.ResponseWriter, r *http.Request, next http.Handler) {
		rec := httptest.NewRecorder()
		next.ServeHTTP(rec, r)
		with(rec)
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		fmt.Fprintf(w, "%s", rec.Body.Bytes())
	}
}

// setHeader changes one header of the answer.
func setHeader(key, value string) func(http.ResponseWriter, *http.Request, http.Handler) {
	return change(func(rec *httptest.ResponseRecorder) { rec.Header().Set(key, value) })
}

// flip changes one bit of the answer's body.
func flip(rec *httptest.ResponseRecorder) {
	b := bytes.Clone(rec.Body.Bytes())
	if len(b) > 0 {
		b[len(b)/2] ^= 1
	}
	rec.Body = bytes.NewBuffer(b)
}

// guard lets only requests with the current token pass, and changes the token
// after every few of them, as one that expires does.
type guard struct {
	next http.Handler
	life int // requests a token is good for

	mu     sync.Mutex
	left   int
	minted int
	basic  []string // what the token service was shown
}

func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	if r.URL.Path == "/token" {
		user, password, _ := r.BasicAuth()
		g.basic = append(g.basic, user+":"+password)
		g.minted++
		g.left = g.life
		fmt.Fprintf(w, `{"token":"t%d"}`, g.minted)
		g.mu.Unlock()
		return
	}
	good := r.Header.Get("Authorization") == "Bearer t"+strconv.Itoa(g.minted) && g.left > 0
	g.left--
	g.mu.Unlock()
	if !good {
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="test",scope="repository:x:pull,push"`, r.Host))
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	g.next.ServeHTTP(w, r)
}

// withStatus adds to go-containerregistry's image registry what it lacks: an
// upload can be asked how far it is, and blobs are mounted.
func withStatus(next http.Handler) http.Handler {
	var mu sync.Mutex
	at := map[string]string{}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upload := strings.Contains(r.URL.Path, "/blobs/uploads/")
		if upload && r.Method == http.MethodGet {
			mu.Lock()
			reached, ok := at[r.URL.Path]
			mu.Unlock()
			if !ok {
				reached = "0-0"
			}
			w.Header().Set("Location", r.URL.Path)
			w.Header().Set("Range", reached)
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if digest := r.URL.Query().Get("mount"); digest != "" && r.Method == http.MethodPost {
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, httptest.NewRequest(http.MethodHead, "/v2/"+r.URL.Query().Get("from")+"/blobs/"+digest, nil))
			if rec.Code == http.StatusOK {
				w.WriteHeader(http.StatusCreated)
				return
			}
		}
		next.ServeHTTP(w, r)
		if upload && r.Method == http.MethodPatch && w.Header().Get("Range") != "" {
			mu.Lock()
			at[r.URL.Path] = w.Header().Get("Range")
			mu.Unlock()
		}
	})
}

// quick is a client whose waits are short.
func quick(c oci.Config) *oci.Client {
	if c.Backoff == 0 {
		c.Backoff = 1e6
	}
	return oci.New(c)
}
