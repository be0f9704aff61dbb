package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/local/proxy"
)

// targetArgument names a target of a command that looks at or minds one.
type targetArgument struct {
	Target string `arg:"" optional:"" placeholder:"TARGET" help:"kubernetes://NAMESPACE/DEPLOYMENT, local://HOST:PORT or an environment of slipway.yaml; without it, all of slipway.yaml."`
}

// place is a target with the name of its environment.
type place struct {
	Environment string            `json:"environment"`
	Target      string            `json:"target"`
	ref         slipway.TargetRef `json:"-"`
}

// places returns the targets the argument names: a target, an environment, or
// for "" everything in slipway.yaml.
func (c *cli) places(argument string) ([]place, error) {
	if strings.Contains(argument, "://") {
		return appendPlace(nil, "", argument)
	}
	file, err := readConfig(c.Config)
	if err != nil {
		return nil, err
	}
	var all []place
	for _, m := range file.Models {
		environments, err := chooseEnvironments(m, placeFlags{Environment: argument})
		if err != nil {
			return nil, err
		}
		for _, e := range environments {
			if all, err = appendPlace(all, e.Name, e.Target); err != nil {
				return nil, err
			}
		}
	}
	if len(all) == 0 {
		return nil, usageError{usagef("no target is named").WithHint("name one: kubernetes://NAMESPACE/DEPLOYMENT, local://127.0.0.1:8000, or an environment of %s", defaultConfig)}
	}
	return all, nil
}

func appendPlace(all []place, environment, target string) ([]place, error) {
	var s settings
	if err := s.setTarget(target); err != nil {
		return nil, err
	}
	for _, other := range all {
		if other.Target == target {
			return all, nil
		}
	}
	return append(all, place{Environment: environment, Target: target, ref: s.to}), nil
}

// onePlace is places for commands that act on a single target.
func (c *cli) onePlace(argument string) (place, error) {
	all, err := c.places(argument)
	if err != nil {
		return place{}, err
	}
	if len(all) > 1 {
		return place{}, usageError{usagef("%s has several targets", orElse(c.Config, defaultConfig)).WithHint("name one of them")}
	}
	return all[0], nil
}

type statusCommand struct {
	targetArgument
}

// statusResult is what status says of one target.
type statusResult struct {
	place
	Serving    *slipway.Release     `json:"serving"` // null: nothing
	Since      time.Time            `json:"since,omitzero"`
	Settled    bool                 `json:"settled"` // every replica is ready on the verified release
	Current    *slipway.Release     `json:"current,omitempty"`
	Hold       *slipway.Hold        `json:"hold,omitempty"`
	Quarantine []slipway.Quarantine `json:"quarantine,omitempty"`
	Observed   slipway.Observation  `json:"observed"`
	Requests   *proxy.Stats         `json:"requests,omitempty"` // since a local target's proxy was started
}

// Run prints what serves now.
func (cmd statusCommand) Run(ctx context.Context, p *program, c *cli) error {
	all, err := c.places(cmd.Target)
	if err != nil {
		return err
	}
	var found []statusResult
	var missing error // one target that is out of reach does not hide the others
	for _, at := range all {
		s, err := p.status(ctx, at)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		found = append(found, s)
	}
	if len(found) == 0 {
		return missing
	}
	return errors.Join(p.result(found, func(w io.Writer) {
		for _, s := range found {
			s.print(w, time.Now())
		}
	}), missing)
}

func (p *program) status(ctx context.Context, at place) (statusResult, error) {
	world, err := p.connect(settings{to: at.ref})
	if err != nil {
		return statusResult{}, err
	}
	record, err := world.journal.Load(ctx)
	if err != nil {
		return statusResult{}, err
	}
	observed, err := world.target.Observe(ctx)
	if err != nil {
		return statusResult{}, err
	}
	s := statusResult{place: at, Serving: record.Live, Current: record.Current, Hold: record.Hold, Quarantine: record.Quarantine, Observed: observed}
	if s.Requests, err = world.stats(ctx); err != nil {
		return statusResult{}, err
	}
	if record.Live != nil {
		s.Since, s.Settled = record.Live.Ended, observed.Settled(record.Live.Image.Digest)
	}
	return s, nil
}

func (s statusResult) print(w io.Writer, now time.Time) {
	fmt.Fprintln(w, strings.TrimSpace(s.Environment+"  "+s.Target))
	rows := [][]string{{"serves", "nothing"}}
	if r := s.Serving; r != nil {
		rows = [][]string{
			{"serves", s.serves(*r, now)},
			{"image", r.Image.Ref()},
			{"answers", provenText(*r) + verdictText(r.Verdict)},
			{"release", string(r.ID) + " by " + r.Actor + ", " + r.Reason},
		}
	}
	rows = append(rows, []string{"replicas", s.replicas()})
	if s.Requests != nil && s.Requests.Answered > 0 {
		rows = append(rows, []string{"requests", fmt.Sprintf("%s answered, %s lost", thousands(s.Requests.Answered), thousands(s.Requests.Lost))})
	}
	if s.Current != nil {
		rows = append(rows, []string{"on its way", s.Current.Model.String() + ", " + string(s.Current.Phase)})
	}
	if s.Hold != nil {
		rows = append(rows, []string{"held", "by " + s.Hold.By + " since " + clock(s.Hold.At, now) + orNothing(": ", s.Hold.Reason)})
	}
	for _, q := range s.Quarantine {
		rows = append(rows, []string{"quarantined", q.Model.String() + ", " + q.Reason})
	}
	table(w, append(rows, s.troubles()...))
}

// troubles are what is wrong with the target now, the lines that show it and
// what mends it, and what others do to it.
func (s statusResult) troubles() [][]string {
	var rows [][]string
	for _, p := range problems(s.Observed) {
		rows = append(rows, []string{"problem", p.Message})
		if p.Evidence != "" {
			rows = append(rows, []string{"", oneLine(p.Evidence)})
		}
		if p.Hint != "" {
			rows = append(rows, []string{"fix", p.Hint})
		}
	}
	for _, note := range s.Observed.Notes {
		rows = append(rows, []string{"note", note})
	}
	return rows
}

// problems are the target's own and those of its replicas, each once.
func problems(o slipway.Observation) []slipway.Problem {
	var all []slipway.Problem
	told := map[string]bool{}
	if o.Problem != nil {
		all = append(all, *o.Problem)
	}
	for _, r := range o.Replicas {
		if r.Problem == nil || told[about(r)] {
			continue
		}
		told[about(r)] = true
		all = append(all, *r.Problem)
	}
	return all
}

// oneLine is evidence in a row of a table.
func oneLine(text string) string { return clip(strings.Join(strings.Fields(text), " "), 600) }

// serves says what the last verified release does now: the target may have
// been stopped or set to something else since.
func (s statusResult) serves(r slipway.Release, now time.Time) string {
	switch s.Observed.Desired {
	case "":
		return s.servesUnset(r)
	case r.Image.Digest:
		return r.Model.String() + ", since " + clock(s.Since, now) + " (" + lasted(now.Sub(s.Since)) + ")"
	}
	return s.Observed.Desired.Short() + ", which is not the last verified release, " + r.Model.String()
}

// servesUnset is what a target serves that is set to nothing: in a cluster, its
// manifest applied again leaves the replicas of before until the next run.
func (s statusResult) servesUnset(r slipway.Release) string {
	for _, replica := range s.Observed.Replicas {
		if replica.Serving && replica.Image == r.Image.Digest {
			return r.Model.String() + " still, though the target is set to something else; the next deploy puts it back"
		}
	}
	if s.ref.Scheme == "kubernetes" {
		return "nothing: " + r.Model.String() + " was live until the Deployment was deleted or set to something else"
	}
	return "nothing: " + r.Model.String() + " was live until the target was stopped"
}

func (s statusResult) replicas() string {
	ready, restarts := 0, 0
	for _, r := range s.Observed.Replicas {
		if r.State == slipway.Ready && r.Serving {
			ready++
		}
		restarts += r.Restarts
	}
	text := fmt.Sprintf("%d of %d ready", ready, s.Observed.Want)
	if restarts > 0 {
		text += ", started again " + plural(restarts, "time")
	}
	return text
}

func verdictText(v *slipway.Verdict) string {
	if v == nil {
		return ""
	}
	return "; " + checkedText(*v)
}

// checkedText counts what verifying found.
func checkedText(v slipway.Verdict) string {
	health := 0
	for _, r := range v.Replicas {
		health += r.Health
	}
	return fmt.Sprintf("%d of %d health checks, %s on %s", health, slipway.HealthChecks*len(v.Replicas),
		plural(v.Predictions(), "golden prediction"), plural(len(v.Replicas), "replica"))
}

func orNothing(prefix, text string) string {
	if text == "" {
		return ""
	}
	return prefix + text
}
