//go:build e2e

package kube_test

import (
	"context"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/rollout"
)

// An API server that says nothing for half a minute, on connections that stay
// open, is waited for. It must not be taken for a model that is slow.
func TestE2EAPIServerHangs(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	makeImages(t)
	for _, step := range []string{"rollout", "verify", "rollback"} {
		t.Run(step, func(t *testing.T) {
			t.Parallel()
			s, n := newScene(t, cluster), newNight()
			config := kube.Config{
				Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: s.namespace, Name: "iris"},
				Lease:  testLease,
				Getenv: os.Getenv,
				Rest:   restConfig(t, cluster),
			}
			config.Rest.Dial = n.dial
			var err error
			s.target, err = kube.New(config)
			must(t, err)
			if o := s.deploy(again(makeImages(t)[1], "01GOOD")); o.Kind != rollout.Live {
				t.Fatalf("the good release: %s: %s", o.Kind, o.Message)
			}
			next, want, serves := makeImages(t)[2], rollout.Live, 2
			if step == "rollback" {
				next, want, serves = makeImages(t)[0], rollout.RolledBack, 1
			}
			var once sync.Once
			s.on = func(e slipway.Event) {
				if e.Kind == slipway.Started && e.Step == step {
					once.Do(func() { n.falls(30 * time.Second) })
				}
			}
			start := time.Now()
			o := s.deploy(again(next, "01NEXT"))
			if o.Kind != want {
				t.Errorf("it ended %s: %s", o.Kind, o.Message)
			}
			if took := time.Since(start); took < 30*time.Second {
				t.Errorf("it took %s only", took)
			}
			s.wantInOrder(serves)
			s.mu.Lock()
			defer s.mu.Unlock()
			lines := 0
			for _, e := range s.events {
				if e.Kind != slipway.Progress && e.Kind != slipway.Observed {
					t.Logf("%6.1f s %s %s: %s", e.At.Sub(start).Seconds(), e.Step, e.Kind, e.Message)
				}
				if e.Kind == slipway.Warning && strings.Contains(e.Message, "out of reach") {
					lines++
				}
			}
			if lines == 0 || lines > 2 {
				t.Errorf("it is told in %d lines", lines)
			}
			t.Logf("took %s", time.Since(start).Round(time.Second))
		})
	}
}

// night is when nothing gets through a connection, and nobody says so.
type night struct {
	mu  sync.Mutex
	day chan struct{} // closed by day
}

func newNight() *night {
	n := &night{day: make(chan struct{})}
	close(n.day)
	return n
}

func (n *night) falls(d time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	day := make(chan struct{})
	n.day = day
	time.AfterFunc(d, func() { close(day) })
}

func (n *night) wait(end <-chan struct{}) {
	n.mu.Lock()
	day := n.day
	n.mu.Unlock()
	select {
	case <-day:
	case <-end:
	}
}

func (n *night) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.wait(ctx.Done())
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &nightly{Conn: conn, night: n, end: make(chan struct{})}, nil
}

// nightly is a connection that holds back all bytes by night.
type nightly struct {
	net.Conn
	night *night
	once  sync.Once
	end   chan struct{}
}

func (c *nightly) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.night.wait(c.end)
	return n, err
}

func (c *nightly) Write(p []byte) (int, error) {
	c.night.wait(c.end)
	return c.Conn.Write(p)
}

func (c *nightly) Close() error {
	c.once.Do(func() { close(c.end) })
	return c.Conn.Close()
}
