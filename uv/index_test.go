package uv_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway/mlmodel"
)

// index is a package index (PEP 503) on loopback, whose wheels are made by
// hand.
type index struct {
	*httptest.Server
	mu       sync.Mutex
	files    map[string][]byte // file name → content
	requires map[string]string // file name → requires-python
	user     string            // "user:password" that is asked for; "": nobody
	status   int               // what every request is answered with; 0: what is right
}

func newIndex(t testing.TB) *index {
	x := &index{files: map[string][]byte{}, requires: map[string]string{}}
	x.Server = httptest.NewServer(http.HandlerFunc(x.serve))
	t.Cleanup(x.Close)
	return x
}

// with is the index's address with a user.
func (x *index) with(user string) string {
	return strings.Replace(x.URL, "://", "://"+user+"@", 1) + "/simple"
}

func (x *index) serve(w http.ResponseWriter, r *http.Request) {
	x.mu.Lock()
	defer x.mu.Unlock()
	user, password, _ := r.BasicAuth()
	switch {
	case x.status != 0:
		http.Error(w, "as the test wishes", x.status)
	case x.user != "" && user+":"+password != x.user:
		w.Header().Set("WWW-Authenticate", `Basic realm="index"`)
		http.Error(w, "who are you?", http.StatusUnauthorized)
	case strings.HasPrefix(r.URL.Path, "/simple/"):
		x.list(w, strings.Trim(strings.TrimPrefix(r.URL.Path, "/simple/"), "/"))
	default:
		data, ok := x.files[strings.TrimPrefix(r.URL.Path, "/files/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Write(data)
	}
}

func (x *index) list(w http.ResponseWriter, name string) {
	var b strings.Builder
	for file, data := range x.files {
		stem, _, _ := strings.Cut(file, "-")
		if mlmodel.PackageKey(stem) == name {
			sum := sha256.Sum256(data)
			fmt.Fprintf(&b, "<a href=\"/files/%s#sha256=%x\" data-requires-python=\"%s\">%s</a><br>\n", file, sum, strings.ReplaceAll(x.requires[file], ">", "&gt;"), file)
		}
	}
	if b.Len() == 0 {
		http.Error(w, "no such package", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	fmt.Fprintf(w, "<!DOCTYPE html><html><body>\n%s</body></html>", b.String())
}

// add puts a wheel into the index and returns its file name. tag is
// "py3-none-any" and the like; requires are its dependencies; files are name
// and content in turn.
func (x *index) add(name, version, tag string, requires []string, files ...string) string {
	return x.put(fmt.Sprintf("%s-%s-%s.whl", name, version, tag), wheel(name, version, tag, requires, files...))
}

func (x *index) put(file string, data []byte) string {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.files[file] = data
	return file
}

func (x *index) set(status int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.status = status
}

func wheel(name, version, tag string, requires []string, files ...string) []byte {
	info := fmt.Sprintf("%s-%s.dist-info/", name, version)
	metadata := fmt.Sprintf("Metadata-Version: 2.1\nName: %s\nVersion: %s\n", name, version)
	for _, r := range requires {
		metadata += "Requires-Dist: " + r + "\n"
	}
	files = append(files, info+"METADATA", metadata, info+"WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: "+tag+"\n")
	var record strings.Builder
	var b bytes.Buffer
	archive := zip.NewWriter(&b)
	write := func(name, content string) {
		w, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Deflate})
		if err == nil {
			_, err = w.Write([]byte(content))
		}
		if err != nil {
			panic(err)
		}
	}
	for i := 0; i < len(files); i += 2 {
		sum := sha256.Sum256([]byte(files[i+1]))
		fmt.Fprintf(&record, "%s,sha256=%s,%d\n", files[i], base64.RawURLEncoding.EncodeToString(sum[:]), len(files[i+1]))
		write(files[i], files[i+1])
	}
	record.WriteString(info + "RECORD,,\n")
	write(info+"RECORD", record.String())
	if err := archive.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func sha(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
