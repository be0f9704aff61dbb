//go:build e2e

package e2e_test

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// workflows is a GitHub that is slow to answer, and lists the runs it has taken.
type workflows struct {
	mu   sync.Mutex
	runs []map[string]string
}

func (g *workflows) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		g.list(w)
		return
	}
	var body struct {
		Payload map[string]string `json:"client_payload"`
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	g.mu.Lock()
	g.runs = append(g.runs, body.Payload)
	g.mu.Unlock()
	<-time.After(rand.N(300 * time.Millisecond)) // in which whoever asked may die
	w.WriteHeader(http.StatusNoContent)
}

func (g *workflows) list(w io.Writer) {
	type run struct {
		Title string `json:"display_title"`
	}
	out := map[string][]run{"workflow_runs": {}}
	g.mu.Lock()
	for _, payload := range g.runs {
		out["workflow_runs"] = append(out["workflow_runs"], run{"run " + payload["start"]})
	}
	g.mu.Unlock()
	_ = json.NewEncoder(w).Encode(out) // to who may be dead
}

// versions are those that were started, in order.
func (g *workflows) versions() (all []string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, payload := range g.runs {
		all = append(all, payload["version"])
	}
	return all
}

// SIGKILL ends the relay again and again while versions are promoted: none is
// started twice, and the last one is started.
func TestE2ERelayKilled(t *testing.T) {
	t.Parallel()
	const promotions = 20
	r := newReal(t, slices.Repeat([]string{"odds"}, promotions)...)
	github := &workflows{}
	server := httptest.NewServer(github)
	t.Cleanup(server.Close)
	file, address := filepath.Join(r.home, "slipway.yaml"), freeAddress(t)
	text := "relay: {start: github://ada/models}\nmodels:\n  - {model: \"" + r.champion() + "\", image: x/y, target: \"" + r.target() + "\"}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.env = append(r.env, "GITHUB_API_URL="+server.URL, "GH_TOKEN=gh-token", "SLIPWAY_WEBHOOK_SECRET=end-to-end-secret")
	start := func() *exec.Cmd {
		cmd := r.command(t.Context(), "relay", "--config", file, "--listen", address, "--poll", "1s", "--database", filepath.Join(r.home, "relay.db"))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	relay := start()
	kill := func() {
		_ = relay.Process.Kill()
		_ = relay.Wait() // killed
	}
	defer func() { kill() }()
	kills := 0
	for version := range promotions {
		r.promote("champion", slipway.Version(strconv.Itoa(version+1)))
		<-time.After(rand.N(1500 * time.Millisecond))
		if rand.N(3) > 0 {
			kill()
			relay = start()
			kills++
		}
	}
	last := strconv.Itoa(promotions)
	if !eventually(2*time.Minute, func() bool { // started may be the version before
		return slices.Contains(github.versions(), last) && strings.Contains(metrics(address), `slipway_relay_promotions{state="started"} 1`)
	}) {
		t.Fatalf("it never comes to rest:\n%s", metrics(address))
	}
	got := github.versions()
	if slices.Sort(got); len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("killed %d times, it started %v", kills, got)
	}
	t.Logf("killed %d times, it started %d of %d versions", kills, len(got), promotions)
}

// metrics are those of a relay; "" while it does not answer.
func metrics(address string) string {
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return ""
	}
	return string(body)
}
