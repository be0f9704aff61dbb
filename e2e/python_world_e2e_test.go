//go:build e2e

package e2e_test

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// newTidy is newPython with a folder for temporary files of its own.
func newTidy(t testing.TB) *world {
	t.Helper()
	w := newPython(t)
	if err := os.Mkdir(w.temporary(), 0o700); err != nil {
		t.Fatal(err)
	}
	w.env = append(w.env, "TMPDIR="+w.temporary(), "SLIPWAY_REPLICAS=1")
	return w
}

func (w *world) temporary() string { return filepath.Join(w.home, "tmp") }

// tidy wants no temporary file, and no process with the argument.
func (w *world) tidy(mark string) {
	w.t.Helper()
	left, err := os.ReadDir(w.temporary())
	if err != nil || len(left) > 0 {
		w.t.Errorf("temporary files are left: %v, %v", left, err)
	}
	w.noProcess(mark)
}

func (w *world) noProcess(mark string) {
	w.t.Helper()
	if !eventually(5*time.Second, func() bool { return len(marked(w.t, mark)) == 0 }) {
		w.t.Errorf("processes are left: %v", marked(w.t, mark))
	}
}

// eventually waits for the condition.
func eventually(limit time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(limit); !is(); <-time.After(25 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// marked returns the processes that have the argument.
func marked(t testing.TB, mark string) []string {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err == nil && bytes.Contains(data, []byte("\x00"+mark+"\x00")) {
			found = append(found, filepath.Base(filepath.Dir(path)))
		}
	}
	return found
}

var marks atomic.Int64

// newMark is a time to sleep that nobody else sleeps.
func newMark() string {
	return strconv.Itoa(86000+int(marks.Add(1))) + "." + strconv.Itoa(os.Getpid())
}

// private is a model whose files only this user may read: the sandbox gets a
// copy.
func private(t testing.TB, dir string) string {
	t.Helper()
	if err := os.Chmod(filepath.Join(dir, "model.py"), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// replicaLogs returns the logs of the target's model servers.
func (w *world) replicaLogs() string {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.home, ".local", "state", "slipway", "local", w.address, "replicas", "*", "log*"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("no logs: %v", err)
	}
	var all strings.Builder
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		all.Write(data)
	}
	return all.String()
}

// asking is a client that asks all the time, in turn over a connection it
// keeps and a new one.
type asking struct {
	stop    chan struct{}
	done    sync.WaitGroup
	answers map[string]int
	lost    []string
}

func (w *world) keepAsking() *asking {
	a := &asking{stop: make(chan struct{}), answers: map[string]int{}}
	kept := &http.Client{Transport: &http.Transport{}, Timeout: 20 * time.Second}
	a.done.Go(func() {
		defer kept.CloseIdleConnections()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := 0; ; n++ {
			select {
			case <-a.stop:
				return
			case <-tick.C:
			}
			got, err := ask([]*http.Client{kept, fresh}[n%2], w.address, []map[string]float64{{"x": 1}})
			if err != nil {
				a.lost = append(a.lost, time.Now().Format("15:04:05.000 ")+err.Error())
				continue
			}
			a.answers[string(got.predictions)]++
		}
	})
	return a
}

func (a *asking) end() (answers map[string]int, lost []string) {
	close(a.stop)
	a.done.Wait()
	return a.answers, a.lost
}

// workers returns the worker processes of the target's model servers.
func (w *world) workers() []int {
	w.t.Helper()
	var found []int
	for _, server := range w.servers() {
		found = append(found, children(w.t, server)...)
	}
	return found
}

func children(t testing.TB, parent string) []int {
	t.Helper()
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var found []int
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		if len(fields) > 1 && fields[0] != "Z" && fields[1] == parent {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, pid)
		}
	}
	slices.Sort(found)
	return found
}

// post sends a body to /invocations of the target and returns the answer.
func (w *world) post(body string) string {
	w.t.Helper()
	resp, err := fresh.Post("http://"+w.address+"/invocations", "application/json", strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(data)
}
