//go:build e2e

package python_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/python"
)

// naughty does what its rows tell it.
const naughty = `
import ctypes, os, subprocess, sys, time
import numpy as np
import pandas as pd

class Model:
    def predict(self, data):
        for what in data["do"]:
            word, _, value = what.partition(" ")
            getattr(self, word)(value)
        if what == "wrongshape":
            return np.zeros(len(data) + 1)
        if what == "strange":
            return object()
        if what == "infinite":
            return np.array([np.nan, np.inf, -np.inf])[: len(data)]
        if what == "random":
            return np.random.rand(len(data))
        return data["n"].to_numpy() * 2

    def answer(self, _): pass
    wrongshape = strange = infinite = random = answer
    def raises(self, _): raise ValueError("no such file /home/ci/secret/model.bin")
    def imports(self, _): import nowhere_to_be_found
    def forks(self, path):
        if os.fork() == 0:
            os.setsid()
            with open(path, "w") as f: f.write(str(os.getpid()))
            time.sleep(600)
        while not (os.path.exists(path) and open(path).read()): time.sleep(0.01)
    def prints(self, n):
        for i in range(int(n)): print("line", i, "x" * 1000)
    def says(self, text):
        print(text); os.write(2, b"and on stderr " + text.encode() + b"\n")
    def allocates(self, _):
        kept = []
        while True: kept.append(bytearray(os.urandom(1 << 20)) * 16)
    def blocks(self, _): time.sleep(3600)
    def exits(self, _): os._exit(3)
    def leaves(self, _): sys.exit(4)
    def crashes(self, _): ctypes.string_at(0)
    def sleeps(self, s): time.sleep(float(s))

def _load_pyfunc(path):
    return Model()
`

const naughtyInputs = `[{"type":"string","name":"do"},{"type":"long","name":"n"}]`

func record(do string, n int) string {
	text, _ := json.Marshal([]map[string]any{{"do": do, "n": n}})
	return `{"dataframe_records":` + string(text) + `}`
}

// TestE2EReliability has one model do everything that models should not, while
// other requests are answered.
func TestE2EReliability(t *testing.T) {
	c, log := config(t)
	c.Timeout, c.Memory, c.Workers, c.Batch = 20*time.Second, 1<<30, 2, true
	url := serve(t, serving.Config{Dir: custom(t, naughtyInputs, naughty), Engines: []serving.Engine{python.New(c)}, AnswerIn: c.Timeout, Log: c.Log})
	child := filepath.Join(t.TempDir(), "child")
	ask := func(do string) (int, string) {
		return post(t, url+"/invocations", http.Header{"X-Request-Id": {"r-" + strings.Fields(do)[0]}}, record(do, 21))
	}
	for _, test := range []struct {
		do     string
		status int
		says   string // by the client
		logged string
	}{
		{"answer", 200, `{"predictions": [42]}`, ""},
		{"says hello", 200, `[42]`, `"line":"hello","request":"r-says"`},
		{"says hello", 200, `[42]`, `"line":"and on stderr hello","request":"r-says"`},
		{"raises", 400, `ValueError: no such file …/model.bin`, `/home/ci/secret/model.bin`},
		{"imports", 400, `ModuleNotFoundError: No module named 'nowhere_to_be_found'`, `"request":"r-imports"`},
		{"prints 5000", 200, `[42]`, `"line":"line 0 xxx`},
		{"infinite", 200, `{"predictions": [NaN]}`, ""},
		{"random", 200, `{"predictions": [0.`, ""},
		{"wrongshape", 500, `INTERNAL_ERROR`, "the model answered 1 rows with 2"},
		{"strange", 500, `INTERNAL_ERROR`, "cannot be written as JSON: TypeError"},
		{"exits", 500, `INTERNAL_ERROR`, "exited with status 3"},
		{"leaves", 500, `INTERNAL_ERROR`, "exited with status 4"},
		{"crashes", 500, `INTERNAL_ERROR`, "ended by a signal: segmentation fault"},
		{"allocates", 500, `INTERNAL_ERROR`, "1024 MiB of memory"},
		{"blocks", 504, `DEADLINE_EXCEEDED`, "a worker did not answer in time"},
		{"forks " + child, 200, `[42]`, ""},
		{"answer", 200, `{"predictions": [42]}`, ""},
	} {
		status, reply := ask(test.do)
		if status != test.status || !strings.Contains(reply, test.says) {
			t.Errorf("%s: %d %s", test.do, status, reply)
		}
		log.await(t, test.logged)
		if strings.Contains(reply, "Traceback") || strings.Contains(reply, "/secret/") {
			t.Errorf("%s: the client sees the inside: %s", test.do, reply)
		}
	}
	if _, text := do(t, http.MethodGet, url+"/metrics", nil, ""); !strings.Contains(text, "slipway_worker_restarts_total{") || !strings.Contains(text, "slipway_workers{") || !strings.Contains(text, `http_response_status_code="504"`) {
		t.Errorf("metrics: %s", text)
	}
	if n := strings.Count(log.String(), `"msg":"model output"`); n > 1000 {
		t.Errorf("%d lines of the model in the log", n)
	}
	// The child that left the worker's group ends with its worker.
	text, err := os.ReadFile(child)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	ask("exits")
	for deadline := time.Now().Add(10 * time.Second); alive(pid); {
		if time.Now().After(deadline) {
			t.Fatal("a model's child outlives its worker")
		}
	}
}

// alive reports whether a process runs: a zombie does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// TestE2EOneBadRequestOfMany asks good and bad requests at the same time: each
// client gets its own answer, whatever the others do.
func TestE2EOneBadRequestOfMany(t *testing.T) {
	c, _ := config(t)
	c.Batch, c.Timeout = true, 60*time.Second
	dir := custom(t, naughtyInputs, naughty)
	m, p := load(t, c, dir)
	var group sync.WaitGroup
	for i := range 200 {
		group.Go(func() {
			what := "answer"
			switch {
			case i%50 == 7:
				what = "raises"
			case i == 100:
				what = "exits"
			}
			got, err := serving.Predict(t.Context(), m, p, []byte(record(what, i)))
			switch {
			case what != "answer" && err == nil:
				t.Errorf("%d: %s is answered: %s", i, what, got)
			case what == "answer" && (err != nil || string(got) != fmt.Sprintf("[%d]", 2*i)):
				t.Errorf("%d: %s, %v", i, got, err)
			}
		})
	}
	group.Wait()
	if s := p.State(); s.Restarts != 2 {
		t.Errorf("%+v: the bad request ends two workers", s)
	}
}

// TestE2EQueue refuses what is more than may wait, and gives up at the end of
// the time.
func TestE2EQueue(t *testing.T) {
	c, _ := config(t)
	c.Queue, c.Timeout = 2, 15*time.Second
	url := serve(t, serving.Config{Dir: custom(t, naughtyInputs, naughty), Engines: []serving.Engine{python.New(c)}, AnswerIn: c.Timeout})
	var group sync.WaitGroup
	var mu sync.Mutex
	got := map[int]int{}
	for range 8 {
		group.Go(func() {
			status, _ := post(t, url+"/invocations", nil, record("sleeps 1", 1))
			mu.Lock()
			defer mu.Unlock()
			got[status]++
		})
	}
	group.Wait()
	if got[200] < 2 || got[503] < 4 || got[200]+got[503] != 8 {
		t.Errorf("%v", got)
	}
}

// TestE2ENotLoaded says at once why a model does not load.
func TestE2ENotLoaded(t *testing.T) {
	c, _ := config(t)
	for name, test := range map[string]struct {
		source, says, hint string
	}{
		"missing module": {"import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere_to_be_found'", "requirements"},
		"raises":         {"def _load_pyfunc(path): raise ValueError('bad weights')", "ValueError: bad weights", ""},
		"crashes":        {"import os\ndef _load_pyfunc(path):\n    print('so long', flush=True)\n    os._exit(9)", "exited with status 9 while it loaded the model: so long", ""},
		"leaves":         {"import sys\ndef _load_pyfunc(path): sys.exit('enough')", "exited with status 1", ""},
		"segfault":       {"import ctypes\ndef _load_pyfunc(path): ctypes.string_at(0)", "segmentation fault", ""},
		"too big":        {"def _load_pyfunc(path): return bytearray(1 << 31)", "MemoryError", "--worker-memory"},
		"lies":           {"import os\ndef _load_pyfunc(path): os.write(3, b'\\xff\\xff\\xff\\xff')", "protocol", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := c
			c.Memory = 1 << 30
			m, err := mlmodel.Open(custom(t, "", test.source))
			if err != nil {
				t.Fatal(err)
			}
			_, err = python.New(c).Load(t.Context(), m)
			if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(err.Error(), test.says) || !strings.Contains(slipway.HintOf(err), test.hint) {
				t.Errorf("%v\nhint: %s", err, slipway.HintOf(err))
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		t.Parallel()
		c := c
		c.LoadTimeout = 10 * time.Second
		m, err := mlmodel.Open(custom(t, "", "import time\ndef _load_pyfunc(path): time.sleep(600)"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = python.New(c).Load(t.Context(), m); slipway.CodeOf(err) != slipway.Exhausted {
			t.Error(err)
		}
	})
	t.Run("no mlflow", func(t *testing.T) {
		t.Parallel()
		c := c
		c.Site = []string{t.TempDir()}
		m, err := mlmodel.Open(custom(t, "", "x"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err = python.New(c).Load(t.Context(), m); !strings.Contains(slipway.HintOf(err), "mlflow-skinny") {
			t.Error(err)
		}
	})
}

// TestE2EKilledFromOutside replaces a worker that somebody else ends, without
// losing a request.
func TestE2EKilledFromOutside(t *testing.T) {
	c, log := config(t)
	m, p := load(t, c, custom(t, naughtyInputs, naughty))
	got := make(chan error, 1)
	go func() {
		_, err := serving.Predict(t.Context(), m, p, []byte(record("sleeps 2", 1)))
		got <- err
	}()
	var ready struct{ PID int }
	if err := json.Unmarshal([]byte(strings.SplitAfter(log.String(), "}\n")[0]), &ready); err != nil || ready.PID == 0 {
		t.Fatal(err, log)
	}
	if err := syscall.Kill(ready.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

// TestE2EBatchable tells models whose rows are on their own from others.
func TestE2EBatchable(t *testing.T) {
	c, _ := config(t)
	for name, test := range map[string]struct {
		answer string
		want   bool
	}{
		"rows":      {"data['n'].to_numpy() * 2", true},
		"frame":     {"pd.DataFrame({'a': data['n'], 'b': data['do']})", true},
		"list":      {"[str(n) for n in data['n']]", true},
		"dict":      {"{'a': data['n'].to_numpy(), 'b': list(data['do'])}", true},
		"mean":      {"data['n'] - data['n'].mean()", false},
		"one value": {"float(data['n'].sum())", false},
		"a text":    {"'done'", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			source := "import numpy as np, pandas as pd\nclass M:\n    def predict(self, data): return " + test.answer + "\ndef _load_pyfunc(path): return M()\n"
			m, p := load(t, c, custom(t, naughtyInputs, source))
			requests := []json.RawMessage{json.RawMessage(record("a", 1)), json.RawMessage(record("b", 2)), json.RawMessage(record("c", 5))}
			got, err := python.Batchable(t.Context(), m, p, requests)
			if got != test.want || err != nil {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// TestE2ECanceled ends the workers with the predictor, and a load with its
// context.
func TestE2ECanceled(t *testing.T) {
	c, _ := config(t)
	m, err := mlmodel.Open(custom(t, naughtyInputs, naughty))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := python.New(c).Load(ctx, m); err == nil {
		t.Error("loaded")
	}
	p, err := python.New(c).Load(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.(*python.Predictor).Close(); err != nil {
		t.Error(err)
	}
	if _, err := p.Predict(t.Context(), &serving.Batch{Rows: 1}); slipway.CodeOf(err) != slipway.Unavailable {
		t.Error(err)
	}
}
