//go:build e2e

package e2e_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// GitHub would take the workflows and the action as they are: actionlint checks
// what their expressions name, the schemas their form.
func TestE2EGitHubTakesTheWorkflows(t *testing.T) {
	t.Parallel()
	lintWorkflows(t, "..")
	passes(t, e2e.CheckJSONSchema(t), "--builtin-schema", "vendor.github-actions", "../action.yml")
}

// lintWorkflows checks the workflows of a repository.
func lintWorkflows(t testing.TB, dir string) {
	t.Helper()
	workflows, err := filepath.Glob(filepath.Join(dir, ".github/workflows/*.yml"))
	if err != nil || len(workflows) < 2 {
		t.Fatalf("the workflows: %v, %v", workflows, err)
	}
	passes(t, e2e.Actionlint(t), append([]string{"-shellcheck=", "-pyflakes="}, workflows...)...)
	passes(t, e2e.CheckJSONSchema(t), append([]string{"--builtin-schema", "vendor.github-workflows"}, workflows...)...)
}

func passes(t testing.TB, program string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), program, args...).CombinedOutput(); err != nil {
		t.Errorf("%s %s: %v\n%s", program, strings.Join(args, " "), err, out)
	}
}
