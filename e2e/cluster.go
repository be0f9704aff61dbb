package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"os/exec"
	"strings"
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

// Cluster returns a real Kubernetes: the one that KUBECONFIG names, else the
// project's own, which is started if it does not run.
func Cluster(t testing.TB) *KubeCluster {
	t.Helper()
	config := os.Getenv("KUBECONFIG")
	if config == "" {
		NotRun(t, "no Kubernetes: set KUBECONFIG")
	}
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Fatalf("KUBECONFIG names a cluster, but there is no kubectl in PATH: %v", err)
	}
	return &KubeCluster{Kubeconfig: config, kubectl: kubectl}
}

// Namespace makes a namespace with a random name. The end of the test deletes
// it without waiting until it is gone.
func (c *KubeCluster) Namespace(t testing.TB) string {
	t.Helper()
	name := "e2e-" + strings.ToLower(rand.Text()[:10])
	c.Kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		if _, stderr, err := c.TryKubectl(t, "", "delete", "namespace", name, "--wait=false", "--ignore-not-found"); err != nil {
			t.Errorf("deleting the namespace %s: %v\n%s", name, err, stderr)
		}
	})
	return name
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

// TryKubectl runs kubectl with the given standard input, for at most two
// minutes. It also works while a test ends.
func (c *KubeCluster) TryKubectl(t testing.TB, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), kubectlLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.kubectl, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig)
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
