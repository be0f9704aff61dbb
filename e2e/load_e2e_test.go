//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

// rounds is how often the load test goes to the next version and back.
const rounds = 4

// No request is lost in rollouts, rollbacks by hand and rollbacks by itself,
// neither on connections that are kept (wrk) nor on new ones.
func TestE2ENoRequestIsLost(t *testing.T) {
	r := newReal(t, "logistic", "forest", "odds")
	wrong := wrongServer(t, "miscalculates")
	r.promote("champion", "1")
	r.outcome(0, "deploy", r.champion())
	m := models(t)["logistic"]
	body, err := json.Marshal(map[string]any{"dataframe_records": m.Requests[:1]})
	if err != nil {
		t.Fatal(err)
	}
	kept := r.wrk(body)
	opened := r.open(m.Requests[:1])
	moves := 0
	for range rounds {
		r.promote("champion", "2")
		r.outcome(0, "deploy", r.champion(), "--retry")
		r.outcome(0, "rollback", r.target())
		r.promote("champion", "3")
		r.outcome(3, "deploy", r.champion(), "--retry", "--server", wrong)
		r.promote("champion", "1")
		moves += 3
	}
	requests, lost := kept.end()
	fresh, gone := opened.end()
	t.Logf("%d moves of the target: %d requests on kept connections, %d lost; %d on new ones, %d lost", moves, requests, lost, fresh, len(gone))
	if lost > 0 || requests < 1000 {
		t.Errorf("kept connections: %d of %d requests lost\n%s", lost, requests, kept.said.String())
	}
	if len(gone) > 0 || fresh < 100 {
		t.Errorf("new connections: %d of %d requests lost: %v", len(gone), fresh, gone[:min(5, len(gone))])
	}
}

// wrkRun is a wrk at work.
type wrkRun struct {
	t    testing.TB
	cmd  *exec.Cmd
	said bytes.Buffer
}

// wrk asks the target over connections that it keeps, until it is ended.
func (w *world) wrk(body []byte) *wrkRun {
	w.t.Helper()
	script := filepath.Join(w.home, "post.lua")
	text := fmt.Sprintf("wrk.method = 'POST'\nwrk.headers['Content-Type'] = 'application/json'\nwrk.body = [==[%s]==]\n", body)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	l := &wrkRun{t: w.t, cmd: exec.Command("wrk", "-t1", "-c4", "-d600s", "--timeout", "20s", "-s", script, "http://"+w.address+"/invocations")}
	l.cmd.Stdout, l.cmd.Stderr = &l.said, &l.said
	if err := l.cmd.Start(); err != nil {
		w.t.Fatalf("wrk is needed: %v", err)
	}
	w.t.Cleanup(func() { l.cmd.Process.Kill() }) //nolint:errcheck // it has usually ended
	return l
}

var (
	wrkRequests = regexp.MustCompile(`(\d+) requests in`)
	wrkErrors   = regexp.MustCompile(`Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)`)
	wrkRefused  = regexp.MustCompile(`Non-2xx or 3xx responses: (\d+)`)
)

// end interrupts wrk and reads its summary.
func (l *wrkRun) end() (requests, lost int) {
	l.t.Helper()
	if err := l.cmd.Process.Signal(syscall.SIGINT); err != nil {
		l.t.Fatal(err)
	}
	if err := l.cmd.Wait(); err != nil {
		l.t.Fatalf("wrk: %v\n%s", err, &l.said)
	}
	for _, found := range [][][]byte{wrkErrors.FindSubmatch(l.said.Bytes()), wrkRefused.FindSubmatch(l.said.Bytes())} {
		for i := 1; i < len(found); i++ {
			lost += number(l.t, found[i])
		}
	}
	found := wrkRequests.FindSubmatch(l.said.Bytes())
	if found == nil {
		l.t.Fatalf("wrk said no number of requests:\n%s", &l.said)
	}
	return number(l.t, found[1]), lost
}

func number(t testing.TB, text []byte) int {
	t.Helper()
	n, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// opening is a client that opens a connection for every request.
type opening struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	asked  int
	lost   []string
}

// open asks the target every few milliseconds, until it is ended.
func (w *world) open(records any) *opening {
	ctx, cancel := context.WithCancel(context.Background())
	w.t.Cleanup(cancel)
	o := &opening{cancel: cancel}
	o.done.Go(func() {
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				o.asked++
				if _, err := ask(fresh, w.address, records); err != nil {
					o.lost = append(o.lost, time.Now().Format("15:04:05.000 ")+err.Error())
				}
			}
		}
	})
	return o
}

func (o *opening) end() (asked int, lost []string) {
	o.cancel()
	o.done.Wait()
	return o.asked, o.lost
}
