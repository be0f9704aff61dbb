package azuredevops_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/azuredevops"
)

func newAgent(t *testing.T) (*azuredevops.Agent, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	vars := map[string]string{"TF_BUILD": "True", "AGENT_TEMPDIRECTORY": t.TempDir()}
	return azuredevops.NewAgent(&log, func(name string) string { return vars[name] }), &log
}

func TestAgentElsewhere(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "false"} {
		if a := azuredevops.NewAgent(nil, func(string) string { return value }); a != nil {
			t.Errorf("TF_BUILD=%q is taken for an agent", value)
		}
	}
}

func TestAgentCommands(t *testing.T) {
	t.Parallel()
	a, log := newAgent(t)
	a.Open("roll\nout")
	a.Close()
	a.Error("slipway: iris 3", "100 %\nfix: this")
	a.Warning("t", "x]y;z ##vso[task.complete]")
	a.Mask("p%s")
	if err := a.Output(a.Name("rolled-back"), "true\r"); err != nil {
		t.Fatal(err)
	}
	if err := a.Output("a;b]", ""); err != nil {
		t.Fatal(err)
	}
	want := `##[group]roll out
##[endgroup]
##vso[task.logissue type=error;]slipway: iris 3: 100 %AZP25%0Afix: this
##vso[task.logissue type=warning;]t: x]y;z # #vso[task.complete]
##vso[task.setsecret]p%AZP25s
##vso[task.setvariable variable=rolled_back;isOutput=true;]true%0D
##vso[task.setvariable variable=a%3Bb%5D;isOutput=true;]
`
	if d := cmp.Diff(want, log.String()); d != "" {
		t.Error(d)
	}
}

func TestAgentSummary(t *testing.T) {
	t.Parallel()
	a, log := newAgent(t)
	if err := a.Summary("# hello"); err != nil {
		t.Fatal(err)
	}
	path, ok := strings.CutPrefix(strings.TrimSpace(log.String()), "##vso[task.uploadsummary]")
	data, err := os.ReadFile(path)
	if !ok || err != nil || string(data) != "# hello" {
		t.Errorf("%q: %q, %v", log, data, err)
	}
}

func TestAgentDefuse(t *testing.T) {
	t.Parallel()
	a, _ := newAgent(t)
	for line, want := range map[string]string{
		"x ##vso[task.complete]": "x # #vso[task.complete]", "##[error]x": "# #[error]x", "## heading": "## heading", "": "",
	} {
		if got := a.Defuse(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
