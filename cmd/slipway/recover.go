package main

import (
	"context"
	"errors"
	"io/fs"
)

type recoverCommand struct {
	targetArgument
	sourceFlags
	handedFlags
}

// Run finishes or undoes what a dead run left. deploy does it by itself.
func (cmd recoverCommand) Run(ctx context.Context, p *program, c *cli) error {
	j, err := cmd.journey(p, c)
	if err != nil {
		return err
	}
	out, err := j.driver().Recover(ctx)
	if out.Release.ID != "" && out.Release.ID == j.release.ID {
		return j.finish(ctx, cmd.handover(), out, err)
	}
	j.settle(ctx, &out, err)
	return j.say([]outcomeResult{j.outcome(out, err)}, endedAs(out, err))
}

// journey is one of the target alone; without one, of the release that the
// steps before were about.
func (cmd recoverCommand) journey(p *program, c *cli) (*journey, error) {
	h := cmd.handover()
	if cmd.Target == "" {
		j, err := p.resumeJourney(h, cmd.MLflow)
		if h.handed != "" || !errors.Is(err, fs.ErrNotExist) {
			return j, err
		}
	}
	return p.minding(c, cmd.Target, cmd.MLflow)
}
