//go:build bench

package bench_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

const relaySecret = "bench-secret-0123456789"

// relayed is a relay between a model registry and a GitHub of this process.
// Its targets are on this machine, and nothing was ever brought there.
type relayed struct {
	*process
	models     *mlflowtest.Server
	mu         sync.Mutex
	dispatched map[string]time.Time // by model reference and version
	arrived    chan struct{}        // gets one for each dispatch
}

// newRelayed watches so many models, each with two versions and the first promoted.
func newRelayed(t *testing.T, models int, poll time.Duration) *relayed {
	t.Helper()
	r := &relayed{models: mlflowtest.NewServer(mlflowtest.Config{}), dispatched: map[string]time.Time{}, arrived: make(chan struct{}, 100_000)}
	uri, err := r.models.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.models.Close() })
	github := httptest.NewServer(http.HandlerFunc(r.dispatch))
	t.Cleanup(github.Close)
	dir := t.TempDir()
	r.register(t, dir, models)
	address, err := e2e.Address()
	if err != nil {
		t.Fatal(err)
	}
	r.process = start(t, []string{"MLFLOW_TRACKING_URI=" + uri, "SLIPWAY_WEBHOOK_SECRET=" + relaySecret, "GH_TOKEN=none", "GITHUB_API_URL=" + github.URL, "XDG_STATE_HOME=" + dir},
		build(t, "./cmd/slipway"), "relay", "--config", filepath.Join(dir, "slipway.yaml"), "--listen", address, "--poll", poll.String())
	r.url = "http://" + address
	r.await(t, "/ready", time.Now())
	for range models { // each first promotion
		<-r.arrived
	}
	return r
}

func (r *relayed) register(t *testing.T, dir string, models int) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte("flavors: {}\nmodel_id: m-0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	text.WriteString("relay: {start: github://ada/models}\nmodels:\n")
	for i := range models {
		for range 2 {
			if _, err := r.models.AddVersion(modelName(i), dir); err != nil {
				t.Fatal(err)
			}
		}
		r.promote(t, i, 1)
		fmt.Fprintf(&text, "  - {model: models:/%s@champion, image: x/y, target: \"local://127.0.0.1:%d\"}\n", modelName(i), 20000+i)
	}
	if err := os.WriteFile(filepath.Join(dir, "slipway.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func modelName(i int) string { return fmt.Sprintf("model-%04d", i) }

func (r *relayed) promote(t *testing.T, i, version int) {
	t.Helper()
	body := fmt.Sprintf(`{"name": %q, "alias": "champion", "version": "%d"}`, modelName(i), version)
	req := httptest.NewRequest(http.MethodPost, "http://localhost/api/2.0/mlflow/registered-models/alias", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	rec := httptest.NewRecorder()
	if r.models.ServeHTTP(rec, req); rec.Code != http.StatusOK {
		t.Fatalf("promoting: %d %s", rec.Code, rec.Body)
	}
}

func (r *relayed) dispatch(w http.ResponseWriter, req *http.Request) {
	var body struct {
		Payload map[string]string `json:"client_payload"`
	}
	if err := json.NewDecoder(req.Body).Decode(&body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	r.dispatched[body.Payload["model"]+" "+body.Payload["version"]] = time.Now()
	r.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
	r.arrived <- struct{}{}
}

// deliver sends a webhook of a model's alias.
func (r *relayed) deliver(t *testing.T, client *http.Client, id string, i int) {
	body, at := fmt.Sprintf(`{"entity": "model_version_alias", "action": "created", "data": {"name": %q, "alias": "champion", "version": "2"}}`, modelName(i)), strconv.FormatInt(time.Now().Unix(), 10)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/webhook", strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return
	}
	req.Header.Set("X-MLflow-Delivery-Id", id)
	req.Header.Set("X-MLflow-Timestamp", at)
	req.Header.Set("X-MLflow-Signature", mlflowtest.Sign(relaySecret, id, at, []byte(body)))
	res, err := client.Do(req)
	if err != nil {
		t.Error(err)
		return
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("webhook %s: %s", id, res.Status)
	}
}

// TestRelayStarts measures from a webhook sent to the dispatch received, one
// promotion at a time.
func TestRelayStarts(t *testing.T) {
	const models = 300
	r := newRelayed(t, models, time.Hour)
	client := &http.Client{}
	var took []time.Duration
	for i := range models {
		r.promote(t, i, 2)
		sent := time.Now()
		r.deliver(t, client, fmt.Sprint("one-", i), i)
		<-r.arrived
		r.mu.Lock()
		took = append(took, r.dispatched["models:/"+modelName(i)+"@champion 2"].Sub(sent))
		r.mu.Unlock()
	}
	slices.Sort(took)
	row(t, "relay: webhook sent → dispatch received", "≤ 50 ms p99", "p50 %v p99 %v", took[len(took)/2].Round(time.Millisecond/10), took[len(took)*99/100].Round(time.Millisecond/10))
}

// TestRelayLoad sends 1,000 webhooks a second for ten seconds, each of its own
// delivery; half of them are of models that nobody watches.
func TestRelayLoad(t *testing.T) {
	const perSecond, seconds = 1000, 10
	r := newRelayed(t, 10, time.Hour)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 200, MaxConnsPerHost: 200}} // 20 workers of MLflow send as many at a time
	before := r.peakMemory(t)
	took := make([]time.Duration, perSecond*seconds)
	began := time.Now()
	var all sync.WaitGroup
	for i := range took {
		due := began.Add(time.Duration(i) * time.Second / perSecond)
		time.Sleep(time.Until(due))
		all.Go(func() {
			r.deliver(t, client, fmt.Sprint("load-", i), i%20)
			took[i] = time.Since(due)
		})
	}
	all.Wait()
	achieved := float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	row(t, "relay: 1,000 webhooks/s for 10 s", "all stored; steady memory", "%.0f/s, p50 %v p99 %v, %d → %d MB", achieved, took[len(took)/2].Round(time.Millisecond/10),
		took[len(took)*99/100].Round(time.Millisecond/10), before>>20, r.peakMemory(t)>>20)
}

// TestRelayPolls watches 1,000 models every 30 s for two minutes.
func TestRelayPolls(t *testing.T) {
	r := newRelayed(t, 1000, 30*time.Second)
	time.Sleep(35 * time.Second) // what comes once
	cpu, began := r.cpuTime(t), time.Now()
	time.Sleep(2 * time.Minute)
	share := float64(r.cpuTime(t)-cpu) / float64(time.Since(began)) * 100
	row(t, "relay: 1,000 models every 30 s", "≤ 2 % of a core, ≤ 60 MB", "%.1f %% of a core, %d MB, of which %d MB are no pages of the program's file; %d MB at most, as it starts",
		share, r.memory(t, "VmRSS")>>20, r.memory(t, "RssAnon")>>20, r.peakMemory(t)>>20)
}

// cpuTime is what the process has used so far (proc(5), utime and stime in
// hundredths of a second).
func (p *process) cpuTime(t *testing.T) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
