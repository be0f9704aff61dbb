package pipeline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// agent is a machine that takes the steps of one job. It keeps nothing of
// another job: neither files nor a home.
type agent struct {
	run       *run
	dir       string // Agent.BuildDirectory
	variables variables
	masked    []string // what setsecret named
	path      []string // prepended to PATH, the last first
	outputs   map[string]string
	outcome   Outcome // of the steps so far
	results   []StepResult
}

func (a *agent) prepare(name string) error {
	a.dir = filepath.Join(a.run.Dir, "agents", name)
	for variable, folder := range map[string]string{
		"Agent.BuildDirectory": "", "Pipeline.Workspace": "", "Build.SourcesDirectory": "s", "System.DefaultWorkingDirectory": "s",
		"Build.BinariesDirectory": "b", "Build.ArtifactStagingDirectory": "a", "Agent.TempDirectory": "temp", "Agent.HomeDirectory": "home",
	} {
		path := filepath.Join(a.dir, folder)
		if err := os.MkdirAll(path, 0o700); err != nil {
			return err
		}
		a.variables.set(variable, Variable{Value: path})
	}
	a.variables.set("Agent.OS", Variable{Value: "Linux"})
	a.variables.set("TF_BUILD", Variable{Value: "True"})
	return nil
}

// value is a variable's.
func (a *agent) value(name string) string { return a.variables[strings.ToLower(name)].Value }

// status is Agent.JobStatus.
func (a *agent) status(ctx context.Context) Outcome {
	if ctx.Err() != nil {
		return Canceled
	}
	return a.outcome
}

// step takes one step. The error is of a step that is not understood.
func (a *agent) step(ctx context.Context, s step) error {
	result := StepResult{Name: s.name, Title: s.title(), Outcome: Skipped}
	a.variables.set("Agent.JobStatus", Variable{Value: string(a.status(ctx))})
	names := scope{values: map[string]any{"variables": lookup(a.variables.member)}, functions: statusFunctions(ctx.Err() != nil, []Outcome{a.outcome})}
	runs, err := holds(s.condition, names)
	if err != nil {
		return err
	}
	if runs {
		names.functions = statusFunctions(true, []Outcome{a.outcome})
		survives, err := holds(s.condition, names)
		if err != nil {
			return err
		}
		if survives {
			ctx = context.WithoutCancel(ctx)
		}
		result.Outcome = a.taken(ctx, s, &result)
	}
	a.results = append(a.results, result)
	return nil
}

// taken takes a step and says how it ended. The context ends it, when the run
// is cancelled and its condition does not hold any more.
func (a *agent) taken(ctx context.Context, s step, result *StepResult) Outcome {
	log := &stepLog{agent: a, step: s, result: result}
	err := a.take(ctx, s, log)
	if err != nil {
		log.line("##[error]" + err.Error())
	}
	switch {
	case err == nil && !log.failed:
		return Succeeded
	case ctx.Err() != nil:
		return Canceled
	}
	a.outcome = Failed
	return Failed
}

func (a *agent) take(ctx context.Context, s step, log *stepLog) error {
	switch s.kind {
	case "bash":
		return a.bash(ctx, s.what, s.env, log)
	case "checkout":
		if s.what == "none" {
			return nil
		}
		return a.run.Checkout(a.value("Build.SourcesDirectory"))
	case "publish":
		return a.publish(a.variables.expand(s.what), s.artifact)
	case "download":
		return a.download(s.artifact)
	}
	task, ok := a.run.Tasks[s.what]
	if !ok {
		return fmt.Errorf("there is no task %s", s.what)
	}
	inputs := map[string]string{}
	for name, value := range s.inputs {
		inputs[name] = a.variables.expand(value)
	}
	return task(ctx, &TaskRun{Inputs: inputs, agent: a, log: log, env: s.env})
}

// artifacts keep no permissions, links or empty folders.
func (a *agent) publish(from, name string) error {
	to := filepath.Join(a.run.Dir, "artifacts", name)
	if _, err := os.Stat(to); err == nil {
		return fmt.Errorf("artifact %s already exists", name)
	}
	if !filepath.IsAbs(from) {
		from = filepath.Join(a.value("System.DefaultWorkingDirectory"), from)
	}
	return copyFiles(from, to)
}

func (a *agent) download(name string) error {
	from := filepath.Join(a.run.Dir, "artifacts", name)
	if _, err := os.Stat(from); err != nil {
		return fmt.Errorf("artifact %s was not found", name)
	}
	return copyFiles(from, filepath.Join(a.value("Pipeline.Workspace"), name))
}

func copyFiles(from, to string) error {
	return filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := os.MkdirAll(filepath.Dir(filepath.Join(to, name)), 0o755); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), data, 0o644)
	})
}

// secrets are what the log must not hold, the longest first.
func (a *agent) secrets() []string {
	all := append(a.variables.secrets(), a.masked...)
	slices.SortStableFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}
