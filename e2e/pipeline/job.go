package pipeline

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
)

// job runs a job on an agent of its own, and on another one what a deployment
// does on failure.
func (r *run) job(ctx context.Context, s stage, j job, earlier []JobResult) (JobResult, error) {
	result := JobResult{Name: j.name, Environment: j.environment, Outcome: Skipped, Outputs: map[string]string{}}
	vars, err := r.variablesOf(s, j)
	if err != nil {
		return result, err
	}
	names := scope{values: map[string]any{"stagedependencies": r.stageDependencies(s), "variables": lookup(vars.member)}}
	if err := vars.resolve(names); err != nil {
		return result, err
	}
	var before []Outcome
	for _, e := range earlier {
		if slices.Contains(j.dependsOn, e.Name) {
			before = append(before, e.Outcome)
		}
	}
	names.functions = statusFunctions(ctx.Err() != nil, before)
	if runs, err := holds(j.condition, names); err != nil || !runs {
		return result, err
	}
	a, err := r.work(ctx, j, j.steps, vars)
	if err != nil {
		return result, err
	}
	result.Outcome = a.status(ctx)
	result.add(j, a)
	if result.Outcome == Failed && len(j.onFailure) > 0 {
		hook, err := r.work(ctx, j, j.onFailure, vars)
		if err != nil {
			return result, err
		}
		result.add(j, hook)
	}
	return result, nil
}

// add adds what an agent has done for the job.
func (r *JobResult) add(j job, a *agent) {
	r.Steps = append(r.Steps, a.results...)
	for name, value := range a.outputs {
		if j.deployment { // runOnce: the job's name stands for that of the hook, whichever it is
			name = j.name + "." + name
		}
		r.Outputs[name] = value
	}
}

// variablesOf are those of a job, before its expressions are evaluated.
func (r *run) variablesOf(s stage, j job) (variables, error) {
	vars := variables{}
	for name, value := range r.Variables {
		vars.set(name, value)
	}
	for _, lines := range [][]variableLine{r.definition.variables, s.variables, j.variables} {
		if err := vars.add(lines, r.Groups); err != nil {
			return nil, err
		}
	}
	vars.set("System.StageName", Variable{Value: s.name})
	vars.set("System.JobName", Variable{Value: j.name})
	return vars, nil
}

// work has a new agent take the steps, in their order.
func (r *run) work(ctx context.Context, j job, steps []step, vars variables) (*agent, error) {
	r.agents++
	a := &agent{run: r, variables: maps.Clone(vars), outputs: map[string]string{}, outcome: Succeeded}
	if err := a.prepare(fmt.Sprintf("%02d-%s", r.agents, j.name)); err != nil {
		return nil, err
	}
	checksOut := slices.ContainsFunc(steps, func(s step) bool { return s.kind == "checkout" })
	if !j.deployment && !checksOut {
		steps = slices.Insert(slices.Clone(steps), 0, step{kind: "checkout", what: "self", displayName: "checkout"})
	}
	for _, s := range steps {
		if err := a.step(ctx, s); err != nil {
			return nil, fmt.Errorf("step %s: %w", s.title(), err)
		}
	}
	return a, os.RemoveAll(a.dir) // another machine has nothing of it
}

func (s step) title() string {
	for _, title := range []string{s.displayName, s.name, s.what} {
		if title != "" {
			return title
		}
	}
	return s.kind
}
