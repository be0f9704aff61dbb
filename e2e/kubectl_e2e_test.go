//go:build e2e

package e2e_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// Every command that one is used to does beside slipway what it does elsewhere,
// on the project's own manifest.
func TestE2EKubectlBesideSlipway(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Apply(t, rendered(t, c, namespace))
		c.Kubectl(t, "-n", namespace, "patch", "hpa", deployment, "--type=merge", "-p", `{"spec": {"maxReplicas": 10}}`)
	}, "logistic", "forest")
	c.promote("champion", "1")
	one := c.outcome(0, "deploy", c.champion())
	c.kubectl("wait", "deployment", deployment, "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
	c.promote("champion", "2")
	two := c.outcome(0, "deploy", c.champion())
	c.consistent(string(two.Release.Image.Digest), 2)
	model := regexp.QuoteMeta(string(c.model))

	c.line("kubectl get deployment inference-service -n production", `(?m)^inference-service +2/2 +2 +2 `)
	c.line("kubectl get pods -l app=inference-service -n production", `(?m)^inference-service-\S+ +1/1 +Running +0 `)
	c.onlyPods(2) // `kubectl logs -l` fails over a pod that ends while it reads
	c.line("kubectl logs -l app=inference-service -n production", `"msg":".*`+model)
	c.line("kubectl rollout history deployment/inference-service -n production", `slipway: `+model+` 1 [\s\S]*slipway: `+model+` 2 `)
	c.portForward("kubectl port-forward svc/inference-service 8000:8000 -n production")

	c.line("kubectl rollout undo deployment/inference-service -n production", `rolled back`)
	c.line("kubectl rollout status deployment/inference-service -n production --timeout=60s", `successfully rolled out`)
	c.consistent(string(one.Release.Image.Digest), 2)
	c.answersLike("1", "logistic")

	c.line("kubectl scale deployment/inference-service --replicas=5 -n production", `scaled`)
	c.line("kubectl rollout status deployment/inference-service -n production --timeout=60s", `successfully rolled out`)
	c.consistent(string(one.Release.Image.Digest), 5)
	c.answersLike("1", "logistic")
}

// arguments are those of a line for the namespace production, for this one.
func (c *clustered) arguments(line string) []string {
	return strings.Fields(strings.TrimPrefix(strings.ReplaceAll(line, "-n production", "-n "+c.namespace), "kubectl "))
}

// line runs a line of a page and wants its output to match.
func (c *clustered) line(line, want string) {
	c.t.Helper()
	if out := c.cluster.Kubectl(c.t, c.arguments(line)...); !regexp.MustCompile(want).MatchString(out) {
		c.t.Errorf("%s: want %s in:\n%s", line, want, out)
	}
}

// onlyPods waits until those that are ending are gone too.
func (c *clustered) onlyPods(n int) {
	c.t.Helper()
	var names []string
	if !eventually(time.Minute, func() bool {
		names = strings.Fields(c.kubectl("get", "pods", "-l", "app="+deployment, "-o", "name"))
		return len(names) == n
	}) {
		c.t.Fatalf("want %d pods: %v", n, names)
	}
}

// portForward runs the line on an address of its own, so that 8000 is free, and
// asks the model server there how it is.
func (c *clustered) portForward(line string) {
	c.t.Helper()
	host, _, err := net.SplitHostPort(freeAddress(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	cmd := c.cluster.Command(ctx, append(c.arguments(line), "--address", host)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		c.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // killed
	}()
	if said, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.HasPrefix(said, "Forwarding from") {
		c.t.Fatalf("%s: %v %s", line, err, said)
	}
	resp, err := fresh.Get("http://" + host + ":8000/health")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || resp.Header.Get("X-Model-Version") != "2" {
		c.t.Errorf("%s, /health: %v %s %s", line, err, resp.Status, body)
	}
}
