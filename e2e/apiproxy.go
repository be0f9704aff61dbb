package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// APIProxy stands between a client and the API server of a cluster. It notes
// every call and can be cut, and it asks its hooks before a call is passed on
// and before its answer is. It speaks plain HTTP on loopback and has the
// administrator's credentials, so that its clients need none.
//
// A client sees what goes wrong as it would see it of a real API server: a
// connection that is refused or reset, a status, an answer that is late.
type APIProxy struct {
	address string
	server  *http.Server

	mu     sync.Mutex
	door   net.Listener // nil: cut
	conns  map[net.Conn]bool
	calls  []APICall
	before func(APICall) int
	after  func(APICall)
}

// Proxied returns the path of a kubeconfig whose server is a proxy of this
// process, and the proxy. It ends with the test.
func (c *KubeCluster) Proxied(t testing.TB) (kubeconfig string, p *APIProxy) {
	t.Helper()
	stdout, stderr, err := c.TryKubectl(t, "", "config", "view", "--raw", "--minify", "--flatten", "-o", "json")
	if err != nil {
		t.Fatalf("reading the kubeconfig: %v\n%s", err, stderr)
	}
	api, err := parseUpstream([]byte(stdout))
	if err != nil {
		t.Fatal(err)
	}
	if p, err = newAPIProxy(api); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.close)
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, fmt.Appendf(nil, proxiedConfig, p.address), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, p
}

const proxiedConfig = `apiVersion: v1
kind: Config
clusters: [{name: proxied, cluster: {server: "http://%s"}}]
contexts: [{name: proxied, context: {cluster: proxied, user: ""}}]
current-context: proxied
`

func newAPIProxy(api upstream) (*APIProxy, error) {
	address, err := Address()
	if err != nil {
		return nil, err
	}
	p := &APIProxy{address: address, conns: map[net.Conn]bool{}}
	quiet := log.New(io.Discard, "", 0) // clients that are killed and connections that are cut
	through := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.SetURL(api.server); api.authorize(r.Out) },
		Transport:      api.transport,
		ModifyResponse: p.answered,
		ErrorHandler:   func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:       quiet,
	}
	p.server = &http.Server{Handler: p.passing(through), ConnState: p.connected, ErrorLog: quiet}
	return p, p.listen()
}

func (p *APIProxy) listen() error {
	l, err := net.Listen("tcp", p.address)
	if err != nil {
		return fmt.Errorf("starting a proxy of the API server: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.door = l
	go p.server.Serve(l) //nolint:errcheck // it ends when the listener is closed
	return nil
}

func (p *APIProxy) close() {
	p.Cut()
	p.server.Close() //nolint:errcheck // nothing of it is needed any more
}

// connected keeps the list of open connections. One that is upgraded stays on
// it: nobody tells when it ends, and closing it twice is harmless.
func (p *APIProxy) connected(conn net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.conns[conn] = true
	case http.StateClosed:
		delete(p.conns, conn)
	}
}

// Cut takes the API server away: connections are reset and new ones refused.
// What the API server was told already it does.
func (p *APIProxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.door != nil {
		p.door.Close() //nolint:errcheck // nobody can be asked to mend it
		p.door = nil
	}
	for conn := range p.conns {
		if tcp, ok := conn.(*net.TCPConn); ok {
			tcp.SetLinger(0) //nolint:errcheck // it is closed all the same, less rudely
		}
		conn.Close() //nolint:errcheck // it may be closed already
	}
	clear(p.conns)
}

// Restore ends a Cut.
func (p *APIProxy) Restore(t testing.TB) {
	t.Helper()
	if err := p.listen(); err != nil {
		t.Error(err)
	}
}

// Before has f asked about each call before the API server gets it. f may take
// its time; a status other than 0 is the answer instead of the API server's.
// nil ends it.
func (p *APIProxy) Before(f func(APICall) (status int)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// After has f told of each call once the API server has acted and before its
// answer is passed on. nil ends it.
func (p *APIProxy) After(f func(APICall)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.after = f
}

// Calls returns the calls so far, in the order in which they came.
func (p *APIProxy) Calls() []APICall {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.calls)
}

func (p *APIProxy) passing(to http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r, call, before := p.note(r)
		if before != nil {
			if status := before(call); status != 0 {
				refuse(w, status)
				return
			}
		}
		to.ServeHTTP(w, r)
	})
}

// note adds the call to the list.
func (p *APIProxy) note(r *http.Request) (*http.Request, APICall, func(APICall) int) {
	call := newAPICall(r)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.door == nil {
		panic(http.ErrAbortHandler) // accepted in the very moment of the cut
	}
	call.Number = len(p.calls) + 1
	p.calls = append(p.calls, call)
	return call.in(r), call, p.before
}

// answered is told of each answer of the API server's.
func (p *APIProxy) answered(resp *http.Response) error {
	p.mu.Lock()
	after := p.after
	p.mu.Unlock()
	if after != nil {
		after(callOf(resp.Request))
	}
	return nil
}

// refuse answers as an API server does that cannot serve the call.
func refuse(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	body, _ := json.Marshal(map[string]any{ //nolint:errcheck // strings and numbers
		"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "message": "a test says: " + http.StatusText(status),
	})
	w.Write(body) //nolint:errcheck // a client that went away is its own affair
}
