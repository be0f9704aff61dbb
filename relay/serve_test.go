package relay_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/relay"
)

// serving runs a relay on an address of its own; a delivery may take that long.
func serving(t *testing.T, w *world, limit time.Duration) (address string, stop func() error) {
	t.Helper()
	r := open(t, w.watching(t, iris))
	r.LimitBody(limit)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Serve(ctx, l) }()
	stop = func() error { cancel(); err := <-ended; ended <- err; return err }
	t.Cleanup(func() { _ = stop() })
	return l.Addr().String(), stop
}

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// halfABody is a delivery whose body is waited for: it looks well until then.
func halfABody() string {
	return fmt.Sprintf("POST /webhook HTTP/1.1\r\nHost: a\r\nX-MLflow-Delivery-Id: a\r\nX-MLflow-Timestamp: %d\r\nX-MLflow-Signature: v1,x\r\nContent-Length: 1000\r\n\r\n{", time.Now().Unix())
}

// Whoever sends slowly, or without end, is cut off.
func TestSlowAndEndlessClients(t *testing.T) {
	t.Parallel()
	address, _ := serving(t, newWorld(), 300*time.Millisecond)
	for name, sent := range map[string]string{
		"half a header": "POST /webhook HTTP/1.1\r\nHost: a\r\nX-MLflow-",
		"half a body":   halfABody(),
		"huge headers":  "POST /webhook HTTP/1.1\r\nHost: a\r\nX-A: " + strings.Repeat("a", 64<<10) + "\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := dial(t, address)
			if _, err := io.WriteString(c, sent); err != nil && name != "huge headers" {
				t.Fatal(err)
			}
			_, err := io.Copy(io.Discard, c)
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				t.Error("the connection stays open")
			}
		})
	}
}

// Whoever comes when there are too many is sent away at once.
func TestTooManyConnections(t *testing.T) {
	t.Parallel()
	address, _ := serving(t, newWorld(), time.Minute)
	say := func(c net.Conn, text string) error { _, err := io.WriteString(c, text); return err }
	for range relay.MaxConns {
		if err := say(dial(t, address), halfABody()); err != nil {
			t.Fatal(err)
		}
	}
	c := dial(t, address)
	_ = say(c, "GET /health HTTP/1.1\r\nHost: a\r\n\r\n") // it may be closed already
	if n, err := io.Copy(io.Discard, c); n > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("one more: %d bytes, %v", n, err)
	}
}

// A relay that is to stop answers what it has and hands over what it began.
func TestStops(t *testing.T) {
	t.Parallel()
	w := newWorld()
	began, release := make(chan struct{}), make(chan struct{})
	w.answer = func(relay.Start) (bool, error) { close(began); <-release; return true, nil }
	w.promote(iris, "1")
	address, stop := serving(t, w, 300*time.Millisecond)
	<-began
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	c := dial(t, address)
	for ready := http.StatusOK; ready == http.StatusOK; { // until it knows
		if _, err := io.WriteString(c, "GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Fatal(err)
		}
		ready = res.StatusCode
	}
	close(release)
	if err := <-ended; err != nil {
		t.Errorf("stopping: %v", err)
	}
	if w.started() != "1" {
		t.Errorf("started %q", w.started())
	}
}
