//go:build e2e

package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/rollout"
)

// outage is how long the API server is away.
const outage = 30 * time.Second

// The API server is away for half a minute in the middle of each part of a
// release: it carries on.
func TestE2EAPIServerAway(t *testing.T) {
	var all sync.WaitGroup
	for _, test := range []struct {
		name   string
		at     string
		n      int
		fault  string
		end    rollout.Kind
		serves string
	}{
		{"in the rollout", inRollout, 1, "", rollout.Live, "2"},
		{"in the verification", inVerify, 3, "", rollout.Live, "2"},
		{"in the rollback", inRollout, 2, "miscalculates", rollout.RolledBack, "1"},
	} {
		all.Go(func() {
			t.Run(test.name, func(t *testing.T) {
				m := newMeddled(t, 2)
				var away time.Time
				m.once(test.at, test.n, func() {
					away = time.Now()
					m.proxy.Cut()
					time.AfterFunc(outage, func() { m.proxy.Restore(t) })
				})
				var flags []string
				if test.fault != "" {
					flags = []string{"--server", wrongServer(t, test.fault)}
				}
				got := m.release(test.end, flags...)
				m.ended(got, test.end, test.serves)
				if away.IsZero() || time.Since(away) < outage {
					t.Errorf("the API server was not away\n%s", got)
				}
				for _, text := range []string{"out of reach", "answers again"} {
					if !strings.Contains(got.stderr, text) {
						t.Errorf("want %q said\n%s", text, got)
					}
				}
				m.consistent(m.digests[test.serves], 2)
				m.watch.report(false)
			})
		})
	}
	all.Wait()
}

// runner is a run of slipway that goes on while the test does other things.
type runner struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  *bytes.Buffer
	said *listener
	end  chan struct{}
}

// listener is what a run says, and tells when a text was said.
type listener struct {
	mu   sync.Mutex
	all  bytes.Buffer
	more chan struct{}
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.all.Write(p)
}

func (l *listener) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func start(w *world, args ...string) *runner {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	r := &runner{t: w.t, cmd: w.command(ctx, args...), out: &bytes.Buffer{}, said: &listener{more: make(chan struct{}, 1)}, end: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = r.out, io.Writer(r.said)
	if err := r.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		defer cancel()
		defer close(r.end)
		var exit *exec.ExitError
		if err := r.cmd.Wait(); err != nil && !errors.As(err, &exit) {
			w.t.Error(err)
		}
	}()
	return r
}

// await waits until the run has said the text. It may be called while the run
// of another goroutine goes on, so it does not end the test.
func (r *runner) await(text string) {
	late := time.After(time.Minute)
	for !strings.Contains(r.said.String(), text) {
		select {
		case <-r.said.more:
		case <-r.end:
			r.t.Errorf("it ended without %q\n%s", text, r.said)
			return
		case <-late:
			r.t.Errorf("it did not say %q\n%s", text, r.said)
			return
		}
	}
}

func (r *runner) ended() ran {
	<-r.end
	return ran{args: r.cmd.Args[1:], code: r.cmd.ProcessState.ExitCode(), stdout: r.out.String(), stderr: r.said.String()}
}

// Two runners at once: the second waits for the first, and then brings what is
// promoted by then.
func TestE2ETwoRunnersAtOnce(t *testing.T) {
	t.Parallel()
	m := newMeddled(t, 2)
	other := m.elsewhere()
	var second *runner
	m.once(inRollout, 1, func() {
		second = start(other, "deploy", m.champion(), "-o", "json")
		second.await("waiting for")
		m.promote("champion", "3")
	})
	m.ended(m.release(rollout.Live), rollout.Live, "2")
	got := second.ended()
	if got.code != 0 {
		t.Fatalf("the second: %s", got)
	}
	m.ended(got, rollout.Live, "3")
	m.watch.report(false)
}

// state is what a release writes in the cluster.
type state struct{ Deployment, Lease, Record string }

func (m *meddled) state() state {
	m.t.Helper()
	version := func(kind, name string) string {
		return m.kubectl("get", kind, name, "-o", "jsonpath={.metadata.uid} {.metadata.generation} {.metadata.annotations} {.spec} {.data}")
	}
	return state{version("deployment", deployment), version("lease", deployment+"-slipway"), version("configmap", deployment+"-slipway")}
}

// A runner that was asleep for longer than its lock lasts, with a write on its
// way, finds that another has taken the target, and touches nothing any more.
func TestE2EASleeperIsFencedOff(t *testing.T) {
	t.Parallel()
	m := newMeddled(t, 2)
	var sleeper *runner
	asleep, wake := make(chan struct{}), make(chan struct{})
	var once sync.Once
	m.proxy.Before(func(c e2e.APICall) int {
		if c.Kind != inRollout {
			return 0
		}
		once.Do(func() {
			if err := sleeper.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
				t.Error(err)
			}
			close(asleep)
			<-wake
		})
		return 0
	})
	sleeper = start(m.world, "deploy", m.champion(), "-o", "json")
	<-asleep
	m.promote("champion", "3")
	other := m.elsewhere()
	if o := other.outcome(0, "deploy", m.champion()); o.Kind != "live" || o.Recovered == nil || o.Recovered.Phase != slipway.Verified {
		t.Errorf("the other: %+v", o)
	}
	before, from := m.state(), len(m.proxy.Calls())+1
	close(wake) // the write that was on its way arrives now
	if err := sleeper.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Error(err)
	}
	got := sleeper.ended()
	m.ended(got, rollout.Superseded, "3")
	if diff := cmp.Diff(before, m.state()); diff != "" {
		t.Errorf("the sleeper changed something (its calls: %v): %s\n%s", m.writes(from), diff, got)
	}
	m.answersLike("3", "odds")
	m.watch.report(false)
}

// Somebody takes the lock away by hand in the middle of a release: it stops at
// once, and the next run ends what it left.
func TestE2EALockTakenByHand(t *testing.T) {
	t.Parallel()
	m := newMeddled(t, 2)
	var from int
	m.once(inRollout, 1, func() {
		m.byHand("patch", "lease", deployment+"-slipway", "--type=merge", "-p", `{"metadata": {"annotations": {"slipway.dev/token": null}}, "spec": {"holderIdentity": "mallory"}}`)
		from = len(m.proxy.Calls()) + 1
	})
	got := m.run("deploy", m.champion(), "-o", "json")
	if got.code == 0 || !strings.Contains(got.stderr, "lock") {
		t.Errorf("it does not say that the lock is lost\n%s", got)
	}
	if writes := m.writes(from); len(writes) > 0 {
		t.Errorf("it wrote after the lock was lost: %v\n%s", writes, got)
	}
	other := m.elsewhere()
	if o := other.outcome(0, "recover", m.target()); o.Kind != "live" || o.Recovered == nil {
		t.Errorf("recover: %+v", o)
	}
	m.answersLike("2", "forest")
	m.watch.report(false)
}
