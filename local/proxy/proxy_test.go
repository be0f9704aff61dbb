package proxy_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/local/proxy"
)

func TestWhatAReplicaSees(t *testing.T) {
	t.Parallel()
	var seen *http.Request
	var body string
	p, url := start(t, proxy.Config{}, handler(t, func(w http.ResponseWriter, r *http.Request) {
		seen, body = r, read(t, r.Body)
		w.Header().Set("Connection", "X-Between")
		w.Header().Set("X-Between", "us")
		w.Header().Set("X-Model-Version", "3")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "answer")
	}))
	req, err := http.NewRequest(http.MethodPost, url+"/invocations?a=b%20c&d", strings.NewReader("question"))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "iris.example"
	for key, value := range map[string]string{
		"Content-Type": "text/csv", "Connection": "X-Mine", "X-Mine": "1", "Te": "trailers", "X-Forwarded-For": "203.0.113.9",
		"Forwarded": "for=203.0.113.9", "Expect": "100-continue", "X-Request-Id": "r1",
	} {
		req.Header.Set(key, value)
	}
	resp := do(t, req)
	if got := read(t, resp.Body); resp.StatusCode != http.StatusTeapot || got != "answer" || resp.Header.Get("X-Model-Version") != "3" {
		t.Errorf("answer %d %q %v", resp.StatusCode, got, resp.Header)
	}
	if resp.Header.Get("X-Between") != "" {
		t.Error("a field between proxy and replica was passed on")
	}
	want := http.Header{
		"Accept-Encoding":   {"gzip"},
		"Content-Length":    {"8"},
		"Content-Type":      {"text/csv"},
		"User-Agent":        {"Go-http-client/1.1"},
		"X-Forwarded-For":   {"127.0.0.1"},
		"X-Forwarded-Host":  {"iris.example"},
		"X-Forwarded-Proto": {"http"},
		"X-Request-Id":      {"r1"},
	}
	if diff := cmp.Diff(want, seen.Header); diff != "" {
		t.Errorf("header at the replica (-want +got):\n%s", diff)
	}
	if seen.Host != "iris.example" || seen.RequestURI != "/invocations?a=b%20c&d" || body != "question" {
		t.Errorf("replica saw %s %s %q", seen.Host, seen.RequestURI, body)
	}
	wantStats(t, p, proxy.Stats{Answered: 1})
}

func TestMethodsAndBodies(t *testing.T) {
	t.Parallel()
	_, url := start(t, proxy.Config{}, handler(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s", r.Method, read(t, r.Body))
	}))
	large := strings.Repeat("x", 3<<20)
	tests := []struct {
		method string
		body   io.Reader
		want   string
	}{
		{http.MethodGet, nil, "GET "},
		{http.MethodHead, nil, ""},
		{http.MethodPost, nil, "POST "},
		{http.MethodPost, strings.NewReader("x"), "POST x"},
		{http.MethodPost, io.MultiReader(strings.NewReader("of unknown "), strings.NewReader("length")), "POST of unknown length"},
		{http.MethodPost, strings.NewReader(large), "POST " + large},
		{http.MethodOptions, nil, "OPTIONS "},
		{http.MethodDelete, strings.NewReader("x"), "DELETE x"},
	}
	for _, tt := range tests {
		req, err := http.NewRequest(tt.method, url, tt.body)
		if err != nil {
			t.Fatal(err)
		}
		resp := do(t, req)
		if got := read(t, resp.Body); got != tt.want || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %.60q, want %.60q", tt.method, resp.StatusCode, got, tt.want)
		}
	}
}

func TestNobodyIsThere(t *testing.T) {
	t.Parallel()
	p, url := start(t, proxy.Config{})
	wantError(t, post(t, url), http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE")
	wantStats(t, p, proxy.Stats{Lost: 1})
}

func TestARequestWaitsForAReplicaOnItsWay(t *testing.T) {
	t.Parallel()
	p, url := start(t, proxy.Config{Hold: 20 * time.Second})
	p.Route(nil, true)
	answer := make(chan *http.Response, 1)
	go func() { answer <- post(t, url) }()
	until(t, func() bool { return p.Stats().InFlight == 1 })
	p.Route([]*proxy.Backend{p.NewBackend(handler(t, hello).Listener.Addr().String())}, false)
	if resp := <-answer; resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestADeadReplicaCostsNothing(t *testing.T) {
	t.Parallel()
	p, url := start(t, proxy.Config{}, handler(t, hello))
	alive := p.NewBackend(handler(t, hello).Listener.Addr().String())
	p.Route([]*proxy.Backend{p.NewBackend(deadAddr(t)), alive, p.NewBackend(deadAddr(t))}, true)
	for range 20 {
		if resp := post(t, url); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if s := p.Stats(); s.Answered != 20 || s.Retried == 0 || s.Lost != 0 {
		t.Errorf("stats %+v", s)
	}
}

// A replica that dies at any point before the answer is whole.
func TestAReplicaThatBreaksOff(t *testing.T) {
	t.Parallel()
	for name, said := range map[string]string{
		"before it answers":   "",
		"in the status line":  "HTTP/1.1 20",
		"in the header":       "HTTP/1.1 200 OK\r\nContent-Le",
		"in the body":         "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhel",
		"in a chunk":          "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
		"with nonsense":       "SSH-2.0-OpenSSH_9.9\r\n",
		"after interim words": "HTTP/1.1 103 Early Hints\r\n\r\n",
		"with endless header": "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<20),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, url := start(t, proxy.Config{})
			broken := p.NewBackend(rawReplica(t, said))
			p.Route([]*proxy.Backend{broken, p.NewBackend(handler(t, hello).Listener.Addr().String())}, true)
			for range 4 {
				if resp := post(t, url); resp.StatusCode != http.StatusOK || read(t, resp.Body) != "hello" {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
			if s := p.Stats(); s.Lost != 0 || s.Retried == 0 || s.Answered != 4 {
				t.Errorf("stats %+v", s)
			}
			// Alone it is asked a bounded number of times.
			p.Route([]*proxy.Backend{broken}, true)
			wantError(t, post(t, url), http.StatusBadGateway, "INTERNAL_ERROR")
		})
	}
}

// One request that kills whoever reads it must not kill all replicas.
func TestADeadlyRequestIsTriedThreeTimes(t *testing.T) {
	t.Parallel()
	p, url := start(t, proxy.Config{})
	var asked atomic.Int64
	var backends []*proxy.Backend
	for range 6 {
		s := handler(t, func(http.ResponseWriter, *http.Request) {
			asked.Add(1)
			panic(http.ErrAbortHandler)
		})
		backends = append(backends, p.NewBackend(s.Listener.Addr().String()))
	}
	p.Route(backends, true)
	wantError(t, post(t, url), http.StatusBadGateway, "INTERNAL_ERROR")
	if asked.Load() != 3 {
		t.Errorf("asked %d replicas, want 3", asked.Load())
	}
}

func TestASlowReplica(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	p, url := start(t, proxy.Config{Timeout: 50 * time.Millisecond}, handler(t, func(http.ResponseWriter, *http.Request) { <-release }))
	wantError(t, post(t, url), http.StatusGatewayTimeout, "DEADLINE_EXCEEDED")
	wantStats(t, p, proxy.Stats{Lost: 1})
}

func TestLargeAnswersStream(t *testing.T) {
	t.Parallel()
	want := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	p, url := start(t, proxy.Config{}, handler(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(want) }))
	for range 3 {
		if got := read(t, post(t, url).Body); got != string(want) {
			t.Errorf("%d bytes, want %d", len(got), len(want))
		}
	}
	wantStats(t, p, proxy.Stats{Answered: 3})
}

func TestALargeAnswerThatBreaksOffIsNotWhole(t *testing.T) {
	t.Parallel()
	said := "HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + strings.Repeat("x", 3<<20)
	p, url := start(t, proxy.Config{})
	p.Route([]*proxy.Backend{p.NewBackend(rawReplica(t, said))}, true)
	resp := post(t, url)
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the client takes half an answer for a whole one")
	}
	until(t, func() bool { return p.Stats().Lost == 1 })
}

func TestTooLargeARequest(t *testing.T) {
	t.Parallel()
	p, url := start(t, proxy.Config{MaxBody: 10}, handler(t, hello))
	for _, body := range []io.Reader{strings.NewReader("more than ten bytes"), io.MultiReader(strings.NewReader("more than ten bytes"))} {
		req, err := http.NewRequest(http.MethodPost, url, body)
		if err != nil {
			t.Fatal(err)
		}
		wantError(t, do(t, req), http.StatusRequestEntityTooLarge, "INVALID_PARAMETER_VALUE")
	}
	wantStats(t, p, proxy.Stats{Refused: 2})
}

func TestTooManyRequests(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p, url := start(t, proxy.Config{MaxInFlight: 2}, handler(t, func(w http.ResponseWriter, r *http.Request) { <-release }))
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() { post(t, url) })
	}
	until(t, func() bool { return p.Stats().InFlight == 2 })
	wantError(t, post(t, url), http.StatusServiceUnavailable, "TEMPORARILY_UNAVAILABLE")
	close(release)
	wg.Wait()
}

func TestTooManyBytes(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p, url := start(t, proxy.Config{MaxPending: 100}, handler(t, func(http.ResponseWriter, *http.Request) { <-release }))
	send := func() *http.Response {
		req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(strings.Repeat("x", 60)))
		if err != nil {
			t.Error(err)
		}
		return do(t, req)
	}
	first := make(chan int, 1)
	go func() { first <- send().StatusCode }()
	until(t, func() bool { return p.Stats().InFlight == 1 })
	// The first may not have been read yet: then it is the one that is refused.
	second := make(chan int, 1)
	go func() { second <- send().StatusCode }()
	served := first
	var status int
	select {
	case status = <-second:
	case status = <-first:
		served = second
	}
	if status != http.StatusServiceUnavailable {
		t.Errorf("status %d, want 503", status)
	}
	close(release)
	if status := <-served; status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	if resp := send(); resp.StatusCode != http.StatusOK {
		t.Errorf("once there is room again: status %d", resp.StatusCode)
	}
}

func TestDrainWaitsForWhatIsInFlight(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	p, url := start(t, proxy.Config{})
	old := p.NewBackend(handler(t, func(w http.ResponseWriter, r *http.Request) { <-release; fmt.Fprint(w, "old") }).Listener.Addr().String())
	p.Route([]*proxy.Backend{old}, true)
	answer := make(chan string, 1)
	go func() { answer <- read(t, post(t, url).Body) }()
	until(t, func() bool { return old.InFlight() == 1 })

	p.Route([]*proxy.Backend{p.NewBackend(handler(t, hello).Listener.Addr().String())}, true)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := old.Drain(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Drain with a request in flight gave %v", err)
	}
	if got := read(t, post(t, url).Body); got != "hello" {
		t.Errorf("answer %q, want the new replica's", got)
	}
	close(release)
	if err := old.Drain(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-answer; got != "old" {
		t.Errorf("answer %q, want the old replica's", got)
	}
}

// Connections that a replica closed while they were idle are not used again.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	var open atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(hello))
	s.Config.IdleTimeout = 500 * time.Millisecond
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			open.Add(1)
		case http.StateClosed:
			open.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	p, url := start(t, proxy.Config{}, s)
	for range 3 {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { post(t, url) })
		}
		wg.Wait()
		until(t, func() bool { return open.Load() == 0 }) // all connections idle into their end
	}
	if got := p.Stats(); got.Answered != 24 || got.Lost != 0 || got.Retried != 0 {
		t.Errorf("stats %+v", got)
	}
}

func TestAClientThatLeaves(t *testing.T) {
	t.Parallel()
	begun, gone := make(chan struct{}), make(chan struct{})
	p, url := start(t, proxy.Config{}, handler(t, func(_ http.ResponseWriter, r *http.Request) {
		close(begun)
		<-r.Context().Done()
		close(gone)
	}))
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-begun
		cancel()
	}()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		t.Errorf("status %d", resp.StatusCode)
	}
	<-gone
	until(t, func() bool { return p.Stats().Left == 1 && p.Stats().InFlight == 0 })
	wantStats(t, p, proxy.Stats{Left: 1})
}

// Bytes that are no request, or one meant to be read two ways, reach no replica.
func TestMalformedRequests(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	_, url := start(t, proxy.Config{}, handler(t, func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/good" {
			asked.Add(1)
		}
	}))
	addr := strings.TrimPrefix(url, "http://")
	for _, raw := range []string{
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
		"\x16\x03\x01\x02\x00\x01",
	} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, raw); err != nil {
			t.Fatal(err)
		}
		_ = conn.(*net.TCPConn).CloseWrite()
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err == nil && resp.StatusCode < 400 {
			t.Errorf("%q was answered %d", raw, resp.StatusCode)
		}
		conn.Close()
	}
	if asked.Load() != 0 {
		t.Errorf("%d malformed requests reached a replica", asked.Load())
	}
}

func BenchmarkProxy(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(hello))
	defer s.Close()
	p := proxy.New(proxy.Config{})
	p.Route([]*proxy.Backend{p.NewBackend(s.Listener.Addr().String())}, false)
	front := httptest.NewServer(p)
	defer front.Close()
	for name, url := range map[string]string{"direct": s.URL, "proxied": front.URL} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}}
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					resp, err := client.Post(url, "application/json", strings.NewReader(`{"inputs": [[1, 2, 3, 4]]}`))
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
			})
		})
	}
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

// start opens a front door to the servers.
func start(t *testing.T, cfg proxy.Config, servers ...*httptest.Server) (*proxy.Proxy, string) {
	t.Helper()
	p := proxy.New(cfg)
	var backends []*proxy.Backend
	for _, s := range servers {
		backends = append(backends, p.NewBackend(s.Listener.Addr().String()))
	}
	p.Route(backends, false)
	front := httptest.NewServer(p)
	t.Cleanup(front.Close)
	return p, front.URL
}

func handler(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s
}

// rawReplica reads a request, says what it is told to and hangs up.
func rawReplica(t *testing.T, said string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if req, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.Copy(io.Discard, req.Body)
				_, _ = io.WriteString(conn, said)
			}
			conn.Close()
		}
	}()
	return l.Addr().String()
}

func deadAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func post(t *testing.T, url string) *http.Response {
	req, err := http.NewRequest(http.MethodPost, url+"/invocations", strings.NewReader("{}"))
	if err != nil {
		t.Error(err)
	}
	return do(t, req)
}

func do(t *testing.T, req *http.Request) *http.Response {
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Error(err)
		return &http.Response{Body: http.NoBody}
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func read(t *testing.T, r io.Reader) string {
	data, err := io.ReadAll(r)
	if err != nil {
		t.Error(err)
	}
	return string(data)
}

func wantError(t *testing.T, resp *http.Response, status int, code string) {
	t.Helper()
	var e struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if err := json.Unmarshal([]byte(read(t, resp.Body)), &e); err != nil {
		t.Error(err)
	}
	if resp.StatusCode != status || e.Code != code || e.Message == "" {
		t.Errorf("answer %d %+v, want %d %s", resp.StatusCode, e, status, code)
	}
}

func wantStats(t *testing.T, p *proxy.Proxy, want proxy.Stats) {
	t.Helper()
	until(t, func() bool { return p.Stats().InFlight == 0 })
	if diff := cmp.Diff(want, p.Stats()); diff != "" {
		t.Errorf("stats (-want +got):\n%s", diff)
	}
}

func until(t *testing.T, ok func() bool) {
	deadline := time.After(20 * time.Second)
	for tick := time.NewTicker(time.Millisecond); !ok(); {
		select {
		case <-deadline:
			t.Error("not in time")
			return
		case <-tick.C:
		}
	}
}

// Whatever bytes a client sends, a replica sees no more requests than the
// client gets answers: none is smuggled in another.
func FuzzRequests(f *testing.F) {
	for _, seed := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{}GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: y\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET http://b/x?y HTTP/1.1\r\nHost: a\r\nConnection: host, x\r\nX: y\r\n folded\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
		"POST / HTTP/1.0\r\nContent-Length: 3\r\n\r\nabcdef",
	} {
		f.Add([]byte(seed))
	}
	var seen atomic.Int64
	replica := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	f.Cleanup(replica.Close)
	p := proxy.New(proxy.Config{})
	p.Route([]*proxy.Backend{p.NewBackend(replica.Listener.Addr().String())}, false)
	front := httptest.NewServer(p)
	f.Cleanup(front.Close)
	f.Fuzz(func(t *testing.T, raw []byte) {
		before := seen.Load()
		conn, err := net.Dial("tcp", front.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(raw)
		_ = conn.(*net.TCPConn).CloseWrite()
		reply, _ := io.ReadAll(conn)
		until(t, func() bool { return p.Stats().InFlight == 0 })
		answers := int64(strings.Count(string(reply), "HTTP/1.1 ") + strings.Count(string(reply), "HTTP/1.0 "))
		if got := seen.Load() - before; got > answers+p.Stats().Left {
			t.Errorf("%d requests reached the replica, %d were answered: %q", got, answers, reply)
		}
	})
}
