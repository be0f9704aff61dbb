package main

import "context"

type recoverCommand struct {
	targetArgument
	sourceFlags
}

// Run finishes or undoes what a dead run left. deploy does it by itself.
func (cmd recoverCommand) Run(ctx context.Context, p *program, c *cli) error {
	j, err := p.minding(c, cmd.Target, cmd.MLflow)
	if err != nil {
		return err
	}
	out, err := j.driver().Recover(ctx)
	j.settle(ctx, &out, err)
	return j.say([]outcomeResult{j.outcome(out, err)}, endedAs(out, err))
}
