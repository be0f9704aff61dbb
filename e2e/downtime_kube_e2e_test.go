//go:build e2e

package e2e_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/rollout"
)

// move is one thing that happens to a Deployment under load.
type move struct {
	name   string
	promo  string       // the version that is promoted before; "": none
	fault  string       // of the server that the version is built with; "": none
	bad    bool         // the version is never ready, so it must never answer
	end    rollout.Kind // how it ends
	serves string       // the version that serves then
}

// moves begin and end with version 1 at work.
var moves = []move{
	{"good update", "2", "", false, rollout.Live, "2"},
	{"bad update: wrong for itself", "3", "miscalculates", true, rollout.RolledBack, "2"},
	{"rollback by hand", "", "", false, rollout.Live, "1"},
	{"bad update: wrong for others", "3", "lies", false, rollout.RolledBack, "1"},
	{"good update", "3", "", false, rollout.Live, "3"},
	{"bad update: crashes", "2", "dies", true, rollout.RolledBack, "3"},
	{"rollback by hand", "", "", false, rollout.Live, "1"},
}

// No request is lost in rollouts, rollbacks by hand and rollbacks by itself,
// with the project's own manifest; N says in how many.
func TestE2ENoRequestIsLostInACluster(t *testing.T) {
	n := 10
	if text := os.Getenv("N"); text != "" {
		n = number(t, []byte(text))
	}
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Apply(t, rendered(t, c, namespace))
		fixed := `{"spec": {"minReplicas": 3, "maxReplicas": 3}}`
		c.Kubectl(t, "-n", namespace, "patch", "hpa", deployment, "--type=merge", "-p", fixed)
		c.Kubectl(t, "-n", namespace, "scale", "deployment", deployment, "--replicas=3")
	}, "odds", "ridge", "forest")
	c.promote("champion", "1")
	c.outcome(0, "deploy", c.champion())
	time.Sleep(time.Second) // kube-proxy may need as long for a Service that is new
	load := c.traffic("1")
	live := slipway.Release{Model: slipway.ModelVersion{Version: "1"}}
	for i := range n {
		m := moves[i%len(moves)]
		start := time.Now()
		live = c.move(load, string(live.Model.Version), m)
		t.Logf("%d: %s: %s serves after %s", i+1, m.name, m.serves, time.Since(start).Round(10*time.Millisecond))
	}
	load.report(t, strconv.Itoa(n)+" moves of the target")
	c.consistent(string(live.Image.Digest), 3)
}

// traffic starts the load.
func (c *clustered) traffic(serves string) *traffic {
	c.t.Helper()
	flower, right := c.flower()
	return startTraffic(c.t, c.address, flower, right, serves)
}

// flower returns one that no fault touches, and what each version answers to
// it.
func (c *clustered) flower() (record any, right map[string]json.RawMessage) {
	c.t.Helper()
	all := models(c.t)
	answers := map[string][]json.RawMessage{}
	for _, name := range c.names {
		var each []json.RawMessage
		if err := json.Unmarshal(all[name].Answers, &each); err != nil {
			c.t.Fatal(err)
		}
		answers[name] = each
	}
	i := 0
	for bytes.Contains(answers["forest"][i], []byte("setosa")) {
		i++
	}
	right = map[string]json.RawMessage{}
	for v, name := range c.names {
		right[strconv.Itoa(v+1)] = json.RawMessage("[" + string(answers[name][i]) + "]")
	}
	return all["forest"].Requests[i], right
}

// move brings the Deployment from the version that serves to the move's, and
// returns the release that serves then.
func (c *clustered) move(load *traffic, serves string, m move) slipway.Release {
	c.t.Helper()
	args := []string{"rollback", c.target()}
	if m.promo != "" {
		c.promote("champion", slipway.Version(m.promo))
		args = []string{"deploy", c.champion(), "--retry"}
	}
	if m.fault != "" {
		args = append(args, "--server", wrongServer(c.t, m.fault))
	}
	code := 0
	if m.end == rollout.RolledBack {
		code = 3
	}
	if !m.bad {
		load.allow(serves, m.serves, m.promo)
	}
	end := c.outcome(code, args...)
	load.allow(m.serves)
	if end.Kind != string(m.end) || end.Serving == nil || string(end.Serving.Model.Version) != m.serves {
		c.t.Fatalf("%s ended %s, and %+v serves: %s", m.name, end.Kind, end.Serving, end.Message)
	}
	return *end.Serving
}
