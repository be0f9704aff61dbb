package pipeline_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e/pipeline"
)

const ownPipeline = "../../azure-pipelines.yml"

// The project's own pipeline is understood.
func TestOwnPipeline(t *testing.T) {
	t.Parallel()
	if err := pipeline.Read(ownPipeline); err != nil {
		t.Error(err)
	}
}

// expandedSteps are the steps of the project's own pipeline, queued with the
// parameters.
func expandedSteps(t *testing.T, parameters map[string]string) []map[string]any {
	t.Helper()
	expanded, err := pipeline.Expand(ownPipeline, parameters)
	if err != nil {
		t.Fatal(err)
	}
	var tree any
	if err := json.Unmarshal(expanded, &tree); err != nil {
		t.Fatal(err)
	}
	var found []map[string]any
	collect(tree, &found)
	if len(found) < 20 {
		t.Fatalf("%d steps", len(found))
	}
	return found
}

func collect(v any, found *[]map[string]any) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			collect(item, found)
		}
	case map[string]any:
		if v["bash"] != nil || v["task"] != nil {
			*found = append(*found, v)
		}
		for _, item := range v {
			collect(item, found)
		}
	}
}

// Whoever queues a run chooses its parameters. In a script or a condition they
// would run as one, so they reach it through the environment alone.
func TestWhatIsTypedInIsNoScript(t *testing.T) {
	t.Parallel()
	const hostile = "hostile'; touch x; $(System.AccessToken) $$(A) $[variables.MLFLOW_TRACKING_TOKEN]"
	for _, step := range expandedSteps(t, map[string]string{"model": hostile, "environment": hostile}) {
		inputs, _ := step["inputs"].(map[string]any)
		for _, text := range []any{step["bash"], step["condition"], step["name"], inputs["inlineScript"]} {
			if s, _ := text.(string); strings.Contains(s, "hostile") {
				t.Errorf("it is part of a script:\n%s", s)
			}
		}
	}
}

// In the environment and in variables a macro or a runtime expression would be
// read, also one that names a secret.
func TestWhatIsTypedInNamesNoVariable(t *testing.T) {
	t.Parallel()
	const hostile = "hostile $(MLFLOW_TRACKING_TOKEN) $$(A) $[variables.MLFLOW_TRACKING_TOKEN]"
	text, err := pipeline.Expand(ownPipeline, map[string]string{"model": hostile, "environment": hostile})
	if err != nil {
		t.Fatal(err)
	}
	var all any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, value := range valuesIn(all) {
		if strings.HasPrefix(value, "hostile") {
			if seen++; strings.Contains(value, "$(") || strings.Contains(value, "$[") {
				t.Errorf("a variable would be read: %s", value)
			}
		}
	}
	if seen < 2 {
		t.Errorf("what is typed in was seen %d times", seen)
	}
}

// valuesIn are the texts that a step gets: of env, and of variables.
func valuesIn(v any) (texts []string) {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			texts = append(texts, valuesIn(item)...)
		}
	case map[string]any:
		for name, item := range v {
			if s, ok := item.(string); ok && (name == "value" || strings.HasPrefix(name, "SLIPWAY_")) {
				texts = append(texts, s)
			}
			texts = append(texts, valuesIn(item)...)
		}
	}
	return texts
}

// A macro in a script is a script, too; what is handed on goes through the
// environment.
func TestNoMacroIsPartOfAScript(t *testing.T) {
	t.Parallel()
	macro := regexp.MustCompile(`\$\([A-Za-z_]+\.[A-Za-z._]+\)|\$\([A-Z_]{3,}\)`)
	for _, step := range expandedSteps(t, nil) {
		inputs, _ := step["inputs"].(map[string]any)
		for _, text := range []any{step["bash"], inputs["inlineScript"]} {
			if s, _ := text.(string); macro.MatchString(s) {
				t.Errorf("a macro in a script:\n%s", s)
			}
		}
	}
}

// $(NAME) of a variable that nobody has set stays as it is written, and would be
// taken for a value: each that a step names has a default.
func TestEveryMacroHasAValue(t *testing.T) {
	t.Parallel()
	defaults, err := os.ReadFile(filepath.Join(filepath.Dir(ownPipeline), "templates", "variables.yml"))
	if err != nil {
		t.Fatal(err)
	}
	macro := regexp.MustCompile(`^\$\(([A-Z_]+)\)$`)
	for _, step := range expandedSteps(t, nil) {
		env, _ := step["env"].(map[string]any)
		for name, value := range env {
			m := macro.FindStringSubmatch(value.(string))
			if m != nil && !strings.Contains(string(defaults), "{name: "+m[1]+", ") {
				t.Errorf("%s is %s, and templates/variables.yml has no default", name, value)
			}
		}
	}
}
