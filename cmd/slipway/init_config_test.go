package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

func TestInitConfig(t *testing.T) {
	t.Parallel()
	const one = "models:\n  - model: models:/spam@champion\n    image: r.example/spam\n    target: local://127.0.0.1:8000\n"
	for name, tt := range map[string]struct {
		have, environment string
		want              string // its end; "": as it was
		code              slipway.Code
	}{
		"none yet":            {"", "production", "models:\n  - model: models:/iris@champion\n    image: r.example/iris\n    target: " + defaultTarget + "\n", ""},
		"comments alone":      {"# mine\n", "production", "# mine\nmodels:\n  - model: models:/iris@champion\n    image: r.example/iris\n    target: " + defaultTarget + "\n", ""},
		"no YAML":             {"models: [", "production", "", slipway.Invalid},
		"another environment": {"", "shop", "environments:\n      - name: shop\n        target: " + defaultTarget + "\n", ""},
		"one more":            {one, "production", one + "  - model: models:/iris@champion\n    image: r.example/iris\n    target: " + defaultTarget + "\n", ""},
		"flat":                {"models:\n- model: models:/spam@champion\n  image: r.example/spam\n  target: local://127.0.0.1:8000", "production", "\n- model: models:/iris@champion\n  image: r.example/iris\n  target: " + defaultTarget + "\n", ""},
		"it is there":         {"# mine\nmodels: [{model: models:/iris@champion, image: r.example/iris, target: \"" + defaultTarget + "\"}]\n", "production", "", ""},
		"without an image":    {"models:\n  - model: models:/iris@champion\n    target: " + defaultTarget + "\n", "production", "", ""},
		"written as a flow":   {"models: [{model: models:/spam@champion, image: r.example/spam, target: \"local://127.0.0.1:8000\"}]\n", "production", "", slipway.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			plan := ourPlan()
			plan.config, plan.environment = []byte(tt.have), tt.environment
			got, err := plan.configFile()
			if slipway.CodeOf(err) != tt.code {
				t.Fatalf("%v in %s, want code %q", err, got, tt.code)
			}
			if err != nil {
				return
			}
			if tt.want == "" && string(got) != tt.have || !strings.HasSuffix(string(got), tt.want) || !strings.HasPrefix(string(got), strings.TrimRight(tt.have, "\n")) {
				t.Errorf("%s", got)
			}
		})
	}
}

// What people type stays what they typed, and becomes no YAML.
func TestInitQuotes(t *testing.T) {
	t.Parallel()
	for _, model := range []string{"models:/iris # x@champion", "models:/- #iris/3", "models:/'i\"r@champion", "models:/ñandú@champion"} {
		plan := ourPlan()
		plan.model = model
		text, err := plan.configFile()
		if err != nil {
			t.Errorf("%s: %v", model, err)
			continue
		}
		if c, err := decodeConfig(defaultConfig, text); err != nil || c.Models[0].Model != model {
			t.Errorf("%s became %v, %v:\n%s", model, c, err, text)
		}
	}
}

// An environment's name stays a text, in slipway.yaml and in pipelines.
func TestInitQuotesTheEnvironment(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"1.0", "no", "true", "null", "1e3", "0x1F", "on", "production2"} {
		plan := ourPlan()
		plan.environment = name
		config, err := plan.configFile()
		if err != nil {
			t.Fatal(err)
		}
		files := map[string][]byte{"slipway.yaml": config}
		for _, system := range []string{"github", "azure"} {
			if err := plan.render(files, system); err != nil {
				t.Fatal(err)
			}
		}
		for file, line := range map[string]string{"slipway.yaml": "- name: ", ".github/workflows/release-model.yml": "    default: ", "azure-pipelines.yml": "    default: "} {
			_, rest, _ := strings.Cut(string(files[file]), line+scalar(name)+"\n")
			quoted := scalar(name) != name
			if rest == "" || quoted == (name == "production2") {
				t.Errorf("%s: no %s%s in\n%s", file, line, scalar(name), files[file])
			}
		}
	}
}

func FuzzInitConfig(f *testing.F) {
	f.Add([]byte("models:\n  - {model: models:/a@b, image: h/a, target: local://127.0.0.1:1}\n"), "iris")
	f.Add([]byte("# x\n\n"), "a: b")
	f.Fuzz(func(t *testing.T, have []byte, name string) {
		plan := ourPlan()
		plan.config, plan.model = have, "models:/"+name+"@champion"
		if _, err := slipway.ParseModelRef(plan.model); err != nil {
			return
		}
		text, err := plan.configFile()
		if err != nil {
			return
		}
		c, err := decodeConfig(defaultConfig, text)
		if err != nil || !c.has(plan) {
			t.Errorf("%v in %q", err, text)
		}
		plan.config = text
		if again, err := plan.configFile(); err != nil || !bytes.Equal(again, text) {
			t.Errorf("again: %v\n%s", err, cmp.Diff(string(text), string(again)))
		}
	})
}
