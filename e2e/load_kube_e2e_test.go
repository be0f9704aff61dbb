//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A pod that has to go may still answer for a while: new connections until every
// kube-proxy knows, kept ones until it ends.
const (
	newsTravels = 5 * time.Second
	grace       = 30 * time.Second
)

// traffic is constant load on a Service, from clients that keep their
// connections and send often, from clients that keep them and send every 3.9 s,
// and from clients that open a connection for each request. Whatever is not the
// right answer of a version that may serve is a lost request.
//
// It speaks HTTP over connections of its own: Go's client quietly asks again
// where a kept connection breaks, and here that counts.
type traffic struct {
	address string
	request []byte
	right   map[string]json.RawMessage // the answer, by version
	cancel  context.CancelFunc
	clients sync.WaitGroup

	mu     sync.Mutex
	allows []allowance
	asked  map[string]int // by kind of client
	lost   []string
}

// allowance is which versions may answer from a moment on.
type allowance struct {
	from     time.Time
	versions []string
}

// startTraffic asks HOST:PORT for the prediction of the record until it is
// ended: 100 requests a second over four kept connections, four slow clients,
// and 100 a second over new ones. The versions may answer until allow says
// otherwise.
func startTraffic(t testing.TB, address string, record any, right map[string]json.RawMessage, versions ...string) *traffic {
	t.Helper()
	body, err := json.Marshal(map[string]any{"dataframe_records": []any{record}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &traffic{address: address, right: right, cancel: cancel, asked: map[string]int{}}
	l.request = fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", address, len(body))
	l.request = append(append(l.request, "\r\n"...), body...)
	l.allow(versions...)
	for i := range 4 {
		lag := time.Duration(i) * 10 * time.Millisecond
		l.clients.Go(func() { l.keepAsking(ctx, "kept, fast", lag, 40*time.Millisecond, true) })
		l.clients.Go(func() { l.keepAsking(ctx, "kept, slow", 100*lag, 3900*time.Millisecond, true) })
		l.clients.Go(func() { l.keepAsking(ctx, "new", lag, 40*time.Millisecond, false) })
	}
	t.Cleanup(func() { l.end() })
	return l
}

// allow says which versions may answer from now on.
func (l *traffic) allow(versions ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.allows = append(l.allows, allowance{time.Now(), versions})
}

// end stops the clients and returns how many requests were made by each kind of
// them and what was lost.
func (l *traffic) end() (asked map[string]int, lost []string) {
	l.cancel()
	l.clients.Wait()
	return l.asked, l.lost
}

func (l *traffic) keepAsking(ctx context.Context, kind string, lag, every time.Duration, keep bool) {
	c := caller{address: l.address}
	defer c.hangUp()
	select {
	case <-time.After(lag):
	case <-ctx.Done():
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		l.ask(&c, kind, keep)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// ask makes one request and judges the answer.
func (l *traffic) ask(c *caller, kind string, keep bool) {
	start := time.Now()
	version, body, err := c.ask(l.request)
	if !keep || err != nil {
		c.hangUp()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[kind]++
	if err == nil {
		late := newsTravels
		if keep {
			late = grace
		}
		err = l.judge(start.Add(-late), version, body)
	}
	if err != nil {
		l.lost = append(l.lost, fmt.Sprintf("%s (%s, after %s): %v", start.Format("15:04:05.000"), kind, time.Since(start).Round(time.Millisecond), err))
	}
}

// judge says what is wrong with an answer that any version might give which was
// allowed to answer since then.
func (l *traffic) judge(since time.Time, version string, body []byte) error {
	var reply struct {
		Predictions json.RawMessage `json:"predictions"`
	}
	if err := json.Unmarshal(body, &reply); err != nil {
		return fmt.Errorf("%w in %q", err, body)
	}
	if !l.may(version, since) {
		return fmt.Errorf("version %s answered, which does not serve", version)
	}
	if d := differsJSON(l.right[version], reply.Predictions); d != "" {
		return fmt.Errorf("version %s: %s", version, d)
	}
	return nil
}

// may reports whether the version was allowed to answer at any time since then.
func (l *traffic) may(version string, since time.Time) bool {
	for _, a := range slices.Backward(l.allows) {
		if slices.Contains(a.versions, version) {
			return true
		}
		if a.from.Before(since) {
			return false
		}
	}
	return false
}

// report logs what the traffic saw and fails the test for each request lost, and
// for less traffic than would prove anything.
func (l *traffic) report(t testing.TB, during string) {
	t.Helper()
	asked, lost := l.end()
	t.Logf("%s: requests %v, lost %d", during, asked, len(lost))
	for kind, least := range map[string]int{"kept, fast": 100, "kept, slow": 4, "new": 100} {
		if asked[kind] < least {
			t.Errorf("%d requests by clients of the kind %q, want at least %d", asked[kind], kind, least)
		}
	}
	if len(lost) > 0 {
		t.Errorf("%d requests lost:\n%s", len(lost), strings.Join(lost[:min(20, len(lost))], "\n"))
	}
}

// caller is a client with at most one connection.
type caller struct {
	address string
	conn    net.Conn
	in      *bufio.Reader
}

// ask sends the request over the connection it has, or a new one, and hangs up
// when the server says so.
func (c *caller) ask(request []byte) (version string, body []byte, err error) {
	const patience = 10 * time.Second
	if c.conn == nil {
		if c.conn, err = net.DialTimeout("tcp", c.address, patience); err != nil {
			c.conn = nil
			return "", nil, err
		}
		c.in = bufio.NewReader(c.conn)
	}
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return "", nil, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return "", nil, err
	}
	resp, err := http.ReadResponse(c.in, nil)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		return "", nil, err
	}
	if resp.Close {
		c.hangUp()
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return "", nil, fmt.Errorf("status %d: %s", resp.StatusCode, body)
	}
	return resp.Header.Get("X-Model-Version"), body, nil
}

func (c *caller) hangUp() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}
