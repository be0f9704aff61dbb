//go:build e2e

package e2e_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// A company's own package index, which asks for a password: the model gets its
// package from there, and the password is nowhere afterwards.
func TestE2EThePasswordOfAPackageIndex(t *testing.T) {
	t.Parallel()
	const password = "hunter2-of-the-index"
	x := newCompanyIndex(t, "ada:"+password)
	w := newTidy(t)
	index := strings.Replace(x.server.URL, "://", "://ada:"+password+"@", 1) + "/simple"
	w.env = append(w.env, "XDG_CACHE_HOME="+filepath.Join(w.home, "cache"), "PIP_EXTRA_INDEX_URL="+index)
	dir := written(t, "import company_secrets\n"+doubling(`return model_input["x"].to_numpy() * company_secrets.FACTOR`))
	require(t, "company-secrets==1.0")(dir)

	seen := spy(t, password)
	killed := w.start("deploy", dir, "--name", "x") // what it leaves is looked through, too, and is no obstacle
	killed.says("downloading")
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.ends(-1)
	said := []ran{{stderr: killed.text()}}
	for _, step := range [][]string{{"extract", dir, "--name", "x"}, {"validate"}, {"build"}, {"push"}, {"deploy", dir, "--name", "x"}} {
		said = append(said, w.want(0, nil, step...))
	}
	if x.sold() == 0 {
		t.Error("nobody fetched the package from the index with a password")
	}
	if text := w.post(`{"dataframe_split": {"columns": ["x"], "data": [[1.0]]}}`); !strings.Contains(text, "[42.0]") {
		t.Errorf("it answers %s", text)
	}
	w.serversKnow("ada:", "company-index")
	if got := seen(); len(got) > 0 {
		t.Errorf("the password was an argument of %q", got)
	}
	w.env = append(w.env, "PIP_EXTRA_INDEX_URL="+strings.Replace(index, password, password+"-wrong", 1))
	require(t, "company-other==1.0")(dir)
	said = append(said, w.refused(1, []string{"(401)"}, "deploy", dir, "--name", "x"))
	w.nowhere(password, said...) // the image's files are in the home too, as the target unpacked them
	w.notInTheRegistry(password)
}

// serversKnow checks that no model server was given a variable with any of the
// texts.
func (w *world) serversKnow(texts ...string) {
	w.t.Helper()
	for _, pid := range append(w.servers(), fmt.Sprint(w.workers()[0])) {
		data, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			w.t.Error(err)
		}
		for _, text := range texts {
			if bytes.Contains(data, []byte(text)) {
				w.t.Errorf("process %s has %q in its environment", pid, text)
			}
		}
	}
}

// notInTheRegistry looks for the secret in all manifests, and all but the big
// blobs, of the image's repository.
func (w *world) notInTheRegistry(secret string) {
	w.t.Helper()
	at := "http://" + strings.Replace(w.image, "/", "/v2/", 1)
	var list struct{ Tags []string }
	if err := json.Unmarshal(fetch(w.t, at+"/tags/list"), &list); err != nil || len(list.Tags) == 0 {
		w.t.Fatalf("%v, tags %v", err, list)
	}
	type blob struct {
		Digest string
		Size   int64
	}
	for _, tag := range list.Tags {
		data := fetch(w.t, at+"/manifests/"+tag)
		var m struct {
			Config blob
			Layers []blob
		}
		if err := json.Unmarshal(data, &m); err != nil {
			w.t.Fatal(err)
		}
		for _, b := range append(m.Layers, m.Config) {
			if b.Digest != "" && b.Size < 1<<20 {
				data = append(data, fetch(w.t, at+"/blobs/"+b.Digest)...)
			}
		}
		if bytes.Contains(data, []byte(secret)) {
			w.t.Errorf("the secret is in %s:%s", w.image, tag)
		}
	}
}

func fetch(t testing.TB, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return data
}

// spy looks at the arguments of all processes until the result is called, which
// returns those with one of the secrets.
func spy(t testing.TB, secrets ...string) (seen func() []string) {
	stop, done := make(chan struct{}), make(chan []string, 1)
	go func() {
		var found []string
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				done <- found
				return
			case <-tick.C:
			}
			paths, err := filepath.Glob("/proc/[0-9]*/cmdline")
			if err != nil {
				t.Error(err)
			}
			for _, path := range paths {
				data, err := os.ReadFile(path)
				if err == nil && slices.ContainsFunc(secrets, func(s string) bool { return bytes.Contains(data, []byte(s)) }) {
					found = append(found, string(data))
				}
			}
		}
	}()
	return func() []string {
		close(stop)
		return <-done
	}
}

// companyIndex is a package index (PEP 503) that has one package, for those
// who know the password.
type companyIndex struct {
	server *httptest.Server
	login  string // user:password
	wheel  []byte
	mu     sync.Mutex
	count  int // of the wheel's downloads
}

func newCompanyIndex(t testing.TB, login string) *companyIndex {
	t.Helper()
	x := &companyIndex{login: login, wheel: companyWheel(t)}
	x.server = httptest.NewServer(x)
	t.Cleanup(x.server.Close)
	return x
}

const companyFile = "company_secrets-1.0-py3-none-any.whl"

func (x *companyIndex) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch {
	case user+":"+password != x.login:
		w.Header().Set("WWW-Authenticate", `Basic realm="company-index"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case r.URL.Path == "/simple/company-secrets/":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprintf(w, "<!DOCTYPE html><html><body><a href=\"/files/%s#sha256=%x\">%s</a></body></html>", companyFile, sha256.Sum256(x.wheel), companyFile)
	case r.URL.Path == "/files/"+companyFile:
		x.mu.Lock()
		x.count++
		x.mu.Unlock()
		w.Write(x.wheel) //nolint:errcheck // who asked is gone
	default:
		http.NotFound(w, r)
	}
}

func (x *companyIndex) sold() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.count
}

// companyWheel is a wheel with one module.
func companyWheel(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	record := ""
	for _, file := range [][2]string{
		{"company_secrets.py", "FACTOR = 42.0\n"},
		{"company_secrets-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: company-secrets\nVersion: 1.0\n"},
		{"company_secrets-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"},
		{"company_secrets-1.0.dist-info/RECORD", ""},
	} {
		record += file[0] + ",,\n"
		content := file[1]
		if content == "" {
			content = record
		}
		f, err := archive.Create(file[0])
		if err == nil {
			_, err = io.WriteString(f, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
