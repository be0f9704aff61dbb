package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

type explainCommand struct {
	What string `arg:"" optional:"" placeholder:"RELEASE|TARGET" help:"A release's identifier, or a target or environment: then its last release that failed."`
	On   string `placeholder:"TARGET" help:"The target whose journal has the release; without it, the targets of slipway.yaml and of this machine."`
}

var releasePattern = regexp.MustCompile(`^[0-9A-HJKMNP-TV-Z]{26}$`)

// explanation is why a release ended as it did.
type explanation struct {
	Release slipway.Release `json:"release"`
	Why     string          `json:"why"`
	Fix     string          `json:"fix,omitempty"` // the command that mends it
	Serving string          `json:"serving"`       // what serves on the target now
}

// Run prints why a release failed and what mends it.
func (cmd explainCommand) Run(ctx context.Context, p *program, c *cli) error {
	release, record, err := cmd.find(ctx, p, c)
	if err != nil {
		return err
	}
	e := explain(release, record)
	return p.result(e, func(w io.Writer) { e.print(w) })
}

// find returns the release asked for, and the journal's record that has it.
func (cmd explainCommand) find(ctx context.Context, p *program, c *cli) (slipway.Release, slipway.Record, error) {
	byID := releasePattern.MatchString(cmd.What)
	targets, err := cmd.places(p, c, byID)
	if err != nil {
		return slipway.Release{}, slipway.Record{}, err
	}
	for _, at := range targets {
		world, err := p.connect(settings{to: at.ref})
		if err != nil {
			return slipway.Release{}, slipway.Record{}, err
		}
		record, err := world.journal.Load(ctx)
		if err != nil {
			return slipway.Release{}, slipway.Record{}, err
		}
		if r := pick(record, cmd.What, byID); r != nil {
			return *r, record, nil
		}
	}
	return slipway.Release{}, slipway.Record{}, slipway.Errorf(slipway.NotFound, "explaining "+cmd.What, "no such release").
		WithHint("slipway history lists the releases of a target; --on TARGET names the target")
}

func (cmd explainCommand) places(p *program, c *cli, byID bool) ([]place, error) {
	if !byID {
		return c.places(cmd.What)
	}
	if cmd.On != "" {
		return c.places(cmd.On)
	}
	all, err := c.places("")
	if err != nil {
		all = nil // no slipway.yaml: this machine's targets are left
	}
	for _, target := range p.localTargets() {
		if all, err = appendPlace(all, "", target); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// pick returns the release of that identifier, or the one on its way or the
// newest that did not become live; for want of those the newest.
func pick(record slipway.Record, id string, byID bool) *slipway.Release {
	all := slices.Clone(record.History)
	if record.Current != nil {
		all = append(all, *record.Current)
	}
	slices.Reverse(all)
	wanted := func(r slipway.Release) bool { return r.Phase != slipway.Verified }
	if byID {
		wanted = func(r slipway.Release) bool { return string(r.ID) == id }
	}
	if i := slices.IndexFunc(all, wanted); i >= 0 {
		return &all[i]
	}
	if !byID && len(all) > 0 {
		return &all[0]
	}
	return nil
}

func explain(r slipway.Release, record slipway.Record) explanation {
	e := explanation{Release: r, Serving: "nothing"}
	if record.Live != nil {
		e.Serving = record.Live.Model.String()
	}
	e.Why = orElse(strings.TrimPrefix(failureText(r.Failure), ": "), whyWithoutFailure(r, record))
	if r.Failure != nil && !strings.HasPrefix(r.Failure.Problem.Hint, "slipway explain") {
		e.Fix = r.Failure.Problem.Hint
	}
	e.Fix = orElse(e.Fix, mend(r, record))
	return e
}

func whyWithoutFailure(r slipway.Release, record slipway.Record) string {
	switch r.Phase {
	case slipway.Verified:
		return "it did not fail: it was verified and became live"
	case slipway.Undone:
		why := "it was live until it was rolled back by hand"
		for _, by := range record.History {
			if by.Undoes == r.ID {
				why += ": " + by.Reason
			}
		}
		return why
	case slipway.Overtaken:
		return "a newer promotion took the target"
	}
	return "it has not ended: " + string(r.Phase)
}

// mend is the command that helps with a release in that phase.
func mend(r slipway.Release, record slipway.Record) string {
	again := "slipway deploy " + r.Asked + " --to " + r.Target
	if r.Undoes != "" {
		again = "slipway rollback " + r.Target + " --to-version " + string(r.Model.Version)
	}
	switch {
	case r.Phase == slipway.Broken || !r.Phase.Ended():
		return "slipway recover " + r.Target
	case record.Quarantined(r.Model) != nil:
		return "promote a version that predicts as it should, or try this one again: " + again + when(r.Undoes == "", " --retry")
	case r.Phase == slipway.Refused:
		return again
	}
	return ""
}

func (e explanation) print(w io.Writer) {
	r := e.Release
	fmt.Fprintf(w, "%s on %s: %s\n\n", clean(r.Model.String()), r.Target, orElse(phaseText(r.Phase), string(r.Phase)))
	rows := [][]string{{"why", e.Why}}
	if r.Failure != nil {
		rows[0] = []string{"why", r.Failure.Step + ": " + e.Why}
		for line := range strings.Lines(evidence(r.Failure.Problem)) {
			rows = append(rows, []string{"", strings.TrimRight(line, "\n")})
		}
	}
	rows = append(rows, []string{"serves now", e.Serving})
	if e.Fix != "" {
		rows = append(rows, []string{"fix", e.Fix})
	}
	rows = append(rows, []string{"release", string(r.ID) + " by " + r.Actor}, []string{"image", r.Image.Ref()})
	for _, s := range r.Spans {
		rows = append(rows, []string{s.Step, seconds(s.Duration) + orNothing("  ", s.Detail)})
	}
	table(w, rows)
}
