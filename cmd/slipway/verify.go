package main

import "context"

type verifyCommand struct {
	sourceFlags
	MoveAlias bool `help:"After a rollback, point the alias back at the version that serves."`
	handedFlags
}

// Run asks every new replica; the release then is live, or rolled back.
func (cmd verifyCommand) Run(ctx context.Context, p *program) error {
	h := cmd.handover()
	j, err := p.resumeJourney(h, cmd.MLflow)
	if err != nil {
		return err
	}
	if err := j.needsTarget(); err != nil {
		return err
	}
	j.rolling.MoveAlias = cmd.MoveAlias
	out, err := j.driver().Verify(ctx, j.release)
	return j.finish(ctx, h, out, err)
}
