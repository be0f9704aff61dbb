package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// The demo's clients. Those that keep their connection are what services do;
// those that open one for each request are what scripts do, and the first to
// notice a listener that goes away.
const (
	keepAliveClients = 4
	freshClients     = 2
	keepAlivePause   = 4 * time.Millisecond
	freshPause       = 20 * time.Millisecond
	answerLimit      = 1 << 20 // bytes
)

// load asks a target for predictions without pause and checks every answer
// against the golden predictions of the version that gave it.
type load struct {
	url    string
	cancel context.CancelFunc
	wait   sync.WaitGroup

	mu      sync.Mutex
	golden  map[slipway.Version]mlmodel.Golden
	asked   []json.RawMessage
	tally   tally
	answers []answer
}

// answer is one request's end, for the timeline.
type answer struct {
	at      time.Time
	version slipway.Version // that answered; empty: none did
}

// tally counts requests.
type tally struct {
	Sent      int64                     `json:"sent"`
	Lost      int64                     `json:"lost"`      // no answer, another status than 200, or a wrong answer
	ByVersion map[slipway.Version]int64 `json:"byVersion"` // answers, right or wrong
	FirstLoss string                    `json:"firstLoss,omitempty"`
}

// startLoad begins asking with the requests of the golden predictions.
func startLoad(ctx context.Context, url string, first slipway.Version, golden mlmodel.Golden) *load {
	ctx, cancel := context.WithCancel(ctx)
	l := &load{url: url + "/invocations", cancel: cancel, golden: map[slipway.Version]mlmodel.Golden{first: golden}}
	l.tally.ByVersion = map[slipway.Version]int64{}
	for _, p := range golden.Predictions {
		l.asked = append(l.asked, p.Request)
	}
	for range keepAliveClients {
		l.client(ctx, &http.Transport{MaxIdleConnsPerHost: 1}, keepAlivePause)
	}
	for range freshClients {
		l.client(ctx, &http.Transport{DisableKeepAlives: true}, freshPause)
	}
	return l
}

// expect adds a version that may answer from now on, and how.
func (l *load) expect(version slipway.Version, golden mlmodel.Golden) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.golden[version] = golden
}

// stop ends the load and returns what it counted.
func (l *load) stop() (tally, []answer) {
	l.cancel()
	l.wait.Wait()
	return l.tally, l.answers
}

// text is what was counted up to now.
func (l *load) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return thousands(l.tally.Sent) + " requests so far, " + thousands(l.tally.Lost) + " lost"
}

func (l *load) client(ctx context.Context, transport *http.Transport, pause time.Duration) {
	client := &http.Client{Transport: transport, Timeout: 10 * time.Second}
	l.wait.Add(1)
	go func() {
		defer l.wait.Done()
		defer transport.CloseIdleConnections()
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				l.ask(client, i%len(l.asked))
			}
		}
	}()
}

// ask sends one request to its end: a request that was sent is never given up,
// so that what the demo's own end cuts off does not count as lost.
func (l *load) ask(client *http.Client, index int) {
	version, reply, err := post(client, l.url, l.asked[index])
	l.mu.Lock()
	defer l.mu.Unlock()
	l.tally.Sent++
	if err == nil {
		l.tally.ByVersion[version]++
		err = l.check(version, index, reply)
	}
	if err != nil {
		l.tally.Lost++
		l.tally.FirstLoss = orElse(l.tally.FirstLoss, err.Error())
	}
	l.answers = append(l.answers, answer{time.Now(), version})
}

func post(client *http.Client, url string, body []byte) (slipway.Version, []byte, error) {
	reply, err := client.Post(url, "application/json", bytes.NewReader(body))
	if err != nil {
		return "", nil, err
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, answerLimit))
	if err != nil {
		return "", nil, err
	}
	if reply.StatusCode != http.StatusOK {
		return "", nil, fmt.Errorf("status %d: %.200s", reply.StatusCode, text)
	}
	return slipway.Version(reply.Header.Get("X-Model-Version")), text, nil
}

// check compares a reply with the golden prediction of the version that gave it.
func (l *load) check(version slipway.Version, index int, reply []byte) error {
	golden, known := l.golden[version]
	if !known {
		return fmt.Errorf("version %q answered, which must not serve", version)
	}
	got, err := mlmodel.Answer(reply)
	if err != nil {
		return err
	}
	if d := mlmodel.Compare(golden.Predictions[index].Answer, got, golden); d != nil {
		return fmt.Errorf("version %s answered wrongly: %s", version, d)
	}
	return nil
}
