package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var examined = diagnosis{Findings: []finding{
	good("MLflow", "https://mlflow.example", "3.17.2"),
	skip("setting", "AKS_CLUSTER_NAME", "not needed: the target is this machine"),
	skip("setting", "AKS_RESOURCE_GROUP", "not needed: the target is this machine"),
	bad("rights", "kubernetes://production/inference-service", "kubectl create rolebinding slipway-ci", "may not patch deployments.apps inference-service"),
	note("webhook", "", "", "none hears of promotions; the workflow's schedule finds them"),
	{Check: "image registry", Subject: "r.example/iris", Mark: fails, Found: "r.example is out of reach", Why: "dial tcp: connection refused", Fix: "check the address"},
}}

func TestDoctorTable(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	examined.print(&b, sheet{})
	const want = `  ✓ MLflow          https://mlflow.example                     3.17.2
  – setting         AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP: not needed: the target is this machine
  ✗ rights          kubernetes://production/inference-service  may not patch deployments.apps inference-service
      fix: kubectl create rolebinding slipway-ci
  ! webhook         none hears of promotions; the workflow's schedule finds them
  ✗ image registry  r.example/iris                             r.example is out of reach
      dial tcp: connection refused
      fix: check the address

2 of 6 checks fail; 2 not needed or not known.
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// On a terminal lines are broken at its width, but for commands to copy, and
// colours tell the marks apart; what a terminal would obey is taken out.
func TestDoctorTableOnATerminal(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	d := diagnosis{Findings: []finding{bad("rights", "n", "fix\x1b[2J", "%s", strings.TrimSpace(strings.Repeat("word ", 20))), good("clock", "", "fine\x1b[2J")}}
	d.print(&b, sheet{columns: 60, color: true})
	got := b.String()
	for _, line := range strings.Split(got, "\n") {
		if visible(line) > 60 {
			t.Errorf("a line of %d columns: %q", visible(line), line)
		}
	}
	if !strings.Contains(got, paint(true, red, "✗")) || !strings.Contains(got, paint(true, green, "✓")) || strings.Contains(got, "\x1b[2J") {
		t.Errorf("%q", got)
	}
	if strings.Count(got, "word") != 20 || !strings.Contains(got, "\n               word") {
		t.Errorf("words were lost or are not below the first: %q", got)
	}
}

func TestDoctorSummary(t *testing.T) {
	t.Parallel()
	for want, d := range map[string]diagnosis{
		"1 check, none fails.":                             {Findings: []finding{good("a", "", "x")}},
		"1 of 2 checks fails.":                             {Findings: []finding{good("a", "", "x"), bad("b", "", "f", "x")}},
		"2 checks, none fails; 1 not needed or not known.": {Findings: []finding{good("a", "", "x"), skip("b", "", "x")}},
	} {
		if got := d.summary(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// On a run's page, what others said is text.
func TestDoctorPage(t *testing.T) {
	t.Parallel()
	got := diagnosis{Findings: []finding{bad("rights", "a|b", "kubectl <x>", "@ada may not")}}.page()
	for _, want := range []string{"## ❌ slipway doctor: 1 of 1 check fails", "| ✗ | rights | a\\|b | &#64;ada may not | kubectl &lt;x&gt; |"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
}
