package pipeline_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e/pipeline"
)

func TestCommands(t *testing.T) {
	t.Parallel()
	type parts struct {
		Name       string
		Properties map[string]string
		Data       string
	}
	for line, want := range map[string]parts{
		"##vso[task.setvariable variable=a;isOutput=true]b":    {"task.setvariable", map[string]string{"variable": "a", "isoutput": "true"}, "b"},
		"##vso[task.logissue type=error;]what%0Awhy]; 5%AZP25": {"task.logissue", map[string]string{"type": "error"}, "what\nwhy]; 5%"},
		"##vso[Task.SetSecret]s3cret":                          {"task.setsecret", map[string]string{}, "s3cret"},
		"anywhere ##vso[task.prependpath]/bin":                 {"task.prependpath", map[string]string{}, "/bin"},
		"##vso[task.x a=1%3B2;b=%5D;c=%AZP250A]":               {"task.x", map[string]string{"a": "1;2", "b": "]", "c": "%0A"}, ""},
	} {
		name, properties, data, ok := pipeline.ParseCommand(line)
		if diff := cmp.Diff(want, parts{name, properties, data}); !ok || diff != "" {
			t.Errorf("%s: %v %s", line, ok, diff)
		}
	}
	for _, line := range []string{"", "task.setvariable", "##vso[task.setvariable", "##vso[task]x", "##vso[a.b.c]x", "##[group]x", "# #vso[task.x]y"} {
		if name, _, _, ok := pipeline.ParseCommand(line); ok {
			t.Errorf("%q is taken for %s", line, name)
		}
	}
}

func FuzzCommand(f *testing.F) {
	f.Add("##vso[task.setvariable variable=a;isOutput=true]b%0D%AZP25")
	f.Fuzz(func(t *testing.T, line string) {
		if name, _, _, ok := pipeline.ParseCommand(line); ok && name == "" {
			t.Errorf("%q is a command without a name", line)
		}
	})
}
