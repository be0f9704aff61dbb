package pipeline_test

import (
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e/pipeline"
)

// No line of a pipeline may be passed over: what is not understood is refused.
func TestRefusals(t *testing.T) {
	t.Parallel()
	const job = "stages:\n  - stage: A\n    jobs:\n      - job: B\n        steps:\n"
	for name, test := range map[string]struct{ pipeline, said string }{
		"no stages":           {"variables: []\n", "no stages"},
		"an unknown key":      {"stages: []\npool: x\n", "pool is not understood"},
		"an unknown step":     {job + "          - {pwsh: exit 0}\n", "none of bash"},
		"an unknown step key": {job + "          - {bash: exit 0, retryCountOnTaskFailure: 3}\n", "retryCountOnTaskFailure is not understood"},
		"a matrix":            {"stages:\n  - stage: A\n    jobs:\n      - {job: B, strategy: {matrix: {}}}\n", "strategy is not understood"},
		"a loop":              {job + "          - ${{ each x in parameters.y }}:\n              - {bash: exit 0}\n", "each }} is not understood"},
		"an unknown function": {job + "          - {bash: exit 0, condition: \"startsWith('a', 'b')\"}\n", "no function startswith"},
		"a missing stage":     {"stages:\n  - {stage: A, dependsOn: B, jobs: []}\n", "no stage B before it"},
		"an unheard-of stage": {job + "          - {bash: exit 0}\n  - stage: C\n    dependsOn: []\n    condition: eq(dependencies.A.result, 'Failed')\n    jobs: []\n", "C does not depend on A"},
		"a missing group":     {"variables: [{group: mine}]\n" + job + "          - {bash: exit 0}\n", "no variable group mine"},
		"a missing parameter": {"parameters: [{name: x, type: string}]\nstages: []\n", "parameter x: it has no value"},
		"a wrong parameter":   {"parameters: [{name: x, type: boolean, default: maybe}]\nstages: []\n", "maybe is no boolean"},
		"a value not allowed": {"parameters: [{name: x, type: string, default: c, values: [a, b]}]\nstages: []\n", "none of"},
		"a missing template":  {job + "          - template: nowhere.yml\n", "nowhere.yml"},
		"a foreign template":  {job + "          - template: a.yml@b\n", "this repository"},
		"a template of jobs":  {job + "          - template: jobs.yml\n", "a list of steps alone"},
		"an empty template":   {job + "          - template: empty.yml\n", "a list of steps alone"},
		"an empty file":       {"", "a value is missing"},
		"endless templates":   {job + "          - template: self.yml\n", "without end"},
		"all artifacts":       {"stages:\n  - stage: A\n    jobs:\n      - deployment: B\n        environment: x\n        strategy: {runOnce: {deploy: {steps: [{bash: exit 0}]}}}\n", "a download"},
		"an else alone":       {job + "          - ${{ else }}:\n              - {bash: exit 0}\n", "without an if"},
		"an open expression":  {job + "          - {bash: \"${{ 'x'\"}\n", "${{ without }}"},
		"an object as text":   {"parameters: [{name: x, type: object, default: {a: b}}]\n" + job + "          - {bash: \"echo ${{ parameters.x }}\"}\n", "is no text"},
		"a key twice":         {"stages: []\nstages: []\n", "stages"},
		"an anchor":           {"stages: &a []\n", "is not understood"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := world(t, "-- pipeline.yml --\n"+test.pipeline+
				"-- empty.yml --\nparameters: []\n-- jobs.yml --\njobs: []\n-- self.yml --\nsteps:\n  - template: self.yml\n")
			if _, err := pipeline.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), test.said) {
				t.Errorf("got %v, want an error with %q", err, test.said)
			}
		})
	}
	c := world(t, "-- pipeline.yml --\n"+job+"          - {bash: exit 0}\n")
	c.Parameters = map[string]string{"x": "y"}
	if _, err := pipeline.Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "no parameter x") {
		t.Errorf("an unknown parameter: %v", err)
	}
}
