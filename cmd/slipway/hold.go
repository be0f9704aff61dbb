package main

import (
	"context"

	"github.com/slipway-dev/slipway/rollout"
)

type holdCommand struct {
	targetArgument
	Reason string `placeholder:"TEXT" help:"Why, for whoever meets the hold."`
}

// Run freezes a target. What serves goes on serving.
func (cmd holdCommand) Run(ctx context.Context, p *program, c *cli) error {
	j, err := p.minding(c, cmd.Target, "")
	if err != nil {
		return err
	}
	out, err := j.driver().Hold(ctx, actor(p.getenv), cmd.Reason)
	return j.minded(out, err)
}

type resumeCommand struct {
	targetArgument
}

// Run ends a hold.
func (cmd resumeCommand) Run(ctx context.Context, p *program, c *cli) error {
	j, err := p.minding(c, cmd.Target, "")
	if err != nil {
		return err
	}
	out, err := j.driver().Resume(ctx)
	return j.minded(out, err)
}

// minded says what became of the target.
func (j *journey) minded(out rollout.Outcome, err error) error {
	if err == nil {
		j.story.conclude(out.Message)
	}
	return j.say([]outcomeResult{j.outcome(out, err)}, endedAs(out, err))
}
