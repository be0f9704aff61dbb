//go:build bench

package bench_test

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// TestGitHubWorkflow brings version after version to three pods, by `slipway
// deploy` and by the workflow under act in turns, and compares how long it takes
// until they serve. Go's build is cached.
func TestGitHubWorkflow(t *testing.T) {
	s := newSite(t)
	uri := e2e.StartMLflow(t, e2e.MLflowServer{})
	s.env = append(s.env, "MLFLOW_TRACKING_URI="+uri, "SLIPWAY_PROVE=off")
	client := registered(t, uri)
	repository := s.onGitHub(uri)
	var alone, inJobs []time.Duration
	for i := range 8 {
		if err := client.SetAlias(t.Context(), "iris", "champion", slipway.Version(strconv.Itoa(1+i%2))); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if i/2%2 == 0 {
			if _, _, err := s.run(t.Context(), "deploy", "models:/iris@champion", "--image", s.registry+"/iris", "--to", s.target); err != nil {
				t.Fatal(err)
			}
			alone = append(alone, time.Since(began))
		} else {
			inJobs = append(inJobs, s.dispatched(repository))
		}
		s.settle()
	}
	// The first of each finds nothing in any cache.
	ours, workflow := middle(alone[1:]), middle(inJobs[1:])
	row(t, "from the call of a workflow to live on 3 pods", "", "%v (median of 3)", workflow)
	row(t, "… more than slipway deploy", "≤ 5 s", "%v more than %v", workflow-ours, ours)
}

// onGitHub is a repository whose slipway.yaml names the site.
func (s *site) onGitHub(uri string) *e2e.GitHub {
	s.t.Helper()
	g := e2e.NewGitHub(s.t)
	g.Write("slipway.yaml", fmt.Sprintf("models: [{model: %q, image: %q, target: %q}]\n", "models:/iris@champion", s.registry+"/iris", s.target))
	kubeconfig, err := os.ReadFile(s.cluster.Kubeconfig)
	if err != nil {
		s.t.Fatal(err)
	}
	g.Secrets = map[string]string{"KUBECONFIG": string(kubeconfig), "GITHUB_TOKEN": "none"}
	g.Env = append(g.Env, "SLIPWAY_PROVE=off")
	g.Variables = map[string]string{"MLFLOW_TRACKING_URI": uri}
	return g
}

// dispatched runs the workflow and returns how long it took from the call until
// the version was live.
func (s *site) dispatched(g *e2e.GitHub) (took time.Duration) {
	s.t.Helper()
	cmd := g.Command(s.t.Context(), ".github/workflows/deploy-on-model-promotion.yml", "repository_dispatch",
		map[string]any{"client_payload": map[string]string{"model": "models:/iris@champion"}})
	out, err := cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	var all e2e.ActLog
	for lines := bufio.NewReader(out); ; {
		text, err := lines.ReadString('\n')
		if err != nil {
			break
		}
		line, err := e2e.ReadAct(text)
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, line...)
		if took == 0 && line.Output("deploy", "verify", "status") == "live" {
			took = time.Since(began)
		}
	}
	if err := cmd.Wait(); err != nil || took == 0 {
		s.t.Fatalf("the workflow did not bring it live: %v\n%s", err, all)
	}
	return took
}
