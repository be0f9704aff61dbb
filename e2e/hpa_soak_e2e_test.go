//go:build e2e

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// Under load the manifest's HorizontalPodAutoscaler takes the Deployment from 3
// pods to 10, and back when the load is gone, and no request is lost. Its
// patience makes that ten minutes, so it is run by `make soak` alone.
func TestE2EAutoscalerLosesNothing(t *testing.T) {
	if os.Getenv("SOAK") == "" {
		t.Skip("only in `make soak`")
	}
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Apply(t, rendered(t, c, namespace)) // with the manifest's own numbers:
		c.Kubectl(t, "-n", namespace, "set", "resources", "deployment", deployment, "--requests=cpu=100m,memory=128Mi")
		c.Kubectl(t, "-n", namespace, "patch", "hpa", deployment, "--type=merge", "-p", `{"spec": {"minReplicas": 3, "maxReplicas": 10}}`)
	}, "forest")
	c.promote("champion", "1")
	live := c.outcome(0, "deploy", c.champion())
	digest := string(live.Release.Image.Digest)
	c.awaitReplicas(3, 2*time.Minute)
	c.consistent(digest, 3)
	load := c.traffic("1")

	busy := c.crowd(6)
	start := time.Now()
	c.awaitReplicas(10, 5*time.Minute)
	t.Logf("10 pods serve after %s of load", time.Since(start).Round(time.Second))
	c.consistent(digest, 10)
	busy.report(t)

	start = time.Now()
	c.awaitReplicas(3, 12*time.Minute)
	t.Logf("3 pods serve %s after the load", time.Since(start).Round(time.Second))
	c.consistent(digest, 3)
	load.report(t, "3 pods, 10 and 3 again")
	c.answersLike("1", "forest")
	t.Logf("\n%s", c.kubectl("get", "events", "--field-selector=reason=SuccessfulRescale", "--sort-by=.lastTimestamp"))
}

// awaitReplicas waits until there are so many pods, all of them ready. One
// kubectl may not wait as long as an autoscaler does.
func (c *clustered) awaitReplicas(n int, limit time.Duration) {
	c.t.Helper()
	total, ready := fmt.Sprintf("--for=jsonpath={.status.replicas}=%d", n), fmt.Sprintf("--for=jsonpath={.status.readyReplicas}=%d", n)
	for deadline := time.Now().Add(limit); ; {
		_, _, err := c.cluster.TryKubectl(c.t, "", "-n", c.namespace, "wait", "deployment", deployment, total, "--timeout=60s")
		if err == nil {
			_, _, err = c.cluster.TryKubectl(c.t, "", "-n", c.namespace, "wait", "deployment", deployment, ready, "--timeout=30s")
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("no %d pods after %s\n%s", n, limit, c.kubectl("describe", "hpa", deployment))
		}
	}
}

// crowd is heavy load: clients that ask without a pause for many predictions at
// once, and open a new connection now and then, as new pods get none of the
// old ones.
type crowd struct {
	cancel  context.CancelFunc
	clients sync.WaitGroup

	mu    sync.Mutex
	asked int
	lost  []string
}

const (
	crowdBatch = 500 // predictions a request
	crowdKeeps = 10  // requests a connection
)

func (c *clustered) crowd(clients int) *crowd {
	c.t.Helper()
	records := models(c.t)["forest"].Requests
	body, err := json.Marshal(map[string]any{"dataframe_records": slices.Repeat(records, 1+crowdBatch/len(records))[:crowdBatch]})
	if err != nil {
		c.t.Fatal(err)
	}
	request := fmt.Appendf(nil, "POST /invocations HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", c.address, len(body))
	ctx, cancel := context.WithCancel(context.Background())
	busy := &crowd{cancel: cancel}
	for range clients {
		busy.clients.Go(func() { busy.ask(ctx, c.address, append(request, body...)) })
	}
	c.t.Cleanup(func() { cancel(); busy.clients.Wait() })
	return busy
}

func (b *crowd) ask(ctx context.Context, address string, request []byte) {
	c := caller{address: address}
	defer c.hangUp()
	for i := 1; ctx.Err() == nil; i++ {
		_, body, err := c.ask(request)
		if err == nil {
			err = counts(body)
		}
		if err != nil || i%crowdKeeps == 0 {
			c.hangUp()
		}
		b.note(err)
	}
}

// counts wants a prediction for each record.
func counts(body []byte) error {
	var reply struct{ Predictions []json.RawMessage }
	if err := json.Unmarshal(body, &reply); err != nil {
		return err
	}
	if len(reply.Predictions) != crowdBatch {
		return fmt.Errorf("%d predictions for %d records", len(reply.Predictions), crowdBatch)
	}
	return nil
}

func (b *crowd) note(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked++
	if err != nil {
		b.lost = append(b.lost, err.Error())
	}
}

// report sends the crowd home and fails the test for what it did not get.
func (b *crowd) report(t testing.TB) {
	t.Helper()
	b.cancel()
	b.clients.Wait()
	t.Logf("a crowd asked for %d × %d predictions, lost %d", b.asked, crowdBatch, len(b.lost))
	if len(b.lost) > 0 || b.asked < 100 {
		t.Errorf("of %d requests %d were lost:\n%s", b.asked, len(b.lost), strings.Join(b.lost[:min(20, len(b.lost))], "\n"))
	}
}
