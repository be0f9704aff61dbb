//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/rollout"
)

// A version whose image the nodes cannot pull: the registry took it and has
// lost it since.
func TestE2EImagePullFailed(t *testing.T) {
	t.Parallel()
	c := newRecovering(t)
	c.door.set(func(w http.ResponseWriter, r *http.Request) bool {
		lost := byNode(r) && forManifest(r)
		if lost {
			http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`, http.StatusNotFound)
		}
		return lost
	})
	c.rolledBack("does not exist", "not found")
}

// A version that is never ready ends with the start-up probe's patience; one
// that is ready and says that it is not healthy ends at once.
func TestE2EHealthCheckFailed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ fault, said, evidence string }{
		{"never-ready", "not ready within 5s", "start-up probe"},
		{"sick", "health check 1 of 30 failed", "out of breath"},
	} {
		t.Run(test.fault+" pods", func(t *testing.T) {
			t.Parallel()
			c := newRecovering(t)
			c.rolledBack(test.said, test.evidence, "--server", wrongServer(t, test.fault))
		})
	}
}

// A version that gave its golden predictions to itself, and gives others to
// those who ask from outside.
func TestE2EPredictionTestFailed(t *testing.T) {
	t.Parallel()
	c := newRecovering(t)
	c.rolledBack("golden prediction", "dahlia", "--server", wrongServer(t, "lies"))
}

// A version of which some replicas serve and others never will: because they
// crash, or because the name space has no room for them.
func TestE2EPartialDeploymentFailed(t *testing.T) {
	t.Parallel()
	t.Run("crash", func(t *testing.T) {
		t.Parallel()
		c := newRecovering(t)
		c.rolledBack("exit code 7", "out of flour", "--server", wrongServer(t, "crowded"), "--env", "PLACES=/places")
	})
	t.Run("quota", func(t *testing.T) {
		t.Parallel()
		c := newRecovering(t)
		// The three of version 1 ask for 10m each. One of 200m fits beside them;
		// even where all of them go, a second does not.
		c.kubectl("create", "quota", "small", "--hard=requests.cpu=300m")
		yaml := fmt.Sprintf("models:\n  - model: %s\n    image: %s\n    environments:\n      - name: production\n        target: %s\n        requests: {cpu: 200m}\n",
			c.champion(), c.image, c.target())
		if err := os.WriteFile(filepath.Join(c.home, "slipway.yaml"), []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		c.env = c.env[:1] // KUBECONFIG: all else is in the file
		c.rolledBackBy("quota", "exceeded quota", "deploy", "--environment", "production")
	})
}

// recovering is a world where version 1 serves on three pods and version 2 is
// promoted.
type recovering struct {
	*clustered
	one string // the digest of version 1's image
}

func newRecovering(t *testing.T) *recovering {
	t.Helper()
	c := newClustered(t, 3, "logistic", "forest")
	c.setUp(t)
	c.promote("champion", "1")
	live := c.outcome(0, "deploy", c.champion())
	if live.Kind != "live" {
		t.Fatalf("version 1: %+v", live)
	}
	c.promote("champion", "2")
	return &recovering{c, string(live.Release.Image.Digest)}
}

// setUp gives the pods five seconds to start and a folder of this machine.
func (c *clustered) setUp(t *testing.T) {
	t.Helper()
	places := filepath.Join(t.TempDir(), "places")
	if err := os.Mkdir(places, 0o700); err != nil {
		t.Fatal(err)
	}
	for dir := places; dir != os.TempDir(); dir = filepath.Dir(dir) { // the pods run as another user
		if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // likewise
			t.Fatal(err)
		}
	}
	patch := fmt.Sprintf(`[
		{"op": "replace", "path": "/spec/template/spec/containers/0/startupProbe/failureThreshold", "value": 5},
		{"op": "add", "path": "/spec/template/spec/volumes", "value": [{"name": "places", "hostPath": {"path": %q}}]},
		{"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts", "value": [{"name": "places", "mountPath": "/places"}]}
	]`, places)
	c.kubectl("patch", "deployment", deployment, "--type=json", "-p", patch)
}

func (c *recovering) rolledBack(kind, evidence string, args ...string) {
	c.t.Helper()
	c.rolledBackBy(kind, evidence, append([]string{"deploy", c.champion()}, args...)...)
}

// rolledBackBy wants the run to notice, to go back and to tell; and then
// everything as it was. How long it took is logged: it is to be below 30 s, and
// a loaded machine must not fail the test.
func (c *recovering) rolledBackBy(said, evidence string, args ...string) {
	c.t.Helper()
	start := time.Now()
	got := c.want(3, nil, append(args, "-o", "json")...)
	took := time.Since(start)
	c.t.Logf("rolled back after %s: %s", took.Round(10*time.Millisecond), spans(got))
	c.consistent(c.one, 3)
	c.answersLike("1", "logistic")
	c.notified(got, said)
	c.explained(said, evidence)
}

// notified wants the end told to whoever reads the run's output, its result and
// the model registry.
func (c *recovering) notified(got ran, said string) {
	c.t.Helper()
	var ends []outcome
	if err := json.Unmarshal([]byte(got.stdout), &ends); err != nil || len(ends) != 1 {
		c.t.Fatalf("no result: %v\n%s", err, got)
	}
	end := ends[0]
	if end.Kind != string(rollout.RolledBack) || end.Serving == nil || end.Serving.Model.Version != "1" || end.Release.Failure == nil {
		c.t.Errorf("the result does not tell that it was rolled back\n%s", got)
	}
	for _, text := range []string{said, "rolled back", "slipway explain"} {
		if !strings.Contains(got.stderr, text) {
			c.t.Errorf("the output lacks %q\n%s", text, got)
		}
	}
	one, two := c.tags("1"), c.tags("2")
	if one["slipway.status"] != "live" || two["slipway.status"] != "rolled-back" || !strings.Contains(two["slipway.reason"], said) {
		c.t.Errorf("tags: 1 %v, 2 %v", one, two)
	}
}

// explained wants the reason, what shows it and what mends it from a machine
// that knows nothing but the cluster.
func (c *recovering) explained(said, evidence string) {
	c.t.Helper()
	elsewhere := *c.world
	elsewhere.home, elsewhere.env = c.t.TempDir(), []string{"KUBECONFIG=" + c.cluster.Kubeconfig}
	var why struct {
		Release struct {
			Failure struct {
				Problem struct{ Message, Evidence string }
			}
		}
		Why, Fix, Serving string
	}
	elsewhere.json(&why, "explain", c.target())
	problem := why.Release.Failure.Problem
	if !strings.Contains(why.Why, said) || !strings.Contains(problem.Message+problem.Evidence, evidence) ||
		!strings.Contains(why.Serving, " 1") || why.Fix == "" {
		c.t.Errorf("explained: %+v", why)
	}
	c.t.Logf("why: %s\n%s\nfix: %s", why.Why, problem.Evidence, why.Fix)
}

// spans tells how long the steps of the run's release took.
func spans(got ran) string {
	var ends []outcome
	if json.Unmarshal([]byte(got.stdout), &ends) != nil || len(ends) != 1 {
		return "unknown"
	}
	var text []string
	for _, s := range ends[0].Release.Spans {
		text = append(text, fmt.Sprintf("%s %s", s.Step, s.Duration.Round(time.Millisecond)))
	}
	return strings.Join(text, ", ")
}
