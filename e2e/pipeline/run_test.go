package pipeline_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/slipway-dev/slipway/e2e/pipeline"
)

// world is a pipeline and where it runs. files is a txtar archive; the
// pipeline is pipeline.yml in it.
func world(t *testing.T, files string) pipeline.Config {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(files)).Files {
		path := filepath.Join(dir, "repository", f.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return pipeline.Config{
		File: filepath.Join(dir, "repository", "pipeline.yml"), Dir: dir, Env: []string{"PATH=" + os.Getenv("PATH")},
		Checkout: func(to string) error { return os.WriteFile(filepath.Join(to, "source"), []byte("checked out"), 0o644) },
	}
}

func runs(t *testing.T, c pipeline.Config) pipeline.Result {
	t.Helper()
	result, err := pipeline.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// steps are the outcomes of steps, by name.
func steps(r pipeline.Result) map[string]pipeline.Outcome {
	all := map[string]pipeline.Outcome{}
	for _, s := range r.Steps() {
		if s.Name != "" {
			all[s.Name] = s.Outcome
		}
	}
	return all
}

const handedOn = `
-- pipeline.yml --
parameters:
  - {name: model, type: string, default: next}
  - {name: retry, type: boolean, default: false}
variables:
  - {name: GREETING, value: "hello $(who)"}
  - {name: who, value: nobody}
stages:
  - stage: First
    variables:
      - group: mine
    jobs:
      - job: Make
        steps:
          - bash: |
              test "$(cat source)" = "checked out"
              echo "$GREETING" "$MISSING" '$(not.there)' "retry ${{ lower(parameters.retry) }}"
              echo "secret by itself: '$TOKEN', named: ${#NAMED}"
              echo "##vso[task.setvariable variable=value;isOutput=true]a%0Ab" >&2
              echo "##vso[task.setvariable variable=plain]kept"
              echo "##vso[task.prependpath]$PIPELINE_WORKSPACE/bin"
            name: make
            env: {NAMED: $(token)}
          - bash: |
              mkdir -p "$PIPELINE_WORKSPACE/bin" out/deep
              printf '#!/bin/sh\necho tool' > "$PIPELINE_WORKSPACE/bin/tool" && chmod +x "$PIPELINE_WORKSPACE/bin/tool"
              tool; echo "$PLAIN and $MAKE_VALUE and $(make.value)"
              cp "$PIPELINE_WORKSPACE/bin/tool" out/deep/
            name: use
          - publish: out
            artifact: tools
  - stage: Second
    variables:
      - name: handed
        value: $[ stageDependencies.First.Make.outputs['make.value'] ]
    jobs:
      - deployment: Ship
        environment: production
        strategy:
          runOnce:
            deploy:
              steps:
                - download: current
                  artifact: tools
                - bash: |
                    test ! -e source && test ! -x "$PIPELINE_WORKSPACE/tools/deep/tool"
                    printf 'handed <%s>, plain <%s>\n' "$HANDED" "$PLAIN"
                    echo "##vso[task.setvariable variable=done;isOutput=true]yes"
                  name: ship
            on:
              failure:
                steps:
                  - bash: exit 0
                    name: back
  - stage: Third
    condition: and(succeeded(), eq(dependencies.Second.outputs['Ship.Ship.ship.done'], 'yes'))
    jobs:
      - job: Check
        condition: eq(stageDependencies.Second.Ship.outputs['Ship.ship.done'], 'yes')
        steps:
          - checkout: none
          - bash: test ! -e source
            name: check
          - ${{ if eq(parameters.model, 'next') }}:
              - template: more/steps.yml
                parameters: {say: next}
          - ${{ elseif parameters.model }}:
              - template: more/steps.yml
                parameters: {say: "${{ parameters.model }}"}
-- more/steps.yml --
parameters:
  - {name: say, type: string}
steps:
  - bash: echo "said $SAID"
    name: say
    env:
      ${{ if parameters.say }}:
        SAID: ${{ parameters.say }}
`

// What jobs hand on to each other: variables, outputs, artifacts, paths; and
// what they do not: files, plain variables, secrets nobody named.
func TestWhatIsHandedOn(t *testing.T) {
	t.Parallel()
	c := world(t, handedOn)
	c.Parameters = map[string]string{"model": "models:/iris@champion"}
	c.Groups = map[string]map[string]pipeline.Variable{"mine": {"who": {Value: "world"}, "token": {Value: "s3cret", Secret: true}}}
	r := runs(t, c)
	if r.Outcome != pipeline.Succeeded || r.Stage("Second").Jobs[0].Environment != "production" {
		t.Fatalf("%+v", r)
	}
	for step, want := range map[string]string{
		"make": "hello world  $(not.there) retry false\nsecret by itself: '', named: 6\n",
		"use":  "tool\nkept and a\nb and a\nb\n",
		"ship": "handed <a\nb>, plain <>\n",
		"say":  "said models:/iris@champion\n",
	} {
		var lines []string
		for line := range strings.Lines(r.Step(step).Log) {
			if !strings.HasPrefix(line, "##vso") {
				lines = append(lines, line)
			}
		}
		if diff := cmp.Diff(want, strings.Join(lines, "")); diff != "" {
			t.Errorf("%s said (-want +got):\n%s", step, diff)
		}
	}
	if _, ran := steps(r)["back"]; ran {
		t.Error("on: failure ran without a failure")
	}
	if left, err := os.ReadDir(filepath.Join(c.Dir, "agents")); err != nil || len(left) > 0 {
		t.Errorf("agents left %v (%v)", left, err)
	}
	if got := r.Stage("Second").Jobs[0].Outputs; got["Ship.ship.done"] != "yes" {
		t.Errorf("outputs of the deployment: %v", got)
	}
}

const failing = `
-- pipeline.yml --
stages:
  - stage: First
    jobs:
      - job: A
        steps:
          - {bash: exit 0, name: good}
  - stage: Deploy
    jobs:
      - deployment: Ship
        environment: production
        strategy:
          runOnce:
            deploy:
              steps:
                - {download: current, artifact: none}
                - {bash: exit 0, name: after}
                - {bash: 'echo "##vso[task.setvariable variable=x;isOutput=true]went on"', name: anyway, condition: failed()}
                - {bash: exit 0, name: canceled, condition: canceled()}
            on:
              failure:
                steps:
                  - {bash: 'echo "##vso[task.setvariable variable=y;isOutput=true]and back"', name: back}
  - stage: Verify
    jobs:
      - job: C
        steps:
          - {bash: exit 0, name: verify}
  - stage: Tell
    dependsOn: [First, Deploy, Verify]
    condition: and(always(), eq(dependencies.Deploy.result, 'Failed'), eq(dependencies.Verify.result, 'Skipped'))
    variables:
      - {name: said, value: "$[ coalesce(stageDependencies.Verify.C.outputs['verify.x'], stageDependencies.Deploy.Ship.outputs['Ship.anyway.x']) ]"}
      - {name: hook, value: "$[ stageDependencies.Deploy.Ship.outputs['Ship.back.y'] ]"}
    jobs:
      - job: D
        steps:
          - {bash: echo "it $SAID $HOOK", name: tell}
`

// A failing deployment: what comes after is skipped, what is for a failure runs.
func TestAFailingDeployment(t *testing.T) {
	t.Parallel()
	r := runs(t, world(t, failing))
	want := map[string]pipeline.Outcome{"good": "Succeeded", "after": "Skipped", "anyway": "Succeeded", "canceled": "Skipped", "back": "Succeeded", "tell": "Succeeded"}
	if diff := cmp.Diff(want, steps(r)); r.Outcome != pipeline.Failed || r.Stage("Verify").Outcome != pipeline.Skipped || diff != "" {
		t.Errorf("%s, Verify %s, steps: %s", r.Outcome, r.Stage("Verify").Outcome, diff)
	}
	if got := r.Step("tell").Log; got != "it went on and back\n" {
		t.Errorf("told %q", got)
	}
}

// A run that is cancelled: the script gets SIGTERM, steps that say so still run,
// on: failure does not.
func TestACancelledRun(t *testing.T) {
	t.Parallel()
	c := world(t, `
-- pipeline.yml --
stages:
  - stage: One
    jobs:
      - deployment: Ship
        environment: production
        strategy:
          runOnce:
            deploy:
              steps:
                - {download: current, artifact: none, condition: failed()}
                - bash: |
                    sleep 60 >/dev/null 2>&1 & trap "echo told; kill $!; exit 1" TERM
                    echo waiting
                    wait
                  name: work
                - {bash: exit 0, name: after}
                - {bash: exit 0, name: recover, condition: canceled()}
            on:
              failure:
                steps:
                  - {bash: exit 0, name: back}
  - stage: Two
    jobs:
      - job: B
        steps:
          - {bash: exit 0, name: two}
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Said = func(_, line string) {
		if line == "waiting" {
			cancel()
		}
	}
	r, err := pipeline.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]pipeline.Outcome{"work": "Canceled", "after": "Skipped", "recover": "Succeeded"}
	if diff := cmp.Diff(want, steps(r)); r.Outcome != pipeline.Canceled || diff != "" {
		t.Errorf("%s, steps: %s", r.Outcome, diff)
	}
	if got := r.Step("work").Log; !strings.Contains(got, "told") {
		t.Errorf("the script was not told: %s", got)
	}
}

// What a step tells the agent: issues, a summary, secrets; and what makes it
// fail.
func TestWhatTheAgentIsTold(t *testing.T) {
	t.Parallel()
	r := runs(t, world(t, `
-- pipeline.yml --
stages:
  - stage: One
    jobs:
      - job: A
        steps:
          - checkout: none
          - bash: |
              echo "##vso[task.logissue type=error]it%0Abroke"
              echo "# Told" > summary.md
              echo "##vso[task.uploadsummary]$PWD/summary.md"
              echo "##vso[task.setsecret]hunter2"
            name: tells
          - {bash: echo "it is hunter2", name: leaks}
          - {bash: 'echo "##vso[task.complete result=Failed]"', name: unknown}
          - {bash: 'echo "##vso[task.uploadsummary]/nowhere.md"', name: missing, condition: always()}
          - {bash: 'echo "##vso[task.logissue type=note]x"', name: kind, condition: always()}
`))
	want := map[string]pipeline.Outcome{"tells": "Succeeded", "leaks": "Succeeded", "unknown": "Failed", "missing": "Failed", "kind": "Failed"}
	if diff := cmp.Diff(want, steps(r)); diff != "" {
		t.Error(diff)
	}
	told := r.Step("tells")
	if diff := cmp.Diff([]pipeline.Issue{{Type: "error", Message: "it\nbroke"}}, told.Issues); diff != "" || told.Leaked {
		t.Errorf("leaked %v, issues %s", told.Leaked, diff)
	}
	if diff := cmp.Diff([]string{"# Told\n"}, told.Summaries); diff != "" {
		t.Error(diff)
	}
	if leaks := r.Step("leaks"); !leaks.Leaked || leaks.Log != "it is ***\n" {
		t.Errorf("leaked %v: %s", leaks.Leaked, leaks.Log)
	}
}

func TestTasks(t *testing.T) {
	t.Parallel()
	c := world(t, `
-- pipeline.yml --
stages:
  - stage: One
    jobs:
      - job: A
        steps:
          - {bash: 'echo "##vso[task.setvariable variable=cluster]blue"'}
          - task: Login@1
            name: login
            inputs: {to: "the $(cluster) one", script: 'echo "##vso[task.setvariable variable=CONFIG]$GIVEN/config"'}
          - {bash: 'echo "$CONFIG"', name: uses}
          - {task: Unknown@2, name: unknown}
`)
	c.Tasks = map[string]pipeline.Task{"Login@1": func(ctx context.Context, r *pipeline.TaskRun) error {
		r.Say("logging in to " + r.Inputs["to"])
		return r.Bash(ctx, r.Inputs["script"], map[string]string{"GIVEN": r.Variable("agent.tempdirectory")})
	}}
	r := runs(t, c)
	if !strings.Contains(r.Step("login").Log, "logging in to the blue one\n") || !strings.HasSuffix(r.Step("uses").Log, "/temp/config\n") {
		t.Errorf("%+v", r)
	}
	if s := r.Step("unknown"); s.Outcome != pipeline.Failed || !strings.Contains(s.Log, "there is no task Unknown@2") {
		t.Errorf("an unknown task: %+v", s)
	}
}

func FuzzPipeline(f *testing.F) {
	for _, seed := range []string{handedOn, failing} {
		f.Add(string(txtar.Parse([]byte(seed)).Files[0].Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), "pipeline.yml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = pipeline.Read(file)
	})
}

// An expanded pipeline is what a schema can check.
func TestExpand(t *testing.T) {
	t.Parallel()
	c := world(t, `
-- pipeline.yml --
trigger: none
parameters: [{name: retry, type: boolean, default: true}]
stages:
  - stage: A
    jobs:
      - job: B
        steps:
          - {checkout: self, fetchDepth: 1}
          - ${{ if parameters.retry }}:
              - {bash: "echo ${{ parameters.retry }}"}
`)
	got, err := pipeline.Expand(c.File, map[string]string{"retry": "false"})
	if err != nil {
		t.Fatal(err)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		t.Fatal(err)
	}
	want := `{"parameters":[{"default":"true","name":"retry","type":"boolean"}],"stages":[{"jobs":[{"job":"B","steps":[{"checkout":"self","fetchDepth":"1"}]}],"stage":"A"}],"trigger":"none"}`
	if diff := cmp.Diff(want, compact.String()); diff != "" {
		t.Error(diff)
	}
}
