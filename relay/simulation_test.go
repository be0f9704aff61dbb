package relay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/relay"
)

// simulation is a model registry that promotes, a network that drops, doubles,
// delays and reorders what it sends, a host of workflows that is slow, fails,
// and says nothing of what it has taken, and a relay that is killed again and
// again. All of it on one clock, which only goes on when everybody waits.
type simulation struct {
	t      *testing.T
	random *rand.Rand
	mlflow *mlflowtest.Server
	models []string

	mu    sync.Mutex
	relay *relay.Relay // nil: killed
	since time.Time    // when it came
	runs  []simulated
	live  map[string]slipway.Version // by name
	moved map[string]simulatedMove   // the last one, by name
	calm  int                        // promotions that a relay had the time to see
	kills int
	dead  chan struct{} // asks for the next relay
}

// simulatedMove is a promotion.
type simulatedMove struct {
	version slipway.Version
	at      time.Time
	brought bool // a run found it
}

// simulated is a workflow run that the host has taken.
type simulated struct {
	relay.Start
	taken time.Time
}

const (
	simulatedModels  = 20
	simulatedEach    = 50 // promotions of each
	simulatedRelease = 40 * time.Second
	simulatedListing = 10 * time.Second // until the host lists what it has taken
	simulatedCalm    = 6 * time.Minute  // now and then, without a promotion
	simulatedDue     = 4 * time.Minute  // by which a relay that lives has brought what is promoted
)

func TestNothingIsMissedAndNothingStartsTwice(t *testing.T) {
	t.Parallel()
	for seed := range uint64(3) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, seed) })
		})
	}
}

func simulate(t *testing.T, seed uint64) {
	s := &simulation{t: t, random: rand.New(rand.NewPCG(seed, 7)), live: map[string]slipway.Version{}, moved: map[string]simulatedMove{}, dead: make(chan struct{}, 1)}
	s.mlflow = mlflowtest.NewServer(mlflowtest.Config{})
	s.register()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.keepRunning(ctx, filepath.Join(t.TempDir(), "relay.db")); close(done) }()
	for version := 1; version <= simulatedEach; version++ {
		for _, i := range s.perm() {
			s.promote(s.models[i], version)
			<-time.After(s.upTo(10 * time.Second))
			if s.chance(0.05) {
				s.kill()
			}
		}
		if version%10 == 0 {
			<-time.After(simulatedCalm)
			s.checkCalm()
		}
	}
	<-time.After(15 * time.Minute) // all that was to happen has
	cancel()
	<-done
	s.check()
}

// register makes all versions; nothing is promoted yet.
func (s *simulation) register() {
	dir := s.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte("flavors: {}\nmodel_id: m-0\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
	for i := range simulatedModels {
		name := fmt.Sprintf("model-%02d", i)
		s.models = append(s.models, name)
		for range simulatedEach {
			if _, err := s.mlflow.AddVersion(name, dir); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}

// keepRunning opens a relay on the same database whenever the last was killed.
func (s *simulation) keepRunning(ctx context.Context, database string) {
	for ctx.Err() == nil {
		c := relay.Config{Database: database, World: s, Secrets: []string{secret}}
		for _, m := range s.models {
			c.Watch = append(c.Watch, relay.Watched{Model: slipway.ModelRef{Name: slipway.ModelName(m), Alias: "champion"}, Environment: "production", Starter: s})
		}
		r := open(s.t, c)
		s.set(func() { s.relay, s.since = r, time.Now() })
		running, stop := context.WithCancel(ctx)
		ended := make(chan struct{})
		go func() { r.Run(running); close(ended) }()
		select {
		case <-s.dead:
		case <-ctx.Done():
		}
		stop()
		<-ended
		s.set(func() { s.relay = nil })
		_ = r.Close() // a killed one is closed already
		if ctx.Err() == nil {
			<-time.After(s.upTo(40 * time.Second))
		}
	}
}

// kill ends the relay here and now: nothing it does from now on is stored.
func (s *simulation) kill() {
	var r *relay.Relay
	s.set(func() {
		if r, s.relay = s.relay, nil; r != nil {
			s.kills++
		}
	})
	if r != nil {
		_ = r.Close()
		s.dead <- struct{}{}
	}
}

func (s *simulation) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *simulation) chance(p float64) (yes bool) {
	s.set(func() { yes = s.random.Float64() < p })
	return yes
}

func (s *simulation) upTo(d time.Duration) (some time.Duration) {
	s.set(func() { some = time.Duration(s.random.Int64N(int64(d))) })
	return some
}

func (s *simulation) perm() (p []int) {
	s.set(func() { p = s.random.Perm(len(s.models)) })
	return p
}

// ask speaks MLflow's REST API.
func (s *simulation) ask(method, path string, body string) (int, []byte) {
	req := httptest.NewRequest(method, "http://localhost/api/2.0/mlflow/"+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	s.mlflow.ServeHTTP(rec, req)
	return rec.Code, rec.Body.Bytes()
}

// promote points the alias at the version. What MLflow sends of it may be lost,
// come twice, or later than the next.
func (s *simulation) promote(name string, version int) {
	body := fmt.Sprintf(`{"name": %q, "alias": "champion", "version": "%d"}`, name, version)
	if code, said := s.ask(http.MethodPost, "registered-models/alias", body); code != http.StatusOK {
		s.t.Errorf("promoting: %d %s", code, said)
	}
	s.set(func() { s.moved[name] = simulatedMove{version: slipway.Version(strconv.Itoa(version)), at: time.Now()} })
	id, sent, event := fmt.Sprintf("%s-%d", name, version), time.Now(), moved(name, "champion", slipway.Version(strconv.Itoa(version)))
	for range map[bool]int{true: 0, false: 1}[s.chance(0.25)] + map[bool]int{true: 2, false: 0}[s.chance(0.2)] {
		late := s.upTo(time.Minute)
		time.AfterFunc(map[bool]time.Duration{true: late, false: 0}[s.chance(0.5)], func() {
			var r *relay.Relay
			s.set(func() { r = s.relay })
			if r != nil {
				ask(r, delivery(id, secret, sent, event))
			}
		})
	}
}

// Promoted is part of relay.World.
func (s *simulation) Promoted(_ context.Context, w relay.Watched) (slipway.Version, error) {
	if s.chance(0.05) {
		return "", slipway.Errorf(slipway.Unavailable, "resolving", "MLflow is away")
	}
	return s.champion(string(w.Model.Name)), nil
}

func (s *simulation) champion(name string) slipway.Version {
	code, said := s.ask(http.MethodGet, "registered-models/alias?alias=champion&name="+url.QueryEscape(name), "")
	if code == http.StatusBadRequest {
		return "" // no such alias yet
	}
	var out struct {
		Version struct {
			Version slipway.Version `json:"version"`
		} `json:"model_version"`
	}
	if err := json.Unmarshal(said, &out); err != nil || code != http.StatusOK {
		s.t.Errorf("resolving: %d %s", code, said)
	}
	return out.Version.Version
}

// Outlook is part of relay.World.
func (s *simulation) Outlook(_ context.Context, w relay.Watched, v slipway.Version) relay.Outlook {
	if s.chance(0.1) {
		return relay.Outlook{Prospect: relay.Unknown}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.live[string(w.Model.Name)] == v {
		return relay.Outlook{Prospect: relay.Nothing}
	}
	return relay.Outlook{Prospect: relay.Due}
}

// Start is part of relay.Starter. The relay may be killed before it sends, or
// before it hears the answer.
func (s *simulation) Start(_ context.Context, what relay.Start) (string, error) {
	lost := slipway.Errorf(slipway.Unavailable, "starting", "no answer")
	if s.chance(0.02) {
		s.kill()
		return "", lost
	}
	if s.chance(0.05) { // it never arrived
		return "", lost
	}
	if s.chance(0.03) {
		return "", slipway.Errorf(slipway.Unauthorized, "starting", "401")
	}
	s.set(func() { s.runs = append(s.runs, simulated{what, time.Now()}) })
	time.AfterFunc(simulatedRelease, func() { // it looks again what is promoted
		v := s.champion(string(what.Model.Name))
		s.set(func() {
			s.live[string(what.Model.Name)] = v
			if m := s.moved[string(what.Model.Name)]; m.version == v {
				m.brought = true
				s.moved[string(what.Model.Name)] = m
			}
		})
	})
	if s.chance(0.02) {
		s.kill()
		return "", lost
	}
	if s.chance(0.05) { // its answer was lost
		return "", lost
	}
	return "", nil
}

// Find is part of relay.Finder.
func (s *simulation) Find(_ context.Context, what relay.Start) (string, bool, error) {
	if s.chance(0.1) {
		return "", false, slipway.Errorf(slipway.Unavailable, "looking", "500")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, run := range s.runs {
		if run.ID == what.ID && time.Since(run.taken) > simulatedListing {
			return "", true, nil
		}
	}
	return "", false, nil
}

// checkCalm wants what stayed promoted while a relay lived to have been brought.
func (s *simulation) checkCalm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, m := range s.moved {
		seen := m.at
		if s.since.After(seen) {
			seen = s.since
		}
		if s.relay == nil || time.Since(seen) < simulatedDue {
			continue
		}
		if s.calm++; !m.brought {
			s.t.Errorf("%s %s is not live %v after it was promoted, and a relay had %v for it", name, m.version, time.Since(m.at), time.Since(seen))
		}
	}
}

func (s *simulation) check() {
	count := map[string]map[slipway.Version]int{}
	for _, run := range s.runs {
		name := string(run.Model.Name)
		if count[name] == nil {
			count[name] = map[slipway.Version]int{}
		}
		count[name][run.Version]++
	}
	last := slipway.Version(strconv.Itoa(simulatedEach))
	for _, name := range s.models {
		for version, n := range count[name] {
			if n != 1 {
				s.t.Errorf("%s %s was started %d times", name, version, n)
			}
		}
		if s.live[name] != last { // by a run of its own, or by one that looked late enough to find it
			s.t.Errorf("%s: %s is live in the end, not %s, which was started %d times", name, s.live[name], last, count[name][last])
		}
	}
	if s.kills < 10 {
		s.t.Errorf("the relay was killed %d times: too few to show anything", s.kills)
	}
	if s.calm < 30 {
		s.t.Errorf("a relay had the time for %d promotions: too few to show anything", s.calm)
	}
	s.t.Logf("%d promotions, of which a relay had the time for %d, %d runs, %d kills", simulatedModels*simulatedEach, s.calm, len(s.runs), s.kills)
}
