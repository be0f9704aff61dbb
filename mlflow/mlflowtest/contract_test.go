package mlflowtest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// The captures below testdata/http are exchanges with a real MLflow 3.17.2.
// Each is played against the server in memory, in the state the real one was
// in, and must be answered alike: status, content type, and JSON to the last
// field but for times and identifiers.

// exchange is one capture.
type exchange struct {
	method, target string
	header         http.Header
	body           string
	status         int
	media          string
	answer         string
	chunked        bool
}

func capture(t *testing.T, name string) exchange {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "http", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	var e exchange
	e.header = http.Header{}
	head, rest, ok := bytes.Cut(data, []byte("\n\nHTTP/1.1 "))
	if !ok {
		t.Fatalf("%s is no capture", name)
	}
	request := strings.ReplaceAll(strings.ReplaceAll("\n"+string(head), "\n> ", "\n"), "\n>", "\n")[1:]
	lines, body, _ := strings.Cut(request, "\n\n")
	first, headers, _ := strings.Cut(lines, "\n")
	e.method, e.target, _ = strings.Cut(first, " ")
	e.body = body
	for line := range strings.Lines(headers) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ": ")
		e.header.Set(k, v)
	}
	response, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(unchunked(append([]byte("HTTP/1.1 "), rest...)))), nil)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil && len(answer) == 0 {
		t.Fatalf("%s: %v", name, err)
	}
	e.status, e.answer, e.chunked = response.StatusCode, string(answer), bytes.Contains(rest, []byte("Transfer-Encoding: chunked"))
	e.media, _, _ = strings.Cut(response.Header.Get("Content-Type"), ";")
	return e
}

// unchunked makes a captured answer readable whose chunks were put together:
// its body ends with the file, whose own final newlines are the capture's.
func unchunked(b []byte) []byte {
	b = bytes.Replace(b, []byte("Transfer-Encoding: chunked\n"), nil, 1)
	b = bytes.TrimRight(b, "\n")
	if !bytes.Contains(b, []byte("\n\n")) { // an empty body
		return append(b, "\n\n"...)
	}
	return append(b, '\n')
}

// stage is a server in a state, and what its identifiers are in the captures.
type stage struct {
	*testing.T
	seen   map[string]bool // captures that were played; the stages run one after the other
	server *mlflowtest.Server
	prefix string
	ours   []string // captured, ours, captured, ours, …
}

func newStage(t *testing.T, seen map[string]bool, c mlflowtest.Config) *stage {
	return &stage{T: t, seen: seen, server: mlflowtest.NewServer(c), prefix: c.Prefix}
}

// do sends a request and returns the answer.
func (s *stage) do(method, target, body string, header http.Header) *http.Response {
	s.Helper()
	r := httptest.NewRequestWithContext(s.Context(), method, "http://127.0.0.1:5000"+target, strings.NewReader(body))
	for k, v := range header {
		r.Header[k] = v
	}
	if h := header.Get("Host"); h != "" {
		r.Host = h
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, r)
	return w.Result()
}

// must sends a request of the preparation and returns a field of the answer.
func (s *stage) must(method, target, body string, header http.Header, field string) string {
	s.Helper()
	res := s.do(method, s.prefix+target, body, header)
	data, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		s.Fatalf("%s %s: %d %s %v", method, target, res.StatusCode, data, err)
	}
	m := regexp.MustCompile(`"` + field + `": "([^"]*)"`).FindSubmatch(data)
	if field != "" && m == nil {
		s.Fatalf("%s %s: no %s in %s", method, target, field, data)
	}
	if field == "" {
		return ""
	}
	return string(m[1])
}

// logged makes a run and a logged model with files, known in the captures by
// the given identifiers.
func (s *stage) logged(capturedModel, capturedRun string, files map[string]int) {
	s.Helper()
	run := s.must("POST", "/api/2.0/mlflow/runs/create", `{"experiment_id":"0"}`, nil, "run_id")
	id := s.must("POST", "/api/2.0/mlflow/logged-models", `{"experiment_id":"0","name":"model","source_run_id":"`+run+`"}`, nil, "model_id")
	s.must("POST", "/api/2.0/mlflow/runs/outputs", `{"run_id":"`+run+`","models":[{"model_id":"`+id+`","step":0}]}`, nil, "")
	s.must("PATCH", "/api/2.0/mlflow/logged-models/"+id, `{"model_id":"`+id+`","status":"LOGGED_MODEL_READY"}`, nil, "")
	s.ours = append(s.ours, capturedModel, id, capturedRun, run)
	for path, size := range files {
		s.server.SetFile(s.root(id)+"/"+path, content(path, size))
	}
}

func (s *stage) root(id string) string {
	root := s.must("GET", "/api/2.0/mlflow/logged-models/"+id, "", nil, "artifact_uri")
	return strings.Trim(strings.TrimPrefix(root, "mlflow-artifacts:"), "/")
}

const requirements = "mlflow==3.17.2\nnumpy==2.4.6\npandas==3.1.1\nscikit-learn==1.9.1\nscipy==1.17.1\nskops==0.16.0"

func content(path string, size int) []byte {
	if path == "requirements.txt" {
		return []byte(requirements[:size])
	}
	return bytes.Repeat([]byte("x"), size)
}

func (s *stage) version(name, capturedModel, tags string) {
	s.Helper()
	for i := 0; i < len(s.ours); i += 2 {
		if s.ours[i] == capturedModel {
			id := s.ours[i+1]
			s.must("POST", "/api/2.0/mlflow/model-versions/create", `{"name":"`+name+`","source":"models:/`+id+`","model_id":"`+id+`","tags":[`+tags+`]}`, nil, "")
			return
		}
	}
	s.Fatalf("no model %s", capturedModel)
}

// replay plays captures in order.
func (s *stage) replay(header http.Header, names ...string) {
	s.Helper()
	for _, name := range names {
		s.Run(name, func(t *testing.T) {
			s.play(t, capture(t, name), name, header)
			s.seen[name] = true
		})
	}
}

func (s *stage) play(t *testing.T, e exchange, name string, header http.Header) {
	t.Helper()
	there := strings.NewReplacer(append(s.ours, "/1/models/", "/0/models/", "path=1/models/", "path=0/models/")...)
	for k, v := range header {
		if e.header.Get(k) == "" {
			e.header[k] = v
		}
	}
	res := s.do(e.method, there.Replace(e.target), there.Replace(e.body), e.header)
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	media, _, _ := strings.Cut(res.Header.Get("Content-Type"), ";")
	if res.StatusCode != e.status || media != e.media {
		t.Fatalf("answered %d %q %s, the real one %d %q %s", res.StatusCode, media, data, e.status, e.media, e.answer)
	}
	if (res.Header.Get("Content-Length") == "") != e.chunked && media != "text/plain" {
		t.Errorf("Content-Length %q, the real one chunked: %t", res.Header.Get("Content-Length"), e.chunked)
	}
	if diff := cmp.Diff(s.plain(there.Replace(e.answer), media, name), s.plain(string(data), media, name)); diff != "" {
		t.Errorf("the real one - and ours +:\n%s", diff)
	}
}

// ignored are fields that a Python client set, or that nothing here depends on.
var ignored = map[string][]string{
	"run_get":         {"run_name", "user_id", "status", "start_time", "end_time", "tags"},
	"lm_get":          {"tags", "params", "model_type"},
	"b_lm":            {"tags"},
	"c_info":          {"features_enabled", "trace_archival_enabled"},
	"s3_server_info":  {"features_enabled", "trace_archival_enabled"},
	"s3_presigned":    {"url"},
	"mv_search_alias": {"message"}, "mv_search_badfilter": {"message"}, // a Python set, in no order
	"s3_get_missing":       {"message"}, // names the bucket
	"s3_presigned_missing": {"message"},
}

// plain makes answers comparable: decoded JSON without what differs by nature.
func (s *stage) plain(answer, media, name string) any {
	answer = strings.ReplaceAll(answer, "/1/models/", "/0/models/")
	var v any
	if media != "application/json" || json.Unmarshal([]byte(answer), &v) != nil {
		if name == "s3_get" || name == "s3_get_range" { // another MLmodel file
			return len(answer) > 0
		}
		return strings.TrimSpace(answer)
	}
	return s.scrub(v, name)
}

func (s *stage) scrub(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		for _, key := range ignored[name] {
			delete(v, key)
		}
		for k, inner := range v {
			v[k] = s.scrub(inner, name)
			if k == "experiment_id" {
				v[k] = "0"
			}
			if text, ok := v[k].(string); ok {
				v[k] = strings.ReplaceAll(strings.ReplaceAll(text, "mlflow-artifacts:/1/", "mlflow-artifacts:/0/"), "'1/models/", "'0/models/")
			}
		}
	case []any:
		for i := range v {
			v[i] = s.scrub(v[i], name)
		}
	case float64:
		if v > 1e12 {
			return "a time"
		}
	}
	return v
}

const (
	model1, run1 = "m-8c9da87512554d74a341b14a517f4c9b", "af1a51320a0e415bb5d99933a38d60c1"
	model2, run2 = "m-03b86ebe248844b494262044e9f75adb", "404de57ba93a4dd489eb3d645a758f92"
	codeModel    = "m-ae11c36bb53b40c99af8eaf8a2273e18"
)

func irisFiles() map[string]int {
	return map[string]int{"MLmodel": 1232, "conda.yaml": 206, "input_example.json": 89, "model.skops": 10712,
		"python_env.yaml": 114, "requirements.txt": 89, "serving_input_example.json": 232}
}

func TestCaptures(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, part := range []struct {
		name string
		run  func(*testing.T, map[string]bool)
	}{
		{"registry", registryCaptures}, {"artifacts", artifactCaptures}, {"not serving artifacts", notServingCaptures},
		{"users and prefix", userCaptures}, {"S3", s3Captures}, {"all", allPlayed},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, seen) })
	}
}

func registryCaptures(t *testing.T, seen map[string]bool) {
	s := newStage(t, seen, mlflowtest.Config{})
	s.logged(model1, run1, irisFiles())
	s.logged(model2, run2, irisFiles())
	s.must("POST", "/api/2.0/mlflow/registered-models/create", `{"name":"iris-sklearn"}`, nil, "")
	s.version("iris-sklearn", model1, `{"key":"stage","value":"candidate"}`)
	s.version("iris-sklearn", model2, "")
	s.replay(nil, "mv_get", "mv_get_missing", "mv_get_badversion", "mv_download_uri", "rm_get", "rm_get_missing", "rm_get_noname",
		"alias_get_missing", "alias_set", "alias_move", "alias_get", "rm_get_aliases", "alias_set2", "alias_set_badchars", "alias_set_badversion",
		"alias_set_intversion", "alias_set_reserved", "alias_set_vnum", "alias_delete_query", "badjson", "noctype", "badmethod", "badroute",
		"cors", "badhost", "badhost_health", "nohost_ok", "latest_bad", "latest_missing", "latest_empty")
	s.must("DELETE", "/api/2.0/mlflow/registered-models/alias", `{"name":"iris-sklearn","alias":"champion"}`, nil, "")
	s.replay(nil, "transition", "transition_noarch")
	s.must("POST", "/api/2.0/mlflow/model-versions/transition-stage", `{"name":"iris-sklearn","version":"1","stage":"Production"}`, nil, "")
	s.replay(nil, "transition_archive", "transition_bad")
	s.must("POST", "/api/2.0/mlflow/registered-models/alias", `{"name":"iris-sklearn","alias":"champion","version":"1"}`, nil, "")
	s.replay(nil, "latest_get", "latest_get_stage", "latest_get_stages", "latest_post",
		"mv_search", "mv_search_p2", "mv_search_order", "mv_search_tag", "mv_search_alias", "mv_search_badfilter", "mv_search_badsyntax",
		"mv_search_badtok", "mv_search_big", "mv_search_empty", "rm_search", "run_get", "run_artifacts", "run_artifacts_model", "lm_get", "lm_get_missing")
	s.replay(nil, "reg_create", "reg_create_colon", "reg_create_dup", "mv_create", "mv_create_s3", "mv_create_fromversion", "mv_create_ma",
		"mv_create_runs", "mv_create_dbfs", "mv_create_wasbs", "mv_create_gs", "mv_create_local", "mv_create_nomodelid", "mv_create_abfss",
		"mv_update", "mv_delete", "mv_get_deleted", "prompt_create", "prompt_ver", "mv_search_prompt")
	s.replay(nil, "tag_set", "tag_set_fan", "tag_set_badmodel", "tag_del", "tag_del_missing", "alias_delete", "alias_delete_again")
}

func artifactCaptures(t *testing.T, seen map[string]bool) {
	s := newStage(t, seen, mlflowtest.Config{})
	s.logged(model1, run1, irisFiles())
	s.logged(codeModel, run2, map[string]int{"MLmodel": 1, "code/mypkg/__init__.py": 0})
	s.must("POST", "/api/2.0/mlflow/registered-models/create", `{"name":"iris-sklearn"}`, nil, "")
	s.version("iris-sklearn", model1, "")
	s.server.SetFile("1/enc/x y+z%é.txt", []byte("pct"))
	s.replay(nil, "art_list_enc")
	s.server.SetFile("1/enc/empty.bin", nil)
	s.server.SetFile("1/enc/p q.txt", []byte("four"))
	s.replay(nil, "art_list_enc2", "art_list", "art_list_sub", "art_list_file", "art_list_missing", "art_get", "art_get_dir", "art_get_inm",
		"art_get_missing", "art_get_range", "art_get_traversal", "art_presigned", "mpu", "lm_dirs", "lm_dirs_path", "lm_file_ajax", "lm_file_api",
		"mv_get_artifact", "mv_get_artifact_missing")
}

func notServingCaptures(t *testing.T, seen map[string]bool) {
	s := newStage(t, seen, mlflowtest.Config{NoServeArtifacts: true})
	s.logged("m-4c1d16bf10484d31a823f0f2f49cee28", "0e4e859f417148dab43da0d6c16f1eb0",
		map[string]int{"MLmodel": 802, "conda.yaml": 103, "python_env.yaml": 114, "python_model.pkl": 1402, "requirements.txt": 6})
	s.must("POST", "/api/2.0/mlflow/registered-models/create", `{"name":"local-model"}`, nil, "")
	s.version("local-model", "m-4c1d16bf10484d31a823f0f2f49cee28", "")
	s.replay(nil, "b_mv", "b_dluri", "b_dirs", "b_lm", "b_ajaxfile", "b_mvget", "b_noserve_get", "b_noserve_list")
}

func userCaptures(t *testing.T, seen map[string]bool) {
	s := newStage(t, seen, mlflowtest.Config{Prefix: "/mlflow", Users: []mlflowtest.User{{Name: "admin", Password: "pw"}, {Name: "cd", Password: "pw", ReadOnly: true}}})
	admin, cd := basic("admin", "pw"), basic("cd", "pw")
	s.replay(nil, "c_health", "c_info", "c_noauth", "c_noauth_art", "c_bearer", "c_version")
	s.replay(basic("admin", "wrong"), "c_badpw")
	s.replay(admin, "c_ok", "c_mkmodel", "c_mkver")
	s.replay(cd, "c_user_read", "c_user_unknown_model", "c_user_tag", "c_user_artlist", "c_user_artget", "c_user_artget_unprefixed", "c_user_getart")
}

func basic(user, password string) http.Header {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header
}

func s3Captures(t *testing.T, seen map[string]bool) {
	s := newStage(t, seen, mlflowtest.Config{Storage: mlflowtest.S3Presigned})
	const id = "m-3abcb723924548fbbfe394dfbb1e7de8"
	s.logged(id, "312ba92c66084d8bb9fd8e06a5fc4ea6",
		map[string]int{"MLmodel": 798, "conda.yaml": 103, "python_env.yaml": 114, "python_model.pkl": 1402, "requirements.txt": 6})
	s.must("POST", "/api/2.0/mlflow/registered-models/create", `{"name":"s3-model"}`, nil, "")
	s.version("s3-model", id, "")
	s.must("POST", "/api/2.0/mlflow/registered-models/create", `{"name":"hook model é"}`, nil, "")
	for range 2 {
		s.must("POST", "/api/2.0/mlflow/model-versions/create", `{"name":"hook model é","source":"s3://bucket/models/fraud/7"}`, nil, "")
	}
	s.replay(nil, "s3_server_info", "s3_dluri", "s3_list", "s3_get", "s3_get_dir", "s3_get_missing", "s3_get_range", "s3_presigned",
		"s3_presigned_missing", "s3_mvget", "s3_getart")
}

// allPlayed checks that no capture lies there unused.
func allPlayed(t *testing.T, seen map[string]bool) {
	files, err := filepath.Glob("testdata/http/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	var unused []string
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		if !seen[name] {
			unused = append(unused, name)
		}
	}
	if len(unused) > 0 || len(files) < 100 {
		t.Errorf("of %d captures these were not played: %s", len(files), fmt.Sprint(unused))
	}
}
