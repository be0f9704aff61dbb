//go:build bench

package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is what clients saw of a server.
type load struct {
	perSecond float64
	p50, p99  time.Duration
}

func (l load) String() string {
	return fmt.Sprintf("%.0f/s, p50 %v p99 %v", l.perSecond, l.p50.Round(10*time.Microsecond), l.p99.Round(10*time.Microsecond))
}

// wrk asks for a prediction as often as it can: one thread, so many connections.
func wrk(t *testing.T, url, body string, connections int, d time.Duration) load {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "wrk", "-t1", fmt.Sprintf("-c%d", connections), fmt.Sprintf("-d%ds", int(d.Seconds())),
		"-s", "testdata/post.lua", url+"/invocations")
	cmd.Env = append(os.Environ(), "BODY="+body)
	out, err := cmd.CombinedOutput()
	_, line, ok := strings.Cut(string(out), "RESULT ")
	if err != nil || !ok {
		t.Fatalf("wrk: %v\n%s", err, out)
	}
	var requests, failed, µs, p50, p99 float64
	if _, err := fmt.Sscan(line, &requests, &failed, &µs, &p50, &p99); err != nil {
		t.Fatalf("reading wrk's %q: %v", line, err)
	}
	if failed > 0 || requests == 0 {
		t.Fatalf("%s: %.0f of %.0f requests failed", url, failed, requests)
	}
	return load{requests / µs * 1e6, time.Duration(p50) * time.Microsecond, time.Duration(p99) * time.Microsecond}
}

// median is the load of median throughput over rounds.
func median(loads []load) load {
	slices.SortFunc(loads, func(a, b load) int { return int(a.perSecond - b.perSecond) })
	return loads[len(loads)/2]
}

// paced asks at a steady rate, whatever the answers take. Latencies are from
// when a request was due, so that a server that stalls does not hide it.
func paced(t *testing.T, url, body string, perSecond float64, d time.Duration) load {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	took := make([]time.Duration, int(perSecond*d.Seconds()))
	began := time.Now()
	var all sync.WaitGroup
	for i := range took {
		due := began.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
		time.Sleep(time.Until(due))
		all.Go(func() {
			if _, err := ask(client, url, body); err != nil {
				t.Error(err)
			}
			took[i] = time.Since(due)
		})
	}
	all.Wait()
	achieved := float64(len(took)) / time.Since(began).Seconds()
	slices.Sort(took)
	return load{achieved, took[len(took)/2], took[len(took)*99/100]}
}

func ask(client *http.Client, url, body string) ([]byte, error) {
	r, err := client.Post(url+"/invocations", "application/json", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err == nil && r.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, r.Status, text)
	}
	return text, err
}
