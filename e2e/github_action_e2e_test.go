//go:build e2e

package e2e_test

import (
	"fmt"
	"strings"
	"testing"
)

// usingWorkflow is one of somebody who uses the action, twice in a job.
const usingWorkflow = ".github/workflows/using.yml"

const using = `on: {workflow_dispatch: }
jobs:
  deploy:
    runs-on: ubuntu-latest
    permissions: {contents: read}
    env: {MLFLOW_TRACKING_URI: "${{ vars.MLFLOW_TRACKING_URI }}"}
    steps:
      - uses: actions/checkout@v4
      - id: deploy
        uses: ./
        with:
          model: %s
          image: %s
          to: %s
          working-directory: docs
          kubeconfig: ${{ secrets.KUBECONFIG }}
      - id: status
        uses: ./
        with:
          command: status
          to: %[3]s
          args: -o  json
      - run: test "$VERSION" = 1
        env: {VERSION: "${{ steps.deploy.outputs.model-version }}"}
`

// The action alone: it installs slipway once a job, runs the command with what
// it is given, where there is no slipway.yaml, and puts out what became of it.
func TestE2EGitHubAction(t *testing.T) {
	t.Parallel()
	f := newForge(t, "logistic")
	f.promote("champion", "1")
	f.Write(usingWorkflow, fmt.Sprintf(using, f.champion(), f.image, f.target()))
	got := f.runs(nil, usingWorkflow, "workflow_dispatch", asked(nil))
	if got.code != 0 || got.Output("deploy", "deploy", "status") != "live" || got.Output("deploy", "deploy", "image") != f.record().Live.Image.Ref() {
		t.Fatalf("%s", got)
	}
	f.comesToAnswer("1", "logistic")
	if n := strings.Count(got.String(), "Run Main Install slipway"); n != 1 {
		t.Errorf("it was installed %d times\n%s", n, got)
	}
	if !strings.Contains(got.String(), `"state": "ready"`) {
		t.Errorf("args are not heard\n%s", got)
	}
}
