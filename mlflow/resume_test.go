package mlflow_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
	"github.com/slipway-dev/slipway/mlmodel"
)

// In a process of its own this test downloads what the environment says, so
// that others can kill it or take its disk away.
func TestDownloadInAnotherProcess(t *testing.T) {
	uri, dir := os.Getenv("SLIPWAY_TEST_URI"), os.Getenv("SLIPWAY_TEST_DIR")
	if uri == "" {
		return // nothing to do in the process that runs all tests
	}
	if limit := os.Getenv("SLIPWAY_TEST_FILE_LIMIT"); limit != "" {
		n, err := strconv.ParseUint(limit, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		signal.Ignore(syscall.SIGXFSZ) // the write is to fail, not the process
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: n, Max: n}); err != nil {
			t.Fatal(err)
		}
	}
	m := client(t, mlflow.Config{URI: uri, Retries: -1, Jobs: 1})
	v, err := m.Resolve(t.Context(), iris1)
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Download(t.Context(), v, dir, nil)
	fmt.Fprintf(os.Stdout, "DOWNLOAD code=%s error=%v\n", slipway.CodeOf(err), err)
}

// other starts that process.
func other(ctx context.Context, t *testing.T, uri, dir string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self, "-test.run=^TestDownloadInAnotherProcess$")
	cmd.Env = append(os.Environ(), append(env, "SLIPWAY_TEST_URI="+uri, "SLIPWAY_TEST_DIR="+dir)...)
	return cmd
}

// halfway passes requests on, but sends only the first megabyte of big.bin and
// then tells and hangs, until it is mended.
type halfway struct {
	shop   *shop
	once   sync.Once
	there  chan struct{}
	mended chan struct{}
}

func newHalfway(s *shop) *halfway {
	return &halfway{shop: s, there: make(chan struct{}), mended: make(chan struct{})}
}

func (h *halfway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case <-h.mended:
	default:
		if strings.HasSuffix(r.URL.Path, "/big.bin") {
			w = &stopping{ResponseWriter: w, left: 1 << 20, stop: func() {
				http.NewResponseController(w).Flush() //nolint:errcheck // the client is about to be killed
				h.once.Do(func() { close(h.there) })
				<-r.Context().Done()
				panic(http.ErrAbortHandler)
			}}
		}
	}
	h.shop.ServeHTTP(w, r)
}

type stopping struct {
	http.ResponseWriter
	left int
	stop func()
}

func (s *stopping) Write(b []byte) (int, error) {
	if len(b) > s.left {
		s.ResponseWriter.Write(b[:s.left]) //nolint:errcheck // as above
		s.stop()
	}
	s.left -= len(b)
	return s.ResponseWriter.Write(b)
}

// A process killed in the middle of a file leaves no model; the next one takes
// over what it had, file by file and within the file.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	want := s.want(t)
	h := newHalfway(s)
	seen := &requests{Handler: h}
	srv := httptest.NewServer(seen)
	t.Cleanup(srv.Close)
	dir := filepath.Join(t.TempDir(), "m")

	killed := other(t.Context(), t, srv.URL, dir)
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	<-h.there
	awaitPart(t, dir, 1<<20)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.Wait() //nolint:errcheck // it was killed
	nothing(t, dir)
	close(h.mended)

	fetched := seen.count("/MLmodel")
	files, err := client(t, mlflow.Config{URI: srv.URL}).Download(t.Context(), s.version, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := mlmodel.DigestFiles(files); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if again := seen.count("/MLmodel") - fetched; again != 0 {
		t.Errorf("a finished file was fetched again: %d times", again)
	}
	last := seen.all[len(seen.all)-1]
	for _, r := range seen.all {
		if strings.HasSuffix(r.URL.Path, "/big.bin") {
			last = r
		}
	}
	if got := last.Header.Get("Range"); got != "bytes=1048576-" || last.Header.Get("If-Range") == "" {
		t.Errorf("the second process asked for the range %q of the broken file, if it is still %q", got, last.Header.Get("If-Range"))
	}
	if left, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// awaitPart polls until a file in transfer has the size.
func awaitPart(t *testing.T, dir string, size int64) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		parts, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*", "parts", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			if info, err := os.Stat(part); err == nil && info.Size() >= size {
				return
			}
		}
	}
	t.Fatal("no file got that far")
}

// interrupted leaves a partial download of dir whose big.bin is not finished.
func interrupted(t *testing.T, s *shop, dir string) (partial string) {
	t.Helper()
	s.Break(mlflowtest.Fault{Path: "big.bin", Truncate: 1 << 19})
	_, err := client(t, mlflow.Config{URI: s.URL(), Retries: -1, Jobs: 1}).Download(t.Context(), s.version, dir, nil)
	wantError(t, err, slipway.Unavailable, "big.bin")
	s.Mend()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*.partial"))
	if err != nil || len(found) != 1 {
		t.Fatalf("partial downloads: %v, %v", found, err)
	}
	return found[0]
}

// What an earlier run left is only used when it is what was recorded.
func TestLeftoversAreChecked(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(t *testing.T, s *shop, partial string){
		"a finished file was changed": func(t *testing.T, _ *shop, partial string) {
			overwrite(t, filepath.Join(partial, "model", "MLmodel"), func(b []byte) []byte { b[0] ^= 1; return b })
		},
		"a finished file was cut": func(t *testing.T, _ *shop, partial string) {
			overwrite(t, filepath.Join(partial, "model", "MLmodel"), func(b []byte) []byte { return b[:10] })
		},
		"a finished file is gone": func(t *testing.T, _ *shop, partial string) {
			if err := os.Remove(filepath.Join(partial, "model", "MLmodel")); err != nil {
				t.Fatal(err)
			}
		},
		"a file more": func(t *testing.T, _ *shop, partial string) {
			if err := os.WriteFile(filepath.Join(partial, "model", "evil.py"), []byte("x"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a torn journal": func(t *testing.T, _ *shop, partial string) {
			overwrite(t, filepath.Join(partial, "journal"), func(b []byte) []byte { return b[:len(b)*2/3] })
		},
		"no journal": func(t *testing.T, _ *shop, partial string) {
			overwrite(t, filepath.Join(partial, "journal"), func([]byte) []byte { return nil })
		},
		"a part too long": func(t *testing.T, s *shop, partial string) {
			parts, err := filepath.Glob(filepath.Join(partial, "parts", "*"))
			if err != nil || len(parts) != 1 {
				t.Fatalf("parts: %v, %v", parts, err)
			}
			overwrite(t, parts[0], func(b []byte) []byte { return append(b, s.big...) })
		},
		"the file changed on the server": func(t *testing.T, s *shop, _ string) {
			s.big = append([]byte("changed"), s.big[7:]...)
			s.SetFile(s.root+"/big.bin", s.big)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newShop(t, mlflowtest.Config{})
			dir := filepath.Join(t.TempDir(), "m")
			partial := interrupted(t, s, dir)
			spoil(t, s, partial)
			files, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, dir, nil)
			if err != nil {
				t.Fatal(err)
			}
			there, err := mlmodel.Inventory(dir)
			if err != nil {
				t.Fatal(err)
			}
			want := s.want(t)
			if mlmodel.DigestFiles(files) != want || mlmodel.DigestFiles(there) != want {
				t.Errorf("said %s, there is %s, want %s", mlmodel.DigestFiles(files), mlmodel.DigestFiles(there), want)
			}
		})
	}
}

// A server that hands out a part of another file than before, without looking
// at If-Range, does not get the two glued together.
func TestPartOfAnotherFile(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	careless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("If-Range")
		s.ServeHTTP(w, r)
	}))
	t.Cleanup(careless.Close)
	dir := filepath.Join(t.TempDir(), "m")
	s.Break(mlflowtest.Fault{Path: "big.bin", Truncate: 1 << 19})
	m := client(t, mlflow.Config{URI: careless.URL, Retries: -1, Jobs: 1})
	_, err := m.Download(t.Context(), s.version, dir, nil)
	wantError(t, err, slipway.Unavailable, "big.bin")
	s.Mend()
	s.big = append([]byte("changed"), s.big[7:]...)
	s.SetFile(s.root+"/big.bin", s.big)
	files, err := client(t, mlflow.Config{URI: careless.URL}).Download(t.Context(), s.version, dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := mlmodel.DigestFiles(files), s.want(t); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func overwrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Two downloads of the same version into the same folder: one does it, the
// other finds the folder taken. Neither disturbs the other.
func TestTwoAtOnce(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	dir := filepath.Join(t.TempDir(), "m")
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, dir, nil)
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Fatalf("errors %v and %v, want exactly one", a, b)
	}
	if a == nil {
		a = b
	}
	wantError(t, a, slipway.Conflict, "not empty")
	files, err := mlmodel.Inventory(dir)
	if err != nil || mlmodel.DigestFiles(files) != s.want(t) {
		t.Errorf("%v, %v", files, err)
	}
}

// Who waits for another download stops waiting when the context ends.
func TestWaitingForAnother(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	h := newHalfway(s)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	dir := filepath.Join(t.TempDir(), "m")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := client(t, mlflow.Config{URI: srv.URL}).Download(ctx, s.version, dir, nil)
		ended <- err
	}()
	<-h.there
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err := client(t, mlflow.Config{URI: srv.URL}).Download(short, s.version, dir, nil)
	wantError(t, err, slipway.Unavailable, "another process is downloading")
	stop()
	wantError(t, <-ended, slipway.Unavailable, "canceled")
	nothing(t, dir)
}

// A file system that takes no more is an error that says so; what was fetched
// stays for the next run.
func TestFileLimit(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	dir := filepath.Join(t.TempDir(), "m")
	out, err := other(t.Context(), t, s.URL(), dir, "SLIPWAY_TEST_FILE_LIMIT=1000000").CombinedOutput()
	if err != nil || said(out) == "" {
		t.Fatalf("%v\n%s", err, out)
	}
	if line := said(out); !strings.Contains(line, "code=exhausted") || !strings.Contains(line, "file big.bin") {
		t.Errorf("got %s", line)
	}
	nothing(t, dir)
	if _, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, dir, nil); err != nil {
		t.Error(err)
	}
}

// said returns what the other process printed of its download.
func said(out []byte) string {
	lines := bufio.NewScanner(strings.NewReader(string(out)))
	for lines.Scan() {
		if line, ok := strings.CutPrefix(lines.Text(), "DOWNLOAD "); ok {
			return line
		}
	}
	return ""
}

func TestUnwritableFolder(t *testing.T) {
	t.Parallel()
	s := newShop(t, mlflowtest.Config{})
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := client(t, mlflow.Config{URI: s.URL()}).Download(t.Context(), s.version, filepath.Join(file, "m"), nil)
	wantError(t, err, slipway.Invalid, "permissions")
}
