//go:build e2e

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// question is a flower on which the two versions differ.
const question = `{"dataframe_records": [{"sepal_length": 6.0, "sepal_width": 2.7, "petal_length": 4.4, "petal_width": 1.8, "habitat": "marsh"}]}`

// answers are what each version says to it.
var answers = map[string]string{"1": `["virginica"]`, "2": `["versicolor"]`}

// prober asks the target all the time, in turn by a connection that it keeps
// and by a new one.
type prober struct {
	url   string
	every time.Duration
	stop  chan struct{}
	done  chan struct{}

	mu      sync.Mutex
	must    bool // a request that is not answered is lost
	asked   int
	right   map[string]int
	wrong   []string
	lost    []string
	unheard int // not answered while that was allowed
	last    error
}

func newProber(address string) *prober { return newPacedProber(address, 10*time.Millisecond) }

func newPacedProber(address string, every time.Duration) *prober {
	p := &prober{url: "http://" + address + "/invocations", every: every, stop: make(chan struct{}), done: make(chan struct{}), right: map[string]int{}}
	go p.run()
	return p
}

func (p *prober) run() {
	defer close(p.done)
	kept := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	defer kept.CloseIdleConnections()
	tick := time.NewTicker(p.every)
	defer tick.Stop()
	for {
		for _, client := range []*http.Client{kept, fresh} {
			select {
			case <-p.stop:
				return
			case <-tick.C:
				p.ask(client)
			}
		}
	}
}

func (p *prober) ask(client *http.Client) {
	p.mu.Lock()
	must := p.must
	p.mu.Unlock()
	version, answer, err := probe(client, p.url)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked++
	switch {
	case err == nil && jsonEqual([]byte(answers[version]), answer):
		p.right[version]++
	case err == nil:
		p.wrong = append(p.wrong, fmt.Sprintf("version %q answered %s", version, answer))
	case must && p.must:
		p.lost = append(p.lost, time.Now().Format("15:04:05.000 ")+err.Error())
	default:
		p.unheard++
		p.last = err
		client.CloseIdleConnections() // before a Service has its rules, its address may lead anywhere
	}
}

func probe(client *http.Client, url string) (version string, answer []byte, err error) {
	resp, err := client.Post(url, "application/json", bytes.NewReader([]byte(question)))
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	if err != nil {
		return "", nil, err
	}
	var reply struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	err = json.Unmarshal(body, &reply)
	return resp.Header.Get("X-Model-Version"), reply.Predictions, err
}

// live says that from now on every request must be answered.
func (p *prober) live() { p.expect(true) }

// mayLose says that requests may be lost for a while: the door itself is to be
// killed.
func (p *prober) mayLose() { p.expect(false) }

func (p *prober) expect(must bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.must = must
}

// report fails the tale for what was answered wrongly or lost so far.
func (p *prober) report(c *crash) {
	c.t.Helper()
	p.blame(c.t, c.what)
}

func (p *prober) blame(t *testing.T, what string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.wrong) > 0 {
		t.Errorf("%s: %d wrong answers, the first: %s", what, len(p.wrong), p.wrong[0])
	}
	if len(p.lost) > 0 {
		t.Errorf("%s: %d of %d requests lost, the first: %s", what, len(p.lost), p.asked, p.lost[0])
	}
}

func (p *prober) close() {
	p.mu.Lock()
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	p.mu.Unlock()
	<-p.done
}
