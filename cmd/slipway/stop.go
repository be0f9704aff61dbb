package main

import (
	"context"
	"fmt"
	"io"
)

type stopCommand struct {
	targetArgument
}

// stopResult says what was ended.
type stopResult struct {
	place
	Stopped bool `json:"stopped"`
}

// Run ends what serves on a local target, after what is in flight. Its journal
// stays.
func (cmd stopCommand) Run(ctx context.Context, p *program, c *cli) error {
	at, err := c.onePlace(cmd.Target)
	if err != nil {
		return err
	}
	world, err := p.connect(settings{to: at.ref})
	if err != nil {
		return err
	}
	if err := world.local.Stop(ctx); err != nil {
		return err
	}
	return p.result(stopResult{at, true}, func(w io.Writer) { fmt.Fprintln(w, at.Target, "serves nothing any more") })
}
