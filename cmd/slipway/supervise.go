package main

import (
	"context"

	"github.com/slipway-dev/slipway/local"
)

type superviseCommand struct {
	State string `required:"" placeholder:"DIR" help:"The folder of the local target."`
}

// Run keeps a local target's replicas running until it is stopped.
func (cmd superviseCommand) Run(ctx context.Context, p *program) error {
	return local.Supervise(ctx, cmd.State, p.getenv)
}
