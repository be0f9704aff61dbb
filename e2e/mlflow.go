package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// MLflowVersion is the MLflow that end-to-end tests run against.
const MLflowVersion = "3.17.2"

// ScikitLearn is what logs models in MLflow and answers with them:
// requirements for Python.
var ScikitLearn = []string{"mlflow==" + MLflowVersion, "numpy==2.4.6", "pandas==3.1.1", "scikit-learn==1.9.1", "scipy==1.17.1", "skops==0.16.0"}

// startLimit bounds how long a server may take until it answers.
const startLimit = 3 * time.Minute

// shared is the one server of this test binary: starting MLflow takes longer
// than most tests that use it.
var shared struct {
	sync.Mutex
	uri string
}

// MLflow returns the URI of a real MLflow server on loopback (SQLite store,
// artifacts served from local disk), one per test binary. It ends with the
// binary, however that ends, and takes its files along.
func MLflow(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.uri == "" {
		shared.uri, _ = startMLflow(t, MLflowServer{})
	}
	return shared.uri
}

// MLflowServer is a server with its own settings.
type MLflowServer struct {
	Args   []string // of `mlflow server`, after the usual ones: "--no-serve-artifacts"
	Env    []string // KEY=VALUE
	Extras []string // requirements beside mlflow
	Prefix string   // --static-prefix: "/mlflow"
}

// StartMLflow starts a server of its own for the test and ends it with the
// test. It returns the URI for clients, with the prefix.
func StartMLflow(t testing.TB, s MLflowServer) string {
	t.Helper()
	uri, stop := startMLflow(t, s)
	t.Cleanup(stop)
	return uri
}

func startMLflow(t testing.TB, s MLflowServer) (uri string, stop func()) {
	t.Helper()
	python := Python(t, append([]string{"mlflow==" + MLflowVersion}, s.Extras...)...)
	dir, err := os.MkdirTemp("", "slipway-mlflow-")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	cmd, log, hangUp := mlflowCommand(t, python, dir, address, s)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting MLflow: %v", err)
	}
	exited := make(chan error, 1)
	go func() {
		exited <- cmd.Wait()
		close(exited) // two wait for it
	}()
	stop = func() {
		hangUp.Close()
		<-exited
	}
	uri = "http://" + address + s.Prefix
	if err := awaitHealth(t.Context(), uri, exited); err != nil {
		hangUp.Close()
		t.Fatalf("MLflow did not start: %v\n%s", err, log.tail())
	}
	return uri, stop
}

// supervise runs "$@" in this shell's process group until standard input ends,
// which happens when the test binary closes it or dies. Then it ends the whole
// group and removes the folder.
const supervise = `
trap : TERM
dir=$1; shift
exec 3<&0
"$@" </dev/null 3<&- &
server=$!
{ cat <&3 >/dev/null; kill -TERM 0; } &
wait $server
kill -TERM 0
{ sleep 5; kill -KILL 0; } &
wait $server
rm -rf "$dir"
kill -KILL 0
`

func mlflowCommand(t testing.TB, python, dir, address string, s MLflowServer) (*exec.Cmd, *logBuffer, io.Closer) {
	t.Helper()
	host, port, _ := net.SplitHostPort(address)
	args := []string{"-c", supervise, "mlflow", dir, filepath.Join(filepath.Dir(python), "mlflow"), "server",
		"--host", host, "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///" + filepath.Join(dir, "mlflow.db")}
	if !slices.Contains(s.Args, "--no-serve-artifacts") {
		args = append(args, "--serve-artifacts")
		if !slices.Contains(s.Args, "--artifacts-destination") {
			args = append(args, "--artifacts-destination", filepath.Join(dir, "artifacts"))
		}
	}
	if s.Prefix != "" {
		args = append(args, "--static-prefix", s.Prefix)
	}
	cmd := exec.Command("sh", append(args, s.Args...)...)
	cmd.Dir = dir
	cmd.Env = append(mlflowEnvironment(), s.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	hangUp, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	return cmd, log, hangUp
}

// mlflowEnvironment is ours without MLflow's own settings, without its job
// workers (seven processes that outlive the server) and without its
// telemetry.
func mlflowEnvironment() []string {
	env := []string{"MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false"}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "MLFLOW_") {
			env = append(env, e)
		}
	}
	return env
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// awaitHealth polls until the server answers, has exited or is too late.
func awaitHealth(ctx context.Context, uri string, exited <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if healthy(ctx, uri) {
			return nil
		}
		select {
		case err := <-exited:
			return fmt.Errorf("the server exited: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func healthy(ctx context.Context, uri string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri+"/health", nil)
	if err != nil {
		return false
	}
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}

// logBuffer keeps the end of a server's log for the message of a failed start.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.buf.Len() > 1<<20 {
		l.buf.Reset()
	}
	return l.buf.Write(p)
}

func (l *logBuffer) tail() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(tail(l.buf.Bytes(), 4000))
}
