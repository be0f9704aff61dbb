package slipway_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

var (
	runBlock  = regexp.MustCompile(`(?m)^( *)(?:- )?run: ?([|>]?)(.*)$`)
	usedThing = regexp.MustCompile(`(?m)^\s*(?:- )?uses: (\S+)`)
)

// githubFiles are the workflows and the action.
var githubFiles = []string{".github/workflows/deploy-on-model-promotion.yml", ".github/workflows/release-model.yml", "action.yml"}

// Whoever may start a workflow chooses texts of it. In a script they would run
// as one, so they reach it through the environment alone.
func TestNoExpressionIsPartOfAScript(t *testing.T) {
	t.Parallel()
	for _, file := range githubFiles {
		scripts := scriptsOf(read(t, file))
		if len(scripts) == 0 {
			t.Errorf("%s has no scripts", file)
		}
		for _, script := range scripts {
			if strings.Contains(script, "${{") {
				t.Errorf("%s: an expression in a script:\n%s", file, script)
			}
		}
	}
}

// scriptsOf returns the run blocks of a workflow or an action.
func scriptsOf(text string) (scripts []string) {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		m := runBlock.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		script := m[3]
		for _, next := range lines[i+1:] {
			if m[2] == "" || next != "" && len(next)-len(strings.TrimLeft(next, " ")) <= len(m[1]) {
				break
			}
			script += "\n" + next
		}
		scripts = append(scripts, script)
	}
	return scripts
}

// Every other action is one more party that sees the secrets.
func TestOnlyKnownActionsAreUsed(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"actions/checkout@v4": true, "actions/setup-go@v5": true, "./": true, "./.github/workflows/release-model.yml": true}
	for _, file := range githubFiles {
		for _, m := range usedThing.FindAllStringSubmatch(read(t, file), -1) {
			if !known[m[1]] {
				t.Errorf("%s uses %s", file, m[1])
			}
		}
	}
}

// GitHub keeps one waiting run of a group and drops the others, and promotions
// with them.
func TestNoPromotionWaitsInAGroup(t *testing.T) {
	t.Parallel()
	for _, file := range githubFiles {
		if regexp.MustCompile(`(?m)^\s*concurrency:`).MatchString(read(t, file)) {
			t.Errorf("%s: concurrency loses promotions", file)
		}
	}
}

// Each job ends, and may do no more than it needs.
func TestJobsAreBounded(t *testing.T) {
	t.Parallel()
	for _, file := range githubFiles[:2] {
		text := read(t, file)
		for _, job := range strings.Split(text, "\n    runs-on: ")[1:] {
			job, _, _ = strings.Cut(job, "\n    steps:")
			if !strings.Contains(job, "\n    timeout-minutes: ") || !strings.Contains(job, "\n    permissions:") {
				t.Errorf("%s: a job without a limit or permissions:\n%s", file, job)
			}
		}
		if !strings.Contains(text, "\npermissions: {}\n") {
			t.Errorf("%s: jobs have permissions by default", file)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
