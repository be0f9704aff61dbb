//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// What docs/kubernetes.md says to type works as it is written, from its first
// line to its last, but for the names.
func TestE2EKubernetesPageAsWritten(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) { c.Apply(t, rendered(t, c, namespace)) }, "odds", "forest")
	c.promote("champion", "1")
	c.outcome(0, "deploy", c.champion()) // for the page's rollback to have something to go back to
	c.promote("champion", "2")
	overlay := renderedTo(t, c.namespace)
	file := filepath.Join(c.home, "manifest.yaml")
	if err := os.WriteFile(file, []byte(c.cluster.Kubectl(t, "kustomize", overlay)), 0o600); err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("k8s/deployment-production.yaml", file, "examples/kubernetes/staging", overlay,
		"models:/iris@champion", c.champion(), "myregistry.azurecr.io/models/iris", c.image, "production", c.namespace,
		`"minReplicas": 5`, `"minReplicas": 2`)
	blocks := commandsOf(t, "../docs/kubernetes.md")
	for _, block := range blocks {
		runCommands(t, c.cluster, c.home, names.Replace(block), c.command(t.Context()).Env)
	}
	c.answersLike("1", "odds") // after `slipway rollback`
	c.want(0, []string{"live again, rolled back by hand"}, "history", c.target())

	if !slices.Contains(commandsOf(t, "../README.md"), blocks[0]) {
		t.Errorf("the first commands of docs/kubernetes.md are not in README.md:\n%s", blocks[0])
	}
}

// commandsOf returns the blocks of commands of a page.
func commandsOf(t testing.TB, page string) []string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var blocks []string
	for _, b := range e2e.ParsePage(page, string(text)).Blocks {
		if b.Info == "sh" {
			blocks = append(blocks, b.Text)
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no commands", page)
	}
	return blocks
}

// runCommands runs a block of commands as a shell would.
func runCommands(t testing.TB, cluster *e2e.KubeCluster, dir, script string, env []string) {
	t.Helper()
	kubectl := cluster.Command(t.Context())
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = dir
	path := filepath.Dir(kubectl.Path) + ":" + filepath.Dir(slipwayProgram(t)) + ":" + os.Getenv("PATH")
	cmd.Env = append(append(kubectl.Env, env...), "PATH="+path)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, script, out)
	}
}
