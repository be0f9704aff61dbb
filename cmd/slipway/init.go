package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

type initCommand struct {
	Model       string `placeholder:"MODEL" help:"models:/NAME@ALIAS or models:/NAME/STAGE: what is released."`
	Image       string `placeholder:"HOST/PATH" help:"Repository in the image registry; $ACR_LOGIN_SERVER/NAME by default."`
	To          string `placeholder:"TARGET" help:"kubernetes://NAMESPACE/DEPLOYMENT or local://HOST:PORT. Default: kubernetes://production/inference-service."`
	Environment string `short:"e" placeholder:"NAME" help:"What the target is called; the namespace by default."`
	CI          string `name:"ci" placeholder:"github|azure|both|none" help:"Whose pipeline is written: github, azure, both or none; by default that of the repository's remote."`
	Dir         string `placeholder:"DIR" help:"The repository; the working directory by default."`
	Yes         bool   `short:"y" help:"Take the defaults, and change files without asking."`
}

// What becomes of a file.
const (
	fileCreated   = "created"
	fileChanged   = "changed"
	fileUnchanged = "unchanged"
	fileKept      = "kept" // it is otherwise than it would be written, and stays so
)

// initFile is a file of the repository, as it is to be.
type initFile struct {
	Path string `json:"path"` // below the directory, with slashes
	Done string `json:"done"`
	want []byte
	have []byte // nil: there is none
}

// initResult is what init did.
type initResult struct {
	Files []initFile `json:"files"`
	Next  []string   `json:"next"` // commands that go on from here
}

// Run writes what a repository needs to release a model. What is there already
// is changed only where somebody says yes to the difference.
func (cmd initCommand) Run(ctx context.Context, p *program) error {
	tree, err := openTree(orElse(cmd.Dir, "."))
	if err != nil {
		return err
	}
	defer tree.close()
	plan, err := cmd.plan(ctx, p, tree)
	if err != nil {
		return err
	}
	want, err := plan.files()
	if err != nil {
		return err
	}
	files, err := tree.compare(want)
	if err != nil {
		return err
	}
	if err := cmd.decide(ctx, p, files); err != nil {
		return err
	}
	if err := tree.write(files); err != nil {
		return err
	}
	result := initResult{Files: files, Next: plan.next(files)}
	return p.result(result, func(w io.Writer) { result.print(w) })
}

// decide asks what to do about files that are there and differ, after it has
// shown how.
func (cmd initCommand) decide(ctx context.Context, p *program, files []initFile) error {
	asks := newQuestions(ctx, p)
	for i, f := range files {
		if f.Done != fileChanged {
			continue
		}
		fmt.Fprintln(p.stderr, p.coloured(difference(f)))
		if cmd.Yes {
			continue
		}
		if !asks.possible() {
			return slipway.Errorf(slipway.Conflict, "writing "+f.Path, "it exists and is otherwise; nothing was written").
				WithHint("look at the difference above, then run it again with --yes, or remove what you do not want to keep")
		}
		yes, err := asks.confirm("Change " + f.Path + "?")
		if err != nil {
			return err
		}
		if !yes {
			files[i].Done = fileKept
		}
	}
	return nil
}

func (r initResult) print(w io.Writer) {
	signs := map[string]string{fileCreated: "+", fileChanged: "~", fileUnchanged: " ", fileKept: "–"}
	var rows [][]string
	for _, f := range r.Files {
		if f.Done != fileUnchanged {
			rows = append(rows, []string{signs[f.Done], f.Path, f.Done})
		}
	}
	table(w, rows)
	if n := len(r.Files) - len(rows); n > 0 {
		fmt.Fprintf(w, "  %s%s as they should be\n", when(len(rows) == 0, "Nothing to do: "), plural(n, "file"))
	}
	if len(r.Next) == 0 {
		return
	}
	fmt.Fprintln(w, "\nNext:")
	for _, command := range r.Next {
		fmt.Fprintf(w, "  %s\n", clean(command))
	}
}

// initPlan is what was asked for, or found, or taken by default.
type initPlan struct {
	model, image, target, environment string
	ref                               slipway.TargetRef
	github, azure                     bool
	own                               bool   // the directory is this project's own repository
	config                            []byte // slipway.yaml as it is; nil: there is none
}

// plan fills in what the flags leave open: from slipway.yaml, from the
// repository's remote, from answers.
func (cmd initCommand) plan(ctx context.Context, p *program, t *tree) (initPlan, error) {
	found, err := lookAround(ctx, t)
	if err != nil {
		return initPlan{}, err
	}
	asks := newQuestions(ctx, p)
	if cmd.Yes {
		asks.in = nil
	}
	plan := initPlan{own: found.own, config: found.config}
	if plan.model, err = asks.value("Model", "--model", cmd.Model, found.model); err != nil {
		return plan, err
	}
	ref, err := slipway.ParseModelRef(plan.model)
	if err != nil || ref.Path != "" {
		return plan, usageError{usagef("%.80q is no reference of a registered model", plan.model).WithHint("--model models:/NAME@ALIAS or models:/NAME/STAGE")}
	}
	if plan.image, err = asks.value("Image repository", "--image", cmd.Image, found.imageFor(p, ref.Name)); err != nil {
		return plan, err
	}
	if plan.target, err = asks.value("Target", "--to", cmd.To, orElse(found.target, defaultTarget)); err != nil {
		return plan, err
	}
	var s settings
	if err := s.setTarget(plan.target); err != nil {
		return plan, err
	}
	plan.ref = s.to
	return plan, cmd.finish(asks, found, &plan)
}

// defaultTarget is the one of the manifest.
const defaultTarget = "kubernetes://production/inference-service"

func (cmd initCommand) finish(asks *questions, found surroundings, plan *initPlan) (err error) {
	environment := environmentOf(plan.target)
	if plan.target == found.target {
		environment = found.environment
	}
	if plan.environment, err = asks.value("Environment", "--environment", cmd.Environment, environment); err != nil {
		return err
	}
	if !environmentForm.MatchString(plan.environment) {
		return usageError{usagef("%.80q is no name of an environment", plan.environment).WithHint("--environment production: letters, digits, '-', '_' and '.'")}
	}
	ci, err := asks.value("Pipeline (github, azure, both, none)", "--ci", cmd.CI, found.ci)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"github", "azure", "both", "none"}, ci) {
		return usageError{usagef("%.80q is no pipeline", ci).WithHint("github, azure, both or none")}
	}
	plan.github, plan.azure = ci == "github" || ci == "both", ci == "azure" || ci == "both"
	return nil
}

// next are the commands that go on from here, after something was written.
func (plan initPlan) next(files []initFile) []string {
	if !slices.ContainsFunc(files, func(f initFile) bool { return f.Done == fileCreated || f.Done == fileChanged }) {
		return nil
	}
	var commands []string
	for _, f := range files {
		if strings.HasPrefix(f.Path, "k8s/") && f.Done != fileKept {
			commands = append(commands, "kubectl apply -f "+f.Path)
		}
	}
	if plan.github {
		commands = append(commands, "gh variable set MLFLOW_TRACKING_URI --body https://…   # and what else "+documentation+"github.md lists")
	}
	if plan.azure {
		commands = append(commands, "az pipelines create --name slipway --yml-path "+pipelineFile+"   # and what else "+documentation+"azure-pipelines.md lists")
	}
	return append(commands, "slipway doctor   # says what is still missing, and how to mend it")
}
