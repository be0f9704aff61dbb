package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write generated files")

// referenceFile is generated from the command line's own model.
const referenceFile = "../../docs/cli.md"

func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	var c cli
	parser, env, err := newParser(&c, &program{getenv: none}, func() {})
	if err != nil {
		t.Fatal(err)
	}
	got := reference(parser.Model, env)
	if *update {
		if err := os.WriteFile(referenceFile, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("docs/cli.md is stale; run make generate (-file +command line):\n%s", diff)
	}
}

func reference(app *kong.Application, env *environment) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The command line\n\nGenerated from the command line itself by `make generate`.\n\n%s\n\nFlags of every command:\n\n", app.Help)
	flags(&b, app.Flags, env)
	for _, group := range groups {
		fmt.Fprintf(&b, "\n## %s\n", strings.TrimSuffix(group.Title, ":"))
		for _, command := range app.Children {
			if command.Group != nil && command.Group.Key == group.Key && !command.Hidden {
				chapter(&b, command, env)
			}
		}
	}
	return b.Bytes()
}

func chapter(b *bytes.Buffer, command *kong.Node, env *environment) {
	for _, below := range command.Children {
		chapter(b, below, env)
	}
	if len(command.Children) > 0 {
		return
	}
	synopsis := command.FullPath()
	fmt.Fprintf(b, "\n### %s\n\n", synopsis)
	for _, argument := range command.Positional {
		synopsis += " [" + argument.Tag.PlaceHolder + "]"
	}
	fmt.Fprintf(b, "    %s [flags]\n\n%s\n", synopsis, command.Help)
	if len(command.Positional)+len(command.Flags) > 0 {
		fmt.Fprintln(b)
	}
	for _, argument := range command.Positional {
		fmt.Fprintf(b, "- `%s`: %s\n", argument.Tag.PlaceHolder, explained(argument, env))
	}
	flags(b, command.Flags, env)
}

func flags(b *bytes.Buffer, all []*kong.Flag, env *environment) {
	for _, f := range all {
		if f.Name == "help" || f.Hidden {
			continue
		}
		name := "--" + f.Name
		if f.Short != 0 {
			name = "-" + string(f.Short) + ", " + name
		}
		if !f.IsBool() {
			name += " " + f.FormatPlaceHolder()
		}
		fmt.Fprintf(b, "- `%s`: %s\n", name, explained(f.Value, env))
	}
}

// explained is the help with the variables as code.
func explained(v *kong.Value, env *environment) string {
	text := strings.TrimSuffix(v.Help, ".") + "."
	if v.HasDefault {
		text += " Default: `" + v.Default + "`."
	}
	var names []string
	for _, name := range env.names[v] {
		names = append(names, "`"+name+"`")
	}
	return text + " Variable: " + strings.Join(names, ", ") + "."
}
