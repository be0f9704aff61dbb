package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// sharedRegistry is the one image registry of this test binary.
var sharedRegistry struct {
	sync.Mutex
	host string
	stop func() // kept, for the registry ends when its standard input is closed
}

// ImageRegistry returns HOST:PORT of a real image registry on loopback,
// github.com/distribution/distribution with its blobs in files, one per test
// binary. It ends with the binary, however that ends, and takes its files along.
func ImageRegistry(t testing.TB) string {
	t.Helper()
	sharedRegistry.Lock()
	defer sharedRegistry.Unlock()
	if sharedRegistry.host == "" {
		sharedRegistry.host, sharedRegistry.stop = startImageRegistry(t)
	}
	return sharedRegistry.host
}

// StartImageRegistry starts an image registry of its own for the test and ends
// it with the test. args are those of e2e/distribution: "-htpasswd", FILE or
// "-read-only".
func StartImageRegistry(t testing.TB, args ...string) string {
	t.Helper()
	host, stop := startImageRegistry(t, args...)
	t.Cleanup(stop)
	return host
}

// startImageRegistry starts the program and waits for the address it prints.
// It ends when its standard input does, so it outlives neither the test nor a
// test binary that is killed.
func startImageRegistry(t testing.TB, args ...string) (host string, stop func()) {
	t.Helper()
	cmd := exec.Command(imageRegistryProgram(t), args...)
	cmd.Stderr = os.Stderr
	hangUp, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting the image registry: %v", err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		hangUp.Close()
		t.Fatalf("the image registry did not start: %v (%v)", err, cmd.Wait())
	}
	return strings.TrimSpace(line), func() {
		hangUp.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("the image registry ended badly: %v", err)
		}
	}
}

// imageRegistryProgram builds the module e2e/distribution, once for each
// version of its source.
func imageRegistryProgram(t testing.TB) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	source := filepath.Join(filepath.Dir(here), "distribution")
	var parts []string
	for _, name := range []string{"main.go", "go.mod", "go.sum"} {
		data, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatalf("reading the image registry's source: %v", err)
		}
		parts = append(parts, string(data))
	}
	dir := filepath.Join(Cache(t), "distribution-"+fingerprint(runtime.Version(), parts))
	program := filepath.Join(dir, "distribution")
	once(t, dir, func() {
		cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, ".")
		cmd.Dir = source
		cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("building the image registry: %v\n%s", err, tail(out, 4000))
		}
	})
	return program
}
