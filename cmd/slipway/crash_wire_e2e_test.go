//go:build e2e

package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// gate is before both registries of a world. It kills a run in the middle of a
// request that leaves a trace there, or of a download: before the registry
// gets it, or after it has done it and before the run learns that.
type gate struct {
	mu     sync.Mutex
	at     int
	when   side
	victim *os.Process // nil: nobody is to be killed
	count  int
	met    string // the request at which it struck
}

// gateOf puts the gate before the world's registries.
func gateOf(t *testing.T, w *world) *gate {
	t.Helper()
	g := &gate{}
	for name, scheme := range map[string]string{"MLFLOW_TRACKING_URI": "", "IMAGES": "http://"} {
		to, err := url.Parse(scheme + w.vars[name])
		if err != nil {
			t.Fatal(err)
		}
		through := httputil.NewSingleHostReverseProxy(to)
		through.ErrorLog = log.New(io.Discard, "", 0) // clients that are killed
		server := httptest.NewServer(g.before(through))
		w.later(server.Close)
		w.vars[name] = strings.TrimPrefix(server.URL, scheme)
	}
	return g
}

func (g *gate) before(to http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch g.strikes(r) {
		case before:
			g.kill()
			panic(http.ErrAbortHandler)
		case after:
			to.ServeHTTP(httptest.NewRecorder(), r)
			g.kill()
			panic(http.ErrAbortHandler)
		}
		to.ServeHTTP(w, r)
	})
}

// strikes counts the request and says whether this is the one.
func (g *gate) strikes(r *http.Request) side {
	g.mu.Lock()
	defer g.mu.Unlock()
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if g.victim == nil || reads && !strings.Contains(r.URL.Path, "/mlflow-artifacts/artifacts/") {
		return ""
	}
	if g.count++; g.count != g.at {
		return ""
	}
	g.met = r.Method + " " + r.URL.Path
	return g.when
}

func (g *gate) kill() {
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.victim.Kill() // it may just have ended by itself; the test looks
	g.victim = nil
}

// arm makes the gate strike at the n-th such request of the process.
func (g *gate) arm(n int, when side, victim *os.Process) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at, g.when, g.victim, g.count = n, when, victim, 0
}

// disarm ends that and returns where it struck; empty: nowhere.
func (g *gate) disarm() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.victim = nil
	return g.met
}

// A run is killed within every request that leaves a trace in a registry, and
// within every download.
func TestE2EKilledWithinEveryRequest(t *testing.T) {
	for _, when := range []side{before, after} {
		t.Run(string(when), func(t *testing.T) {
			t.Parallel()
			cache := t.TempDir()
			for n := 1; !t.Failed(); n++ {
				if ended := wire.killedWithin(t, cache, n, when); ended {
					t.Logf("%d kill points", n-1)
					return
				}
			}
		})
	}
}

var wire = tale{name: "deploy", before: []string{"1"}, args: []string{"deploy", "models:/iris/2"}, ends: []string{"1", "2"}, settle: "2"}

func (a tale) killedWithin(t *testing.T, cache string, n int, when side) (ended bool) {
	c := a.begin(t, cache, "killed "+string(when)+" a request")
	defer c.close()
	c.killWithin(n, when)
	if !c.killed {
		return true
	}
	c.next(n%2 == 0)
	c.check(a.ends)
	c.settle()
	c.check([]string{a.settle})
	partial, err := filepath.Glob(filepath.Join(cache, "slipway", "models", ".*.partial"))
	if err != nil || len(partial) > 0 {
		t.Errorf("%s: litter in the cache: %v, %v", c.what, partial, err)
	}
	c.end()
	return false
}

func (c *crash) killWithin(n int, when side) {
	c.t.Helper()
	cmd, out := c.command("0:")
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.gate.arm(n, when, cmd.Process)
	err := cmd.Wait()
	met := c.gate.disarm()
	c.killed, c.what = met != "", c.what+", "+met
	if signaled(cmd) != c.killed {
		c.t.Fatalf("%s: %v\n%s", c.what, err, out)
	}
}
