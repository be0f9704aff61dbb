package pipeline

import "slices"

// Outcome is how a run, a stage, a job or a step ended.
type Outcome string

// The outcomes, as expressions call them.
const (
	Succeeded Outcome = "Succeeded"
	Failed    Outcome = "Failed"
	Skipped   Outcome = "Skipped"
	Canceled  Outcome = "Canceled"
)

// Result is what became of a run.
type Result struct {
	Outcome Outcome
	Stages  []StageResult
}

// StageResult is what became of a stage.
type StageResult struct {
	Name    string
	Outcome Outcome
	Jobs    []JobResult
}

// JobResult is what became of a job.
type JobResult struct {
	Name        string
	Environment string // of a deployment
	Outcome     Outcome
	Steps       []StepResult      // those of on: failure too, where it ran
	Outputs     map[string]string // "step.variable", for a deployment "job.step.variable"
}

// StepResult is what became of a step, with what it told the agent.
type StepResult struct {
	Name, Title string
	Outcome     Outcome
	Log         string // with secrets masked
	Issues      []Issue
	Summaries   []string // Markdown
	Leaked      bool     // the log held a secret that was masked, or to be masked, before
}

// Issue is an error or a warning that marks the run.
type Issue struct{ Type, Message string }

// Stage returns a stage; zero where there is none.
func (r Result) Stage(name string) StageResult {
	i := slices.IndexFunc(r.Stages, func(s StageResult) bool { return s.Name == name })
	if i < 0 {
		return StageResult{}
	}
	return r.Stages[i]
}

// Steps returns all steps of the run, in their order.
func (r Result) Steps() []StepResult {
	var all []StepResult
	for _, s := range r.Stages {
		for _, j := range s.Jobs {
			all = append(all, j.Steps...)
		}
	}
	return all
}

// Step returns the last step of that name; zero where there is none.
func (r Result) Step(name string) StepResult {
	var found StepResult
	for _, s := range r.Steps() {
		if s.Name == name {
			found = s
		}
	}
	return found
}
