package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
)

// repository is the root of this project.
const repository = "../.."

// ourPlan is the plan of this project's own repository.
func ourPlan() initPlan {
	return initPlan{
		own: true, github: true, azure: true, model: "models:/iris@champion", image: "r.example/iris", environment: "production",
		target: defaultTarget, ref: slipway.TargetRef{Scheme: "kubernetes", Namespace: "production", Name: "inference-service"},
	}
}

// What this project's own repository has is what init writes. With -update the
// templates are copied from there.
func TestOurPipelinesAreTheTemplates(t *testing.T) {
	t.Parallel()
	for system, folders := range map[string][]string{"github": {".github/workflows"}, "azure": {"azure-pipelines.yml", "templates"}} {
		templates := filepath.Join("template", system)
		if *update {
			if err := os.RemoveAll(templates); err != nil {
				t.Fatal(err)
			}
		}
		names := filesIn(t, repository, folders...)
		for _, name := range names {
			checkCopy(t, name, filepath.Join(templates, strings.TrimPrefix(name, ".github/workflows/")))
		}
		if copies := filesIn(t, templates, "."); len(copies) != len(names) {
			t.Errorf("%s has %q, and the repository %q; run make generate", templates, copies, names)
		}
	}
}

func checkCopy(t *testing.T, name, copied string) {
	t.Helper()
	ours, err := os.ReadFile(filepath.Join(repository, name))
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := writeFile(copied, ours, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(copied)
	if diff := cmp.Diff(string(ours), string(got)); diff != "" || err != nil {
		t.Errorf("%s is stale (%v); run make generate (-%s +it):\n%s", copied, err, name, diff)
	}
}

// filesIn are the YAML files in the folders of dir.
func filesIn(t *testing.T, dir string, folders ...string) []string {
	t.Helper()
	var names []string
	for _, folder := range folders {
		err := fs.WalkDir(os.DirFS(dir), folder, func(name string, d fs.DirEntry, err error) error {
			if err == nil && !d.IsDir() && path.Ext(name) == ".yml" {
				names = append(names, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// Running init on this project changes none of its pipelines and manifests.
func TestInitChangesNothingOfOurs(t *testing.T) {
	t.Parallel()
	files, err := ourPlan().files()
	if err != nil {
		t.Fatal(err)
	}
	delete(files, defaultConfig) // this repository releases no model
	if len(files) < 8 {
		t.Errorf("%d files", len(files))
	}
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(repository, name))
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s would change (%v):\n%s", name, err, cmp.Diff(string(have), string(want)))
		}
	}
}

// Others' repositories have neither our action beside the workflow, nor our
// source, nor our documentation.
func TestInitElsewhere(t *testing.T) {
	t.Parallel()
	plan := ourPlan()
	plan.own, plan.environment = false, "staging"
	files, err := plan.files()
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		text := string(data)
		if strings.Contains(text, actionHere) || strings.Contains(text, "run: make") || strings.Contains(text, "bash: make build\n") {
			t.Errorf("%s uses this project's source", name)
		}
		for _, m := range document.FindAllStringIndex(text, -1) {
			if !strings.HasSuffix(text[:m[0]], "/blob/main/") {
				t.Errorf("%s names a page that is not there: %s", name, text[m[0]:m[1]])
			}
		}
	}
	for _, name := range []string{".github/workflows/release-model.yml", "azure-pipelines.yml"} {
		if text := string(files[name]); !strings.Contains(text, "default: staging\n") || strings.Contains(text, "default: production\n") {
			t.Errorf("%s: the environment is not staging by default", name)
		}
	}
}

// What this project builds itself with, others build it with too.
func TestInitElsewhereKeepsUp(t *testing.T) {
	t.Parallel()
	pinned := regexp.MustCompile(`(?m)uv==\S+|inputs: \{version: .*$`)
	for name, other := range elsewhere {
		ours, err := templates.ReadFile("template/azure/" + name)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := templates.ReadFile(other)
		if err != nil {
			t.Fatal(err)
		}
		want := pinned.FindAllString(string(ours), -1)
		if diff := cmp.Diff(want, pinned.FindAllString(string(theirs), -1)); diff != "" || len(want) < 2 {
			t.Errorf("%s (-ours +theirs):\n%s", other, diff)
		}
	}
}

// A process that ends in the middle leaves the old file or the new one, and
// nothing aside.
func TestInitWritesWhole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tree, err := openTree(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.close()
	if err := tree.write([]initFile{{Path: "a/b.yml", Done: fileCreated, want: []byte("new")}, {Path: "c.yml", Done: fileKept, want: []byte("new")}}); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "d.yml"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := tree.write([]initFile{{Path: "d.yml", Done: fileChanged, want: []byte("new")}}); err == nil {
		t.Error("a folder was replaced")
	}
	var names []string
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, _ fs.DirEntry, err error) error {
		names = append(names, name)
		return err
	})
	if diff := cmp.Diff([]string{".", "a", "a/b.yml", "d.yml"}, names); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// A person is asked for what is missing, with a default to accept, and before a
// file is changed; the command's end ends the waiting.
func TestInitAsks(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	q := &questions{ctx: t.Context(), in: bufio.NewReader(strings.NewReader("\n\nmodels:/a@b\n\ny\nno\n")), out: &out}
	if got, err := q.value("Model", "--model", "", ""); got != "models:/a@b" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := q.value("Target", "--to", "", "default"); got != "default" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := q.value("Target", "--to", "given", "default"); got != "given" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	for _, want := range []bool{true, false} {
		if got, err := q.confirm("Change it?"); got != want || err != nil {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
	}
	if _, err := q.value("Model", "--model", "", ""); !errors.As(err, &usageError{}) {
		t.Errorf("no more answers: %v", err)
	}
	if want := "Model: Model: Model: Target [default]: Change it? [y/N] Change it? [y/N] Model: "; out.String() != want {
		t.Errorf("%q, want %q", out.String(), want)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errInterrupted)
	r, _ := io.Pipe() // nobody ever answers
	if _, err := (&questions{ctx: ctx, in: bufio.NewReader(r), out: io.Discard}).confirm("Change it?"); !errors.Is(err, errInterrupted) {
		t.Errorf("interrupted: %v", err)
	}
}
