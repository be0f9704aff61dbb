package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// kubectlLimit bounds one kubectl, so that a cluster that hangs fails a test
// instead of holding it.
const kubectlLimit = 2 * time.Minute

// KubeCluster is a Kubernetes that tests may use as its administrator.
type KubeCluster struct {
	Kubeconfig string // the value of KUBECONFIG that reaches it
	kubectl    string // the program
}

// ownCluster is the project's own cluster, asked for once by this test binary.
var ownCluster struct {
	sync.Mutex
	asked   bool
	started *KubeCluster // nil after asking: it does not start, and every test fails at once
	users   *os.File     // locked, while this process uses the cluster
}

// Cluster returns a real Kubernetes: the one that KUBECONFIG names, else the
// project's own (e2e/cluster), which is started if it does not run and goes on
// running for others: `make cluster-down` ends it.
func Cluster(t testing.TB) *KubeCluster {
	t.Helper()
	if config := os.Getenv("KUBECONFIG"); config != "" {
		kubectl, err := exec.LookPath("kubectl")
		if err != nil {
			t.Fatalf("KUBECONFIG names a cluster, but there is no kubectl in PATH: %v", err)
		}
		return &KubeCluster{Kubeconfig: config, kubectl: kubectl}
	}
	if runtime.GOOS != "linux" || os.Geteuid() != 0 {
		NotRun(t, "a Kubernetes of our own needs Linux and root; KUBECONFIG may name another")
	}
	ownCluster.Lock()
	defer ownCluster.Unlock()
	if !ownCluster.asked {
		ownCluster.asked = true
		ownCluster.started = startCluster(t)
	}
	if ownCluster.started == nil {
		t.Fatal("no Kubernetes: another test says why")
	}
	return ownCluster.started
}

// startCluster runs `go run . up` in e2e/cluster, which waits for others that
// do the same.
func startCluster(t testing.TB) *KubeCluster {
	t.Helper()
	home := filepath.Join(Cache(t), "cluster")
	if err := os.MkdirAll(home, 0o755); err != nil {
		t.Fatal(err)
	}
	ownCluster.users = inUse(t, filepath.Join(home, "users"))
	cmd := exec.CommandContext(t.Context(), "go", "run", ".", "up")
	_, here, _, _ := runtime.Caller(0)
	cmd.Dir = filepath.Join(filepath.Dir(here), "cluster")
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=readonly", "GOWORK=off", "CGO_ENABLED=0")
	var said bytes.Buffer
	cmd.Stderr = io.MultiWriter(&said, os.Stderr) // at once: a first start takes minutes
	if err := cmd.Run(); err != nil {
		t.Fatalf("starting a Kubernetes: %v\n%s", err, said.Bytes())
	}
	return &KubeCluster{
		Kubeconfig: filepath.Join(home, "run", "admin.kubeconfig"),
		kubectl:    filepath.Join(home, "bin", "kubectl"),
	}
}

// inUse shares the lock that `go run . down -unused` wants for itself. The
// kernel lets it go when this process ends.
func inUse(t testing.TB, path string) *os.File {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Fatalf("opening a lock: %v", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_SH); err != nil {
		t.Fatalf("locking %s: %v", path, err)
	}
	return f
}

// Namespace makes a namespace with a random name. The end of the test deletes
// it without waiting until it is gone.
func (c *KubeCluster) Namespace(t testing.TB) string {
	t.Helper()
	name := "e2e-" + strings.ToLower(rand.Text()[:10])
	c.Kubectl(t, "create", "namespace", name)
	t.Cleanup(func() { c.EndNamespace(t, name) })
	return name
}

// EndNamespace deletes a namespace and does not wait for it. Pods that take
// their time to end would keep their room on the node from the tests that
// follow, so they end at once.
func (c *KubeCluster) EndNamespace(t testing.TB, name string) {
	t.Helper()
	for _, args := range [][]string{
		{"delete", "namespace", name, "--wait=false", "--ignore-not-found"},
		{"delete", "pods", "--all", "-n", name, "--grace-period=0", "--force", "--wait=false"},
	} {
		if _, stderr, err := c.TryKubectl(t, "", args...); err != nil {
			t.Errorf("kubectl %s: %v\n%s", strings.Join(args, " "), err, stderr)
		}
	}
}

// Kubectl runs kubectl and returns what it printed. It fails the test when
// kubectl does.
func (c *KubeCluster) Kubectl(t testing.TB, args ...string) string {
	t.Helper()
	stdout, stderr, err := c.TryKubectl(t, "", args...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, stderr, stdout)
	}
	return stdout
}

// Command returns a kubectl that has not started yet, for one that is to run
// beside a test.
func (c *KubeCluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
	return cmd
}

// TryKubectl runs kubectl with the given standard input, for at most two
// minutes. It also works while a test ends.
func (c *KubeCluster) TryKubectl(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), kubectlLimit)
	defer cancel()
	cmd := c.Command(ctx, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out, problem bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problem
	err = cmd.Run()
	return out.String(), problem.String(), err
}

// Apply runs `kubectl apply -f -` on the manifest.
func (c *KubeCluster) Apply(t testing.TB, manifest string) {
	t.Helper()
	if stdout, stderr, err := c.TryKubectl(t, manifest, "apply", "-f", "-"); err != nil {
		t.Fatalf("kubectl apply: %v\n%s%s", err, stderr, stdout)
	}
}
