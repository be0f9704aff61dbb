//go:build e2e

package python_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/python"
)

// capture is one request to a real MLflow and its reply.
type capture struct {
	name, method, path string
	header             http.Header
	body               string
	status             int
	reply              string
}

// readCaptures reads the captures of package serving.
func readCaptures(t *testing.T) []capture {
	t.Helper()
	data, err := os.ReadFile("../testdata/captures.txt")
	if err != nil {
		t.Fatal(err)
	}
	var list []capture
	for _, part := range strings.Split(string(data), "\n-- ")[1:] {
		name, rest, _ := strings.Cut(part, " --\n")
		request, reply, _ := strings.Cut(rest, "\n\nHTTP/1.1 ")
		c := capture{name: name, header: http.Header{}}
		lines := strings.Split(request, "\n")
		c.method, c.path, _ = strings.Cut(strings.TrimPrefix(lines[0], "> "), " ")
		for i, line := range lines[1:] {
			if strings.TrimSpace(line) == ">" {
				c.body = strings.TrimPrefix(strings.Join(lines[i+2:], "\n"), "> ")
				break
			}
			key, value, _ := strings.Cut(strings.TrimPrefix(line, "> "), ": ")
			c.header.Set(key, value)
		}
		head, body, _ := strings.Cut(reply, "\n\n")
		if _, err := fmt.Sscanf(head, "%d", &c.status); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c.reply = strings.TrimSpace(body)
		list = append(list, c)
	}
	return list
}

var captured = map[string]string{"sv": "sklearn-skops", "ty": "pyfunc-all-types", "ox": "onnx-tensor", "th": "pyfunc-type-hint", "cd": "pyfunc-models-from-code"}

// TestE2ECaptures asks the real models what a real MLflow was asked, over
// HTTP, in MLflow's own schema mode, and expects its status, its predictions
// to the last letter, and its error code and class.
func TestE2ECaptures(t *testing.T) {
	c, _ := config(t)
	urls := map[string]string{}
	for kind, model := range captured {
		urls[kind] = serve(t, serving.Config{Dir: filepath.Join("testdata/models", model), Engines: []serving.Engine{python.New(c)}, Schema: serving.LikeMLflow})
	}
	seen := 0
	for _, c := range readCaptures(t) {
		seen++
		t.Run(c.name, func(t *testing.T) {
			status, reply := do(t, c.method, urls[c.name[:2]]+c.path, c.header, c.body)
			if status != c.status && c.name != "sv_root" { // GET / tells what there is
				t.Fatalf("status %d, MLflow's is %d: %s", status, c.status, reply)
			}
			switch {
			case c.status == 200:
				if d := cmp.Diff(ordered(c.reply), ordered(reply)); d != "" {
					t.Errorf("-MLflow +ours:\n%s", d)
				}
			case c.status == 400:
				compareErrors(t, reply, c.reply)
			}
		})
	}
	if seen != 83 {
		t.Errorf("%d captures instead of 83", seen)
	}
}

// ordered sorts the keys of JSON objects, whose order in values of a map is
// not kept, and leaves numbers as they are written.
func ordered(text string) string {
	quoted := strings.NewReplacer(": NaN", `: "NaN"`, ": Infinity", `: "Infinity"`).Replace(text)
	d := json.NewDecoder(strings.NewReader(quoted))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return text
	}
	sorted, err := json.Marshal(v)
	if err != nil {
		return text
	}
	return string(sorted)
}

func compareErrors(t *testing.T, got, want string) {
	t.Helper()
	type shape struct {
		Code  string `json:"error_code"`
		State string `json:"sqlstate"`
		Class string `json:"error_class"`
	}
	var g, w shape
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v: %s", err, want)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("-MLflow +ours:\n%s\nours: %s\nMLflow: %.600s", d, got, want)
	}
}

// mlflow is MLflow's own scoring code in a process.
type mlflow struct {
	mu  sync.Mutex
	in  *json.Encoder
	out *bufio.Scanner
}

func startMLflow(t *testing.T) *mlflow {
	t.Helper()
	interpreter, site := environment(t)
	cmd := exec.CommandContext(t.Context(), interpreter, "testdata/mlflow_answers.py")
	cmd.Env = []string{"PATH=/usr/bin:/bin", "PYTHONPATH=" + site, "SOME_API_KEY=k", "PYTHONWARNINGS=ignore"}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &mlflow{in: json.NewEncoder(in), out: bufio.NewScanner(out)}
}

// ask returns what MLflow's server would reply.
func (m *mlflow) ask(t *testing.T, dir, contentType, body string) (status int, reply string) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.in.Encode(map[string]string{"model": dir, "type": contentType, "body": body}); err != nil {
		t.Fatal(err)
	}
	if !m.out.Scan() {
		t.Fatal("MLflow ended: ", m.out.Err())
	}
	var answer struct {
		Status int
		Body   string
	}
	if err := json.Unmarshal(m.out.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	return answer.Status, answer.Body
}

// TestE2EModels loads each fixture and answers its example, and rows made
// beside it, letter by letter as MLflow does.
func TestE2EModels(t *testing.T) {
	reference := startMLflow(t)
	dirs, err := filepath.Glob("testdata/models/*")
	if err != nil || len(dirs) != 13 {
		t.Fatal(dirs, err)
	}
	for _, dir := range dirs {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			c, _ := config(t)
			c.Env = append(c.Env, "SOME_API_KEY=k")
			m, err := mlmodel.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			requests, err := m.Requests(8)
			if err != nil {
				t.Fatal(err)
			}
			if len(requests) == 0 {
				t.Fatal("nothing to ask")
			}
			url := serve(t, serving.Config{Dir: dir, Engines: []serving.Engine{python.New(c)}})
			for _, body := range requests {
				status, reply := post(t, url+"/invocations", http.Header{"Content-Type": {"application/json"}}, string(body))
				wantStatus, want := reference.ask(t, dir, "application/json", string(body))
				if status != wantStatus || status == 200 && ordered(reply) != ordered(want) {
					t.Errorf("%s\nMLflow: %d %s\nours:   %d %s", body, wantStatus, want, status, reply)
				}
			}
		})
	}
}
