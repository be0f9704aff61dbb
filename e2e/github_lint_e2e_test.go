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
	workflows := githubWorkflows(t)
	for _, check := range [][]string{
		append([]string{e2e.Actionlint(t), "-shellcheck=", "-pyflakes="}, workflows...),
		append([]string{e2e.CheckJSONSchema(t), "--builtin-schema", "vendor.github-workflows"}, workflows...),
		{e2e.CheckJSONSchema(t), "--builtin-schema", "vendor.github-actions", "../action.yml"},
	} {
		if out, err := exec.CommandContext(t.Context(), check[0], check[1:]...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", strings.Join(check, " "), err, out)
		}
	}
}

func githubWorkflows(t testing.TB) []string {
	t.Helper()
	files, err := filepath.Glob("../.github/workflows/*.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("the workflows: %v, %v", files, err)
	}
	return files
}
