package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/github"
	"github.com/slipway-dev/slipway/rollout"
)

func TestGuardDefusesWholeLines(t *testing.T) {
	t.Parallel()
	actions := github.NewActions(nil, func(name string) string { return when(name == "GITHUB_ACTIONS", "true") })
	var out bytes.Buffer
	g := &guard{out: &out, ci: actions}
	for _, part := range []string{"a\n:", ":error::b\nc ##", "[d]\n", "::add-mask::e"} {
		if n, err := fmt.Fprint(g, part); n != len(part) || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	}
	g.flush()
	if d := cmp.Diff("a\n: :error::b\nc # #[d]\n: :add-mask::e", out.String()); d != "" {
		t.Error(d)
	}
}

func TestSecretsAreThoseOfTheEnvironment(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"ACR_PASSWORD": "hunter22", "AZURE_CLIENT_SECRET": "-----BEGIN-----\n abcd \n--\n", "MLFLOW_TRACKING_TOKEN": "abc",
		"UV_INDEX": "https://a/simple https://ada:p%40ssword@b/simple", "HOME": "/home/ada"}
	want := []string{"hunter22", "-----BEGIN-----", "abcd", "p@ssword", "p%40ssword"}
	if d := cmp.Diff(want, secrets(func(name string) string { return vars[name] })); d != "" {
		t.Error(d)
	}
}

func TestHandoverComesBackAsItWas(t *testing.T) {
	t.Parallel()
	r := slipway.Release{SchemaVersion: slipway.RecordSchema, ID: "01J", Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Env: map[string]string{"A": "ü\n"}}
	text, err := packHandover(r)
	if err != nil {
		t.Fatal(err)
	}
	got, err := unpackHandover(text)
	if d := cmp.Diff(r, got); d != "" || err != nil {
		t.Error(err, d)
	}
	if strings.ContainsAny(text, "\n\r") {
		t.Errorf("several lines: %q", text)
	}
}

func FuzzHandover(f *testing.F) {
	good, err := packHandover(slipway.Release{SchemaVersion: slipway.RecordSchema, ID: "01J"})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{good, good[:len(good)/2], "", "H4sI", "!"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := unpackHandover(text)
		if err == nil {
			if _, err := packHandover(r); err != nil {
				t.Error(err)
			}
		} else if code := slipway.CodeOf(err); code != slipway.Invalid && code != slipway.Unavailable {
			t.Errorf("code %s: %v", code, err)
		}
	})
}

func TestSummaryOfARollback(t *testing.T) {
	t.Parallel()
	start := time.Date(2026, 11, 26, 9, 14, 0, 0, time.UTC)
	r := slipway.Release{
		ID: "01J", Model: slipway.ModelVersion{Name: "iris", Version: "3"}, Environment: "production", Target: "kubernetes://production/inference-service",
		Image: slipway.Image{Repository: "registry/iris", Digest: "sha256:ab", Size: 3_700_000}, Golden: slipway.Proved, GoldenBy: "scikit-learn 1.9.1",
		Actor: "github run 812", RunURL: "https://github.com/o/r/actions/runs/1", Reason: "@champion points at it", Phase: slipway.RolledBack,
		Previous: &slipway.Release{Model: slipway.ModelVersion{Name: "iris", Version: "2"}},
		Failure:  &slipway.Failure{Step: "rollout", Problem: slipway.Problem{Message: "iris-a|b crashes at <once> @all", Evidence: "```\n::error::x\x1b[31m", Hint: "kubectl logs iris-a"}},
		Spans: []slipway.Span{
			{Step: "resolve", Start: start, Duration: 16 * time.Millisecond, Detail: "iris 3 ← @champion"},
			{Step: "rollout", Start: start.Add(time.Second), Duration: 2 * time.Second},
		},
	}
	out := rollout.OutcomeOf(r, r.Previous)
	want := "## ❌ iris 3 was rolled back; iris 2 serves in production\n\n" +
		"rollout: iris-a\\|b crashes at &lt;once&gt; &#64;all\n\n" +
		"````\n```\n::error::x�[31m\n````\n\n" +
		"To mend it:\n\n```\nkubectl logs iris-a\n```\n\n" +
		"| model | iris 3 |\n|---|---|\n" +
		"| promotion | &#64;champion points at it |\n" +
		"| target | kubernetes://production/inference-service |\n" +
		"| image | registry/iris&#64;sha256:ab (3.7 MB) |\n" +
		"| predictions | proved by scikit-learn 1.9.1 |\n" +
		"| before | iris 2 |\n" +
		"| release | 01J by github run 812 |\n" +
		"| run | https://github.com/o/r/actions/runs/1 |\n\n" +
		"| at | step | took |  |\n|---|---|---|---|\n" +
		"|  | resolve | 16 ms | iris 3 ← &#64;champion |\n" +
		"| +1.0 s | rollout | 2.0 s |  |\n" +
		"|  |  | 3.0 s | in all |\n\n"
	if d := cmp.Diff(want, outcomeSummary(out)); d != "" {
		t.Error(d)
	}
}
