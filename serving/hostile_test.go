package serving_test

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

	"github.com/slipway-dev/slipway/serving"
)

// raw sends bytes over one connection and returns the status line.
func raw(t *testing.T, url, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		return err.Error()
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// TestHostile sends what no honest client sends; the server answers and stays.
func TestHostile(t *testing.T) {
	t.Parallel()
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{}}, Timeout: 300 * time.Millisecond, MaxBody: 1 << 20})
	r.awaitReady(t)
	head := "POST /invocations HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n"
	for name, test := range map[string]struct{ send, want string }{
		"announces too much":         {head + "Content-Length: 99999999999\r\n\r\n", "HTTP/1.1 413"},
		"sends too much, in chunks":  {head + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat(" ", 1<<16)+"\r\n", 17) + "0\r\n\r\n", "HTTP/1.1 413"},
		"promises and does not send": {head + "Content-Length: 100\r\n\r\n{", "HTTP/1.1 408"},
		"never ends its header":      {head, "EOF"},
		"a header without end":       {head + "X: " + strings.Repeat("a", 1<<17), "HTTP/1.1 431"},
		"no HTTP":                    {"\x16\x03\x01\x00\r\n\r\n", "HTTP/1.1 400"},
		"two lengths":                {head + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", "HTTP/1.1 400"},
		"a deep body":                {head + "Content-Length: 100000\r\n\r\n" + strings.Repeat("[", 100000), "HTTP/1.1 400"},
	} {
		if got := raw(t, r.url, test.send); !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %q instead of %s", name, got, test.want)
		}
	}
	if _, reply := post(t, r.url+"/predict", `[{"x":1}]`); !strings.Contains(reply, "[2.0]") {
		t.Errorf("afterwards: %s", reply)
	}
}

// TestOverload fills the server up: more requests are told to come back, and
// those inside are answered.
func TestOverload(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 2), make(chan struct{})
	engine := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		entered <- struct{}{}
		<-release
		return &serving.Output{Shape: []int{b.Rows}, Floats: b.Columns[0].Floats}, nil
	}}
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{engine}, MaxInFlight: 2})
	replies := make(chan int, 2)
	for range 2 {
		go func() { replies <- ask(s, "POST", "/invocations", jsonHeader(), `{"inputs":[{"x":1}]}`).Code }()
	}
	<-entered
	<-entered
	got := ask(s, "POST", "/invocations", jsonHeader(), `{"inputs":[{"x":1}]}`)
	if got.Code != 503 || got.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %v", got.Code, got.Header())
	}
	close(release)
	for range 2 {
		if code := <-replies; code != 200 {
			t.Errorf("inside: %d", code)
		}
	}
	page := ask(s, "GET", "/metrics", nil, "").Body.String()
	if !strings.Contains(page, fmt.Sprintf(`http_response_status_code="%d",le="+Inf"} 1`, 503)) {
		t.Error(page)
	}
}

// TestLargeBodiesWait lets one large request in at a time, and small ones by.
func TestLargeBodiesWait(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}, 3), make(chan struct{})
	engine := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		if b.Columns[0].Floats[0] == 42 {
			entered <- struct{}{}
			<-release
		}
		return &serving.Output{Shape: []int{b.Rows}, Floats: b.Columns[0].Floats}, nil
	}}
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{engine}, MaxMemory: 100 << 10, Timeout: 20 * time.Second})
	big := `{"inputs":[{"x":42}]` + strings.Repeat(" ", 100<<10) + "}"
	replies := make(chan int, 2)
	for range 2 {
		go func() { replies <- ask(s, "POST", "/invocations", jsonHeader(), big).Code }()
	}
	<-entered
	if got := ask(s, "POST", "/invocations", jsonHeader(), `{"inputs":[{"x":1}]}`); got.Code != 200 {
		t.Errorf("a small one: %d %s", got.Code, got.Body)
	}
	select {
	case <-entered:
		t.Error("two large requests at once")
	default:
	}
	release <- struct{}{}
	<-entered
	release <- struct{}{}
	for range 2 {
		if code := <-replies; code != 200 {
			t.Errorf("%d", code)
		}
	}
}

// TestLargeBodyGivesUp does not wait for ever.
func TestLargeBodyGivesUp(t *testing.T) {
	t.Parallel()
	entered, release := make(chan struct{}), make(chan struct{})
	engine := double{func(_ context.Context, b *serving.Batch) (*serving.Output, error) {
		close(entered)
		<-release
		return &serving.Output{Shape: []int{b.Rows}, Floats: b.Columns[0].Floats}, nil
	}}
	s := loaded(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{engine}, MaxMemory: 1, Timeout: 100 * time.Millisecond})
	big := `{"inputs":[{"x":42}]` + strings.Repeat(" ", 100<<10) + "}"
	first := make(chan int, 1)
	go func() { first <- ask(s, "POST", "/invocations", jsonHeader(), big).Code }()
	<-entered
	if got := ask(s, "POST", "/invocations", jsonHeader(), big); got.Code != 503 {
		t.Errorf("%d %s", got.Code, got.Body)
	}
	close(release)
	if code := <-first; code != 200 {
		t.Errorf("the first: %d", code)
	}
}

// TestConnections closes what is beyond the limit, and has clients come back
// by another connection before that.
func TestConnections(t *testing.T) {
	t.Parallel()
	r := start(t, serving.Config{Dir: modelDir(t, oneColumn), Engines: []serving.Engine{double{}}, MaxConns: 8})
	r.awaitReady(t)
	http.DefaultClient.CloseIdleConnections()
	var open []net.Conn
	t.Cleanup(func() {
		for _, c := range open {
			c.Close()
		}
	})
	ask := "GET /health HTTP/1.1\r\nHost: h\r\n\r\n"
	closes, refused := 0, 0
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		_, _ = io.WriteString(c, ask) // a connection that was closed shows below
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		switch {
		case err != nil:
			refused++
		case resp.Close:
			closes++
		}
	}
	if closes == 0 {
		t.Errorf("no reply ended its connection, %d were closed", refused)
	}
	idle := 0
	for range 20 {
		c, err := net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, c)
		if err := c.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
			idle++
		}
	}
	if idle > 8 {
		t.Errorf("%d idle connections are open", idle)
	}
}
