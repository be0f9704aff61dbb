package github_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/github"
)

func newActions(t *testing.T) (*github.Actions, *bytes.Buffer, string) {
	t.Helper()
	dir := t.TempDir()
	var log bytes.Buffer
	vars := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": filepath.Join(dir, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary")}
	return github.NewActions(&log, func(name string) string { return vars[name] }), &log, dir
}

func TestActionsElsewhere(t *testing.T) {
	t.Parallel()
	for _, value := range []string{"", "false"} {
		if a := github.NewActions(nil, func(string) string { return value }); a != nil {
			t.Errorf("GITHUB_ACTIONS=%q is taken for a runner", value)
		}
	}
}

func TestActionsCommands(t *testing.T) {
	t.Parallel()
	a, log, _ := newActions(t)
	a.Open("roll: out")
	a.Close()
	a.Error("slipway: iris, 3", "100 %\nfix: this")
	a.Warning("", "::error::no")
	a.Mask("p%s")
	want := `::group::roll: out
::endgroup::
::error title=slipway%3A iris%2C 3::100 %25%0Afix: this
::warning::::error::no
::add-mask::p%25s
`
	if d := cmp.Diff(want, log.String()); d != "" {
		t.Error(d)
	}
}

func TestActionsFiles(t *testing.T) {
	t.Parallel()
	a, _, dir := newActions(t)
	for _, value := range []string{"live", "a\nEOF\nother<<x\ny"} {
		if err := a.Output("status", value); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	first, rest, _ := strings.Cut(string(data), "\n")
	name, end, _ := strings.Cut(first, "<<")
	if !strings.HasPrefix(rest, "live\n"+end+"\n") || name != "status" || strings.Count(string(data), end) != 2 {
		t.Errorf("%q", data)
	}
	for range 3 {
		if err := a.Summary(strings.Repeat("x", 1<<20+1)); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "summary")); err != nil || info.Size() > 1<<20 {
		t.Errorf("a step's summary of %d bytes, of which GitHub shows none: %v", info.Size(), err)
	}
}

func TestActionsDefuse(t *testing.T) {
	t.Parallel()
	a, _, _ := newActions(t)
	for line, want := range map[string]string{
		"::error::x": ": :error::x", " \t::set-output name=a::b": " \t: :set-output name=a::b", "a ::error::x": "a ::error::x",
		"x ##[add-mask]a": "x # #[add-mask]a", "std::vector": "std::vector", ":": ":", "": "",
	} {
		if got := a.Defuse(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}
