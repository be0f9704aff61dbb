package pipeline

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Config is a run to be queued, and the world it runs in.
type Config struct {
	File       string                         // azure-pipelines.yml
	Parameters map[string]string              // what whoever queues the run types in
	Groups     map[string]map[string]Variable // variable groups by name
	Variables  map[string]Variable            // predefined ones: "System.AccessToken"
	Tasks      map[string]Task                // by name and version: "Docker@2"
	Checkout   func(dir string) error         // what `checkout: self` puts into the folder of sources
	Dir        string                         // for agents and artifacts; each job gets a new folder
	Env        []string                       // of the agents, NAME=VALUE: PATH
	Said       func(step, line string)        // called for each line of a log; may be nil
}

// run is a run at work.
type run struct {
	Config
	definition
	agents  int // that were at work so far
	results []StageResult
}

// Run runs a pipeline to its end. A context that is cancelled cancels the run,
// as a person does. The error is of a pipeline that cannot be read, not of one
// that fails.
func Run(ctx context.Context, c Config) (Result, error) {
	d, err := read(c.File, fromStrings(c.Parameters))
	if err != nil {
		return Result{}, err
	}
	r := &run{Config: c, definition: d}
	for _, s := range d.stages {
		result, err := r.stage(ctx, s)
		if err != nil {
			return Result{}, fmt.Errorf("stage %s: %w", s.name, err)
		}
		r.results = append(r.results, result)
	}
	return Result{Outcome: together(r.results, func(s StageResult) Outcome { return s.Outcome }), Stages: r.results}, nil
}

// together is the outcome of a whole: the worst of its parts, and skipped where
// all are.
func together[T any](parts []T, of func(T) Outcome) Outcome {
	worst := Skipped
	for _, outcome := range []Outcome{Succeeded, Canceled, Failed} {
		if slices.ContainsFunc(parts, func(p T) bool { return of(p) == outcome }) {
			worst = outcome
		}
	}
	return worst
}

func (r *run) stage(ctx context.Context, s stage) (StageResult, error) {
	result := StageResult{Name: s.name, Outcome: Skipped}
	before := r.before(s.dependsOn, map[string]bool{})
	runs, err := holds(s.condition, scope{
		values:    map[string]any{"dependencies": r.dependencies(s)},
		functions: statusFunctions(ctx.Err() != nil, before),
	})
	if err != nil || !runs {
		return result, err
	}
	for _, j := range s.jobs {
		jobResult, err := r.job(ctx, s, j, result.Jobs)
		if err != nil {
			return result, fmt.Errorf("job %s: %w", j.name, err)
		}
		result.Jobs = append(result.Jobs, jobResult)
	}
	result.Outcome = together(result.Jobs, func(j JobResult) Outcome { return j.Outcome })
	return result, nil
}

// before are the outcomes of the stages that a stage waits for, and of those
// that these wait for.
func (r *run) before(names []string, seen map[string]bool) []Outcome {
	var all []Outcome
	for i, s := range r.stages {
		if slices.Contains(names, s.name) && !seen[s.name] {
			seen[s.name] = true
			all = append(append(all, r.results[i].Outcome), r.before(s.dependsOn, seen)...)
		}
	}
	return all
}

// holds evaluates a condition; succeeded() where there is none.
func holds(condition string, s scope) (bool, error) {
	if condition == "" {
		condition = "succeeded()"
	}
	v, err := evaluate(condition, s)
	return truth(v), err
}

// statusFunctions are those about what came before ("Expressions", job status
// check functions). Without anything before, all is well.
func statusFunctions(canceled bool, before []Outcome) map[string]func(...any) (any, error) {
	no := func(o Outcome) bool { return o != Succeeded }
	return map[string]func(...any) (any, error){
		"always":            answer(true),
		"canceled":          answer(canceled),
		"succeeded":         answer(!canceled && !slices.ContainsFunc(before, no)),
		"failed":            answer(!canceled && slices.Contains(before, Failed)),
		"succeededorfailed": answer(!canceled),
	}
}

func answer(is bool) func(...any) (any, error) {
	return func(args ...any) (any, error) {
		if len(args) > 0 {
			return nil, fmt.Errorf("names as arguments of a status function are not understood")
		}
		return is, nil
	}
}

// dependencies is the object of that name in a stage's condition.
func (r *run) dependencies(s stage) lookup {
	return r.stageObject(s, func(result StageResult) mapping {
		outputs := mapping{}
		for _, j := range result.Jobs {
			for name, value := range j.Outputs {
				outputs = append(outputs, pair{j.Name + "." + name, value})
			}
		}
		return mapping{{"result", string(result.Outcome)}, {"outputs", outputs}}
	})
}

// stageDependencies is the object of that name in a job.
func (r *run) stageDependencies(s stage) lookup {
	return r.stageObject(s, func(result StageResult) mapping {
		jobs := mapping{}
		for _, j := range r.stages[slices.IndexFunc(r.stages, func(s stage) bool { return s.name == result.Name })].jobs {
			jobs = append(jobs, pair{j.name, mapping{{"result", string(Skipped)}, {"outputs", mapping{}}}})
		}
		for _, j := range result.Jobs {
			outputs := mapping{}
			for name, value := range j.Outputs {
				outputs = append(outputs, pair{name, value})
			}
			at := slices.IndexFunc(jobs, func(p pair) bool { return p.key == j.Name })
			jobs[at].value = mapping{{"result", string(j.Outcome)}, {"outputs", outputs}}
		}
		return jobs
	})
}

// stageObject refuses stages that the stage does not wait for: Azure Pipelines
// has nothing of them.
func (r *run) stageObject(s stage, of func(StageResult) mapping) lookup {
	return func(name string) (any, error) {
		for _, result := range r.results {
			if strings.EqualFold(result.Name, name) && slices.Contains(s.dependsOn, result.Name) {
				return of(result), nil
			}
		}
		return nil, fmt.Errorf("stage %s does not depend on %s", s.name, name)
	}
}
