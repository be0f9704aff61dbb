package local_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// load is clients that send one request after the other and count what comes
// back. Nothing is asked twice: an error of any kind is a lost request.
type load struct {
	addr string
	body string
	stop context.CancelFunc
	wg   sync.WaitGroup

	mu       sync.Mutex
	answered int
	versions map[string]int
	lost     []string
}

// startLoad starts as many clients that keep their connection, and as many
// that open one for each request.
func startLoad(t *testing.T, addr string, clients int) *load {
	return startLoadOf(t, addr, clients, anyBody)
}

func startLoadOf(t *testing.T, addr string, clients int, body string) *load {
	ctx, stop := context.WithCancel(t.Context())
	l := &load{addr: addr, body: body, stop: stop, versions: map[string]int{}}
	for range clients {
		l.wg.Go(func() { l.run(ctx, true) })
		l.wg.Go(func() { l.run(ctx, false) })
	}
	t.Cleanup(func() { stop(); l.wg.Wait() })
	return l
}

func (l *load) run(ctx context.Context, keep bool) {
	var conn net.Conn
	var r *bufio.Reader
	for ctx.Err() == nil {
		if conn == nil {
			var err error
			if conn, err = net.Dial("tcp", l.addr); err != nil {
				l.note("", err)
				return
			}
			r = bufio.NewReader(conn)
		}
		version, err := ask(conn, r, l.body, keep)
		l.note(version, err)
		if !keep || err != nil {
			conn.Close()
			conn = nil
		}
		// Not to fill the machine: the requests are to be everywhere in time.
		<-time.After(500 * time.Microsecond)
	}
	if conn != nil {
		conn.Close()
	}
}

// askOnce sends one request on a new connection.
func askOnce(conn net.Conn) (string, error) { return ask(conn, bufio.NewReader(conn), anyBody, false) }

const anyBody = `{"inputs": [[1, 2, 3, 4]]}`

// ask sends a request and returns the prediction.
func ask(conn net.Conn, r *bufio.Reader, body string, keep bool) (prediction string, err error) {
	more := "Connection: close\r\n"
	if keep {
		more = ""
	}
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return "", err
	}
	if _, err := fmt.Fprintf(conn, "POST /invocations HTTP/1.1\r\nHost: iris\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s", more, len(body), body); err != nil {
		return "", err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return "", err
	}
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK || keep == resp.Close {
		return "", fmt.Errorf("%s, close %v: %s", resp.Status, resp.Close, data)
	}
	var answer struct{ Predictions []string }
	if err := json.Unmarshal(data, &answer); err != nil || len(answer.Predictions) != 1 {
		return "", fmt.Errorf("answer %q", data)
	}
	return strings.TrimSpace(answer.Predictions[0]), nil
}

func (l *load) note(version string, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.lost = append(l.lost, err.Error())
		return
	}
	l.answered++
	l.versions[version]++
}

// count returns how many answers there are so far.
func (l *load) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.answered
}

// check ends the load and fails the test if a request was lost.
func (l *load) check(t *testing.T, b *bench) {
	t.Helper()
	l.stop()
	l.wg.Wait()
	stats, err := b.target.Stats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d answered, %d lost, by version %v; the proxy says %+v", l.answered, len(l.lost), l.versions, stats)
	if len(l.lost) > 0 {
		t.Errorf("%d of %d requests were lost; the first: %s", len(l.lost), l.answered+len(l.lost), l.lost[0])
	}
	if stats.Lost != 0 || stats.Failed != 0 {
		t.Errorf("the proxy counts %+v", stats)
	}
	if l.answered < 200 {
		t.Errorf("only %d requests were sent", l.answered)
	}
}

func TestNoRequestIsLostInRolloutsAndRollbacks(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	l := startLoad(t, b.addr, 3)
	for i := range 24 {
		if i%4 == 3 { // one that never serves, and back
			b.apply(t, 1, release(golden))
			b.await(t, func(o slipway.Observation) bool { return problemOf(o, golden) != nil })
		}
		before := l.count()
		b.deploy(t, 1, release(1+(i+1)%2))
		eventually(t, "requests go on", func() bool { return l.count() > before+5 })
	}
	l.check(t, b)
	if l.versions["1"] == 0 || l.versions["2"] == 0 || len(l.versions) != 2 {
		t.Errorf("answers by version: %v, want 1 and 2", l.versions)
	}
}

func TestNoRequestIsLostWhenReplicasCrash(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.deploy(t, 1, release(1))
	l := startLoad(t, b.addr, 3)
	for i := range 8 {
		before := l.count()
		o := b.await(t, func(o slipway.Observation) bool {
			return o.Settled(digest(1)) && o.Replicas[0].Restarts+o.Replicas[1].Restarts == i
		})
		if err := syscall.Kill(b.pidOf(t, o.Replicas[i%2].URL), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, "requests go on", func() bool { return l.count() > before+20 })
	}
	l.check(t, b)
}

// A replica that hangs is found out, ended and started again. What was with
// it goes to the other one.
func TestNoRequestIsLostWhenAReplicaHangs(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	o := b.deploy(t, 1, release(1))
	l := startLoad(t, b.addr, 2)
	eventually(t, "requests come", func() bool { return l.count() > 20 })
	if err := syscall.Kill(b.pidOf(t, o.Replicas[0].URL), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	seen := b.await(t, func(o slipway.Observation) bool { return o.Replicas[0].Problem != nil })
	if p := seen.Replicas[0].Problem; p.Kind != "unresponsive" {
		t.Errorf("problem %+v", p)
	}
	b.await(t, func(o slipway.Observation) bool { return o.Settled(digest(1)) && o.Replicas[0].Restarts == 1 })
	l.check(t, b)
}

// deploy applies a release and waits until it alone serves.
func (b *bench) deploy(t *testing.T, fence uint64, r slipway.Release) slipway.Observation {
	t.Helper()
	b.apply(t, fence, r)
	return b.await(t, func(o slipway.Observation) bool { return o.Settled(r.Image.Digest) })
}

func (b *bench) apply(t *testing.T, fence uint64, r slipway.Release) {
	t.Helper()
	if err := b.target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: fence, Release: r}); err != nil {
		t.Fatal(err)
	}
}

// await observes until it is as wanted.
func (b *bench) await(t *testing.T, ok func(slipway.Observation) bool) (last slipway.Observation) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("last seen: %+v", last)
		}
	}()
	eventually(t, "the target is as wanted", func() bool {
		o, err := b.target.Observe(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		last = o
		return ok(o)
	})
	return last
}

// problemOf returns the problem of the first failed replica of release n.
func problemOf(o slipway.Observation, n int) *slipway.Problem {
	for _, r := range o.Replicas {
		if r.Image == digest(n) && r.State == slipway.Failed {
			return r.Problem
		}
	}
	return nil
}

// pidOf asks a replica for its process.
func (b *bench) pidOf(t *testing.T, url string) int {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct{ PID int }
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.PID == 0 {
		t.Fatalf("no process: %v", err)
	}
	return answer.PID
}
