package mlflow_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlmodel"
)

const modelDir = "mlflowtest/suite/testdata/model"

// shop is a server with one version of iris, whose file big.bin has 3 MB.
type shop struct {
	*mlflowtest.Server
	version mlflow.Version
	root    string // of the version's files in the proxy
	big     []byte
}

func newShop(t testing.TB, c mlflowtest.Config) *shop {
	t.Helper()
	s := &shop{Server: serve(t, c), big: bytes.Repeat([]byte("0123456789abcde\n"), 200_000)}
	if _, err := s.AddVersion("iris", modelDir); err != nil {
		t.Fatal(err)
	}
	config := mlflow.Config{URI: s.URL()}
	if len(c.Users) > 0 {
		config.Username, config.Password = c.Users[0].Name, c.Users[0].Password
	}
	var err error
	if s.version, err = client(t, config).Resolve(t.Context(), iris1); err != nil {
		t.Fatal(err)
	}
	for _, f := range s.Files() {
		if root, ok := strings.CutSuffix(f, "/MLmodel"); ok {
			s.root = root
		}
	}
	s.SetFile(s.root+"/big.bin", s.big)
	return s
}

// want is what a download must bring.
func (s *shop) want(t testing.TB) slipway.Digest {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "want")
	files, err := client(t, mlflow.Config{URI: s.URL(), Username: "u", Password: "p"}).Download(t.Context(), s.version, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if f.Path == "big.bin" && f.Size == int64(len(s.big)) {
			return mlmodel.DigestFiles(files)
		}
	}
	t.Fatalf("big.bin is not there: %+v", files)
	return ""
}

// requests records what reaches the handler.
type requests struct {
	http.Handler
	mu  sync.Mutex
	all []*http.Request
}

func (r *requests) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	r.mu.Lock()
	r.all = append(r.all, q.Clone(q.Context()))
	r.mu.Unlock()
	r.Handler.ServeHTTP(w, q)
}

func (r *requests) count(path string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, q := range r.all {
		if strings.Contains(q.URL.Path, path) {
			n++
		}
	}
	return n
}

func recorded(t testing.TB, s *shop) (*requests, string) {
	t.Helper()
	r := &requests{Handler: s}
	srv := httptest.NewServer(r)
	t.Cleanup(srv.Close)
	return r, srv.URL
}

// nothing checks that the failed download left no model.
func nothing(t testing.TB, dir string) {
	t.Helper()
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is there after a failure: %v", dir, err)
	}
}

// Every kind of storage gives the same files.
func TestStorages(t *testing.T) {
	t.Parallel()
	local := newShop(t, mlflowtest.Config{})
	for name, c := range map[string]mlflowtest.Config{
		"local disk":    {},
		"S3":            {Storage: mlflowtest.S3},
		"S3, presigned": {Storage: mlflowtest.S3Presigned},
		"S3, presigned, with users and prefix": {Storage: mlflowtest.S3Presigned, Prefix: "/mlflow",
			Users: []mlflowtest.User{{Name: "u", Password: "p"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, c)
			m := client(t, mlflow.Config{URI: s.URL(), Username: "u", Password: "p", Workspace: "team"})
			files, err := m.Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil)
			if err != nil {
				t.Fatal(err)
			}
			files = slices.DeleteFunc(files, func(f mlmodel.File) bool { return f.Path == "MLmodel" }) // has its own identifier
			want, err := client(t, mlflow.Config{URI: local.URL()}).Download(t.Context(), local.version, filepath.Join(t.TempDir(), "m"), nil)
			if err != nil {
				t.Fatal(err)
			}
			want = slices.DeleteFunc(want, func(f mlmodel.File) bool { return f.Path == "MLmodel" })
			if mlmodel.DigestFiles(files) != mlmodel.DigestFiles(want) {
				t.Errorf("got %+v, want %+v", files, want)
			}
		})
	}
}

// Through presigned URLs no file goes through the proxy; without them all do.
func TestPresignedSparesTheProxy(t *testing.T) {
	t.Parallel()
	for storage, viaProxy := range map[mlflowtest.Storage]int{mlflowtest.S3Presigned: 0, mlflowtest.S3: 1} {
		s := newShop(t, mlflowtest.Config{Storage: storage})
		r, uri := recorded(t, s)
		if _, err := client(t, mlflow.Config{URI: uri}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil); err != nil {
			t.Fatal(err)
		}
		if got := r.count("mlflow-artifacts/artifacts/" + s.root + "/big.bin"); got != viaProxy {
			t.Errorf("storage %d: %d requests for the file at the proxy, want %d", storage, got, viaProxy)
		}
	}
}

// A transfer that breaks goes on where it broke, if the server can.
func TestBrokenTransferGoesOn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		storage mlflowtest.Storage
		resumes bool
	}{"local disk": {mlflowtest.LocalDisk, true}, "S3": {mlflowtest.S3, false}, "presigned": {mlflowtest.S3Presigned, true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, mlflowtest.Config{Storage: test.storage})
			want := s.want(t)
			s.Break(mlflowtest.Fault{Path: "presigned", Times: 1 << 30, Delay: time.Nanosecond}) // only the bytes are to break
			s.Break(mlflowtest.Fault{Path: "big.bin", Times: 2, Truncate: 1 << 20})
			var backwards bool
			var last int64
			files, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), func(done, _ int64) {
				backwards = backwards || done < last
				last = done
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := mlmodel.DigestFiles(files); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			if backwards == test.resumes {
				t.Errorf("progress went backwards: %t; resumes: %t", backwards, test.resumes)
			}
		})
	}
}

// A connection that breaks over and over is given up, unless each try brings a
// good piece.
func TestBreakingForEver(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	s.Break(mlflowtest.Fault{Path: "big.bin", Truncate: 10})
	dir := filepath.Join(t.TempDir(), "m")
	_, err := client(t, mlflow.Config{URI: s.URL(), Retries: 1}).Download(t.Context(), s.version, dir, nil)
	wantError(t, err, slipway.Unavailable, "file big.bin")
	nothing(t, dir)
	s.Mend()
	s.Break(mlflowtest.Fault{Path: "big.bin", Truncate: 1<<20 + 1})
	if _, err := client(t, mlflow.Config{URI: s.URL(), Retries: -1}).Download(t.Context(), s.version, dir, nil); err != nil {
		t.Errorf("pieces of 1 MB: %v", err)
	}
}

// A stalled transfer is broken off and taken up again.
func TestStalledTransfer(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	s.Break(mlflowtest.Fault{Path: "big.bin", Times: 1, Hang: true})
	m := client(t, mlflow.Config{URI: s.URL(), Stall: time.Second})
	if _, err := m.Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Error(err)
	}
	stalls := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "big.bin") {
			w.Write(s.big[:1000])
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(stalls.Close)
	_, err := client(t, mlflow.Config{URI: stalls.URL, Retries: -1, Stall: 500 * time.Millisecond}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil)
	wantError(t, err, slipway.Unavailable, "no byte for 500ms")
}

// What fails for good fails clearly, leaving no model.
func TestDownloadFailures(t *testing.T) {
	t.Parallel()
	asJSON := http.Header{"Content-Type": {"application/json"}}
	listing := func(files string) mlflowtest.Fault {
		return mlflowtest.Fault{Path: "/mlflow-artifacts/artifacts?", Status: 200, Header: asJSON, Body: `{"files":[` + files + `]}`}
	}
	one := `{"path":"MLmodel","is_dir":false,"file_size":5}`
	tests := map[string]struct {
		fault  func(*shop) mlflowtest.Fault
		config mlflow.Config
		code   slipway.Code
		says   string
	}{
		"too many bytes": {func(*shop) mlflowtest.Fault { return mlflowtest.Fault{Path: "never"} }, mlflow.Config{MaxBytes: 1 << 20}, slipway.Exhausted, "more than 1048576 bytes"},
		"shorter than listed": {func(s *shop) mlflowtest.Fault {
			return mlflowtest.Fault{Path: "big.bin", Status: 200, Body: "short"}
		}, mlflow.Config{Retries: -1}, slipway.Corrupt, "5 of 3200000 bytes"},
		"longer than listed": {func(s *shop) mlflowtest.Fault {
			return mlflowtest.Fault{Path: "requirements.txt", Status: 200, Body: strings.Repeat("x", 1000)}
		}, mlflow.Config{}, slipway.Corrupt, "longer"},
		"gone": {func(s *shop) mlflowtest.Fault {
			return mlflowtest.Fault{Path: "big.bin", Status: 404, Header: asJSON, Body: `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"No such artifact"}`}
		}, mlflow.Config{}, slipway.NotFound, "file big.bin"},
		"changed meanwhile": {func(s *shop) mlflowtest.Fault {
			return mlflowtest.Fault{Path: "big.bin", Times: 1, Delay: time.Nanosecond, Then: func() { s.SetFile(s.root+"/requirements.txt", []byte("other")) }}
		}, mlflow.Config{Jobs: 1}, slipway.Corrupt, ""},
		"a file more": {func(s *shop) mlflowtest.Fault {
			return mlflowtest.Fault{Path: "big.bin", Times: 1, Delay: time.Nanosecond, Then: func() { s.SetFile(s.root+"/new", []byte("new")) }}
		}, mlflow.Config{}, slipway.Corrupt, "changed on the server"},
		"unauthorised":          {func(*shop) mlflowtest.Fault { return mlflowtest.Fault{Path: "big.bin", Status: 401} }, mlflow.Config{}, slipway.Unauthorized, "big.bin"},
		"a listing's 500":       {func(*shop) mlflowtest.Fault { f := mlflowtest.HTMLError(500); f.Path = "artifacts?"; return f }, mlflow.Config{Retries: -1}, slipway.Unavailable, "500"},
		"an endless listing":    {func(*shop) mlflowtest.Fault { return listing(`{"path":"d","is_dir":true}`) }, mlflow.Config{}, slipway.Exhausted, "deep"},
		"too many files":        {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a"},{"path":"b"}`) }, mlflow.Config{MaxFiles: 2}, slipway.Exhausted, "more than 2"},
		"sizes beyond counting": {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a","file_size":9223372036854775807}`) }, mlflow.Config{}, slipway.Exhausted, "bytes"},
		"dot-dot":               {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":".."}`) }, mlflow.Config{}, slipway.Invalid, "leads elsewhere"},
		"a path":                {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"../x"}`) }, mlflow.Config{}, slipway.Invalid, "slash"},
		"absolute":              {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"/etc/passwd"}`) }, mlflow.Config{}, slipway.Invalid, "slash"},
		"a backslash":           {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a\\b"}`) }, mlflow.Config{}, slipway.Invalid, "backslash"},
		"a control character":   {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a\u0007b"}`) }, mlflow.Config{}, slipway.Invalid, "control"},
		"a duplicate":           {func(*shop) mlflowtest.Fault { return listing(one + "," + one) }, mlflow.Config{}, slipway.Invalid, "case"},
		"a file and a folder":   {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"mlMODEL","is_dir":true}`) }, mlflow.Config{}, slipway.Invalid, "case"},
		"an empty name":         {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":""}`) }, mlflow.Config{}, slipway.Invalid, "empty"},
		"a quoted name":         {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a%41"}`) }, mlflow.Config{}, slipway.Invalid, "hand out"},
		"a negative size":       {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"a","file_size":-1}`) }, mlflow.Config{}, slipway.Invalid, "negative"},
		"a huge name":           {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":"` + strings.Repeat("a", 300) + `"}`) }, mlflow.Config{}, slipway.Invalid, "too long"},
		"our own folder":        {func(*shop) mlflowtest.Fault { return listing(one + `,{"path":".Slipway","is_dir":true}`) }, mlflow.Config{}, slipway.Invalid, "reserved"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, mlflowtest.Config{})
			s.Break(test.fault(s))
			test.config.URI = s.URL()
			dir := filepath.Join(t.TempDir(), "m")
			_, err := client(t, test.config).Download(t.Context(), s.version, dir, nil)
			wantError(t, err, test.code, test.says, "downloading iris 1")
			nothing(t, dir)
		})
	}
}

// Where the files are may be a riddle, a refusal or a trap.
func TestLocations(t *testing.T) {
	t.Parallel()
	for uri, test := range map[string]struct {
		code slipway.Code
		says string
	}{
		"":                                      {slipway.Corrupt, "where the files are"},
		"/srv/mlflow/0/models/m-1/artifacts":    {slipway.Invalid, "--serve-artifacts"},
		"file:///srv/mlflow/x":                  {slipway.Invalid, "own disk"},
		"./mlruns/0/x":                          {slipway.Invalid, "own disk"},
		`C:\mlflow\x`:                           {slipway.Invalid, "own disk"},
		"models:/iris/1":                        {slipway.Invalid, ""},
		"models:/iris@champion":                 {slipway.Invalid, "names no version"},
		"models:/m-nope":                        {slipway.NotFound, "m-nope"},
		"runs:/../x":                            {slipway.Invalid, "names no run"},
		"runs:/nope/model":                      {slipway.NotFound, "nope"},
		"mlflow-artifacts:/0/../../etc":         {slipway.Invalid, "not allowed"},
		"mlflow-artifacts:/0/%2e%2e/x":          {slipway.Invalid, "not allowed"},
		"mlflow-artifacts://user:pw@127.0.0.1/": {slipway.Invalid, "malformed"},
		"mlflow-artifacts:/0/x?y":               {slipway.Invalid, "malformed"},
		"s3://bucket/models/1":                  {slipway.Invalid, "deploy the directory"},
	} {
		t.Run(strings.ReplaceAll(uri, "/", "_"), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, mlflowtest.Config{})
			if err := s.SetLocation("iris", "1", uri); err != nil {
				t.Fatal(err)
			}
			v := s.version
			v.ModelID = ""
			dir := filepath.Join(t.TempDir(), "m")
			_, err := client(t, mlflow.Config{URI: s.URL(), Retries: -1}).Download(t.Context(), v, dir, nil)
			if uri == "models:/iris/1" { // its source is a logged model: not a circle
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, test.code, test.says)
			nothing(t, dir)
			if strings.Contains(err.Error()+slipway.HintOf(err), "pw@") {
				t.Errorf("a password is shown: %v", err)
			}
		})
	}
}

// Two versions that name each other lead nowhere, and that is noticed.
func TestLocationsInACircle(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if strings.HasSuffix(r.URL.Path, "get-download-uri") {
			w.Write([]byte(`{"artifact_uri":"models:/iris/1"}`))
			return
		}
		w.Write([]byte(`{"model_version":{"name":"iris","version":"1","source":"models:/iris/1"}}`))
	}))
	t.Cleanup(srv.Close)
	v := mlflow.Version{ModelVersion: slipway.ModelVersion{Name: "iris", Version: "1"}}
	_, err := client(t, mlflow.Config{URI: srv.URL}).Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil)
	wantError(t, err, slipway.Invalid, "circle")
}

// Another server that the files are said to be at sees no credentials.
func TestCredentialsStayAtHome(t *testing.T) {
	t.Parallel()
	home := newShop(t, mlflowtest.Config{Users: []mlflowtest.User{{Name: "u", Password: "p"}}})
	other := newShop(t, mlflowtest.Config{})
	seen, uri := recorded(t, other)
	if err := home.SetLocation("iris", "1", "mlflow-artifacts://"+strings.TrimPrefix(uri, "http://")+"/"+other.root); err != nil {
		t.Fatal(err)
	}
	m := client(t, mlflow.Config{URI: home.URL(), Username: "u", Password: "p", Workspace: "team"})
	v := home.version
	v.ModelID = "" // the files are those of the other server's model
	if _, err := m.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Fatal(err)
	}
	if len(seen.all) == 0 {
		t.Fatal("the other server was not asked")
	}
	for _, r := range seen.all {
		if r.Header.Get("Authorization") != "" || r.Header.Get("X-Mlflow-Workspace") != "" {
			t.Fatalf("%s carried %v", r.URL, r.Header)
		}
	}
}

// A presigned URL that is not safe to follow is not followed: the proxy is asked.
func TestUnsafePresignedURLs(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"file:///etc/passwd", "gopher://x/", "http://user:pw@127.0.0.1:1/x", "://", "", "http://127.0.0.1:1/unreachable"} {
		s := newShop(t, mlflowtest.Config{Storage: mlflowtest.S3Presigned})
		s.Break(mlflowtest.Fault{Path: "/presigned/", Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: fmt.Sprintf(`{"url":%q}`, url)})
		if _, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil); err != nil {
			t.Errorf("%q: %v", url, err)
		}
	}
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0) // the refused handshake is what is tested
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	s := newShop(t, mlflowtest.Config{Storage: mlflowtest.S3Presigned})
	s.Break(mlflowtest.Fault{Path: "/presigned/", Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: fmt.Sprintf(`{"url":%q}`, untrusted.URL)})
	if _, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Errorf("a store that is not trusted: %v", err)
	}
	secure := client(t, mlflow.Config{URI: "https://mlflow.example"})
	if err := mlflow.CheckSigned(secure, "http://bucket.example/x"); err == nil {
		t.Error("an https MLflow led to a plain http store")
	}
	if err := mlflow.CheckSigned(secure, "https://bucket.example/x?X-Amz-Signature=s"); err != nil {
		t.Error(err)
	}
}

// A presigned URL is a credential: no error shows it. One that ran out is
// asked for again.
func TestPresignedURLsRunOut(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{Storage: mlflowtest.S3Presigned, SignedFor: -time.Hour})
	_, err := client(t, mlflow.Config{URI: s.URL(), Retries: -1}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil)
	wantError(t, err, slipway.Unavailable, "clocks")
	if strings.Contains(err.Error(), "Signature=") {
		t.Errorf("the error shows the URL: %v", err)
	}
	s = newShop(t, mlflowtest.Config{Storage: mlflowtest.S3Presigned})
	s.Break(mlflowtest.Fault{Path: "/bucket/", Times: 1, Status: 403, Body: "<Error><Code>AccessDenied</Code></Error>"})
	if _, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Errorf("a URL that ran out once: %v", err)
	}
}
