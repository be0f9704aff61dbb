package pipeline

import (
	"fmt"
	"slices"
)

// definition is a pipeline without templates and template expressions.
type definition struct {
	variables []variableLine
	stages    []stage
}

// variableLine sets a variable, or all of a variable group.
type variableLine struct{ name, value, group string }

type stage struct {
	name      string
	dependsOn []string
	condition string
	variables []variableLine
	jobs      []job
}

type job struct {
	name        string
	deployment  bool
	environment string
	dependsOn   []string
	condition   string
	variables   []variableLine
	steps       []step
	onFailure   []step // of a deployment
}

// step is one of bash, task, checkout, publish and download.
type step struct {
	kind, what  string
	name        string
	displayName string
	condition   string
	env         map[string]string
	inputs      map[string]string
	artifact    string
}

// triggers are the keys that say when a run begins, and what the others wait
// for: nothing to run.
var triggers = []string{"name", "trigger", "pr", "schedules", "lockBehavior", "resources"}

// read expands a pipeline for the parameters that a run is queued with.
func read(path string, given mapping) (definition, error) {
	tree, err := load(path, given, 0)
	if err != nil {
		return definition{}, err
	}
	f := &fields{of: tree, path: path}
	for _, key := range triggers {
		f.any(key)
	}
	d := definition{variables: variableLines(f)}
	for _, item := range f.list("stages") {
		d.stages = append(d.stages, d.stage(f, item))
	}
	if len(d.stages) == 0 {
		f.errs = append(f.errs, fmt.Errorf("it has no stages"))
	}
	return d, f.done()
}

// inner reads a mapping within another, which gets its errors.
func (f *fields) inner(item any, of string, read func(*fields)) {
	m, ok := item.(mapping)
	if !ok {
		f.errs = append(f.errs, fmt.Errorf("%s: %v is no mapping", of, item))
		return
	}
	inner := &fields{of: m, path: of}
	read(inner)
	if err := inner.done(); err != nil {
		f.errs = append(f.errs, err)
	}
}

func variableLines(f *fields) []variableLine {
	var lines []variableLine
	for _, item := range f.list("variables") {
		f.inner(item, "variables", func(f *fields) {
			lines = append(lines, variableLine{f.text("name"), f.text("value"), f.text("group")})
		})
	}
	return lines
}

// stage reads one; without dependsOn it comes after the one before it.
func (d definition) stage(f *fields, item any) (s stage) {
	f.inner(item, "stage", func(f *fields) {
		s = stage{name: f.text("stage"), dependsOn: f.texts("dependsOn"), condition: f.text("condition"), variables: variableLines(f)}
		f.path = "stage " + s.name
		f.text("displayName")
		if s.dependsOn == nil && len(d.stages) > 0 {
			s.dependsOn = []string{d.stages[len(d.stages)-1].name}
		}
		for _, before := range s.dependsOn {
			if !slices.ContainsFunc(d.stages, func(s stage) bool { return s.name == before }) {
				f.errs = append(f.errs, fmt.Errorf("there is no stage %s before it", before))
			}
		}
		for _, item := range f.list("jobs") {
			s.jobs = append(s.jobs, s.job(f, item))
		}
	})
	return s
}

func (s stage) job(f *fields, item any) (j job) {
	f.inner(item, "job", func(f *fields) {
		j = job{name: f.text("job") + f.text("deployment"), dependsOn: f.texts("dependsOn"), condition: f.text("condition"), variables: variableLines(f)}
		f.path = "job " + j.name
		for _, key := range []string{"displayName", "pool", "timeoutInMinutes", "cancelTimeoutInMinutes"} {
			f.any(key)
		}
		for _, before := range j.dependsOn {
			if !slices.ContainsFunc(s.jobs, func(j job) bool { return j.name == before }) {
				f.errs = append(f.errs, fmt.Errorf("there is no job %s before it", before))
			}
		}
		if _, j.deployment = f.of.get("deployment"); j.deployment {
			j.deploy(f)
			return
		}
		j.steps = steps(f)
	})
	return j
}

// deploy reads what a deployment has beside: the strategy runOnce.
func (j *job) deploy(f *fields) {
	j.environment = f.text("environment")
	f.inner(f.any("strategy"), "strategy", func(f *fields) {
		f.inner(f.any("runOnce"), "runOnce", func(f *fields) {
			f.inner(f.any("deploy"), "deploy", func(f *fields) { j.steps = steps(f) })
			if on := f.any("on"); on != nil {
				f.inner(on, "on", func(f *fields) {
					f.inner(f.any("failure"), "failure", func(f *fields) { j.onFailure = steps(f) })
				})
			}
		})
	})
	if j.environment == "" || !slices.ContainsFunc(j.steps, func(s step) bool { return s.kind == "download" }) {
		f.errs = append(f.errs, fmt.Errorf("a deployment wants an environment, and a download, or it downloads every artifact"))
	}
}

func steps(f *fields) []step {
	var all []step
	for _, item := range f.list("steps") {
		f.inner(item, "step", func(f *fields) {
			s := step{name: f.text("name"), displayName: f.text("displayName"), condition: f.text("condition"), env: f.texted("env")}
			for _, kind := range []string{"bash", "task", "checkout", "publish", "download"} {
				if s.kind == "" { // a second one is not understood
					if s.what = f.text(kind); s.what != "" {
						s.kind = kind
					}
				}
			}
			f.path = "step " + s.kind + " " + s.name
			s.more(f)
			all = append(all, s)
		})
	}
	return all
}

// more reads what only some kinds of steps have.
func (s *step) more(f *fields) {
	switch s.kind {
	case "task":
		s.inputs = f.texted("inputs")
	case "publish", "download":
		s.artifact = f.text("artifact")
		if s.artifact == "" || s.kind == "download" && s.what != "current" {
			f.errs = append(f.errs, fmt.Errorf("want an artifact of this run"))
		}
	case "checkout":
		f.text("fetchDepth")
		if s.what != "self" && s.what != "none" {
			f.errs = append(f.errs, fmt.Errorf("want self or none"))
		}
	case "":
		f.errs = append(f.errs, fmt.Errorf("it is none of bash, task, checkout, publish and download"))
	}
}
