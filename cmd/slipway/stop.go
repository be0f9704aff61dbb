package main

import (
	"context"
	"fmt"
	"io"

	"github.com/slipway-dev/slipway"
)

type stopCommand struct {
	targetArgument
}

// stopResult says what was ended.
type stopResult struct {
	place
	Stopped bool `json:"stopped"`
}

// stopInCluster refuses: a Deployment is not ours to end.
func stopInCluster(ref slipway.TargetRef) error {
	context := ""
	if name := ref.Query.Get("context"); name != "" {
		context = " --context " + name
	}
	return usageError{usagef("%s runs in a cluster, and stop ends what runs on this machine", ref).
		WithHint("kubectl%s scale deployment/%s --replicas=0 -n %s (and slipway hold %s, so that no release starts it again)", context, ref.Name, ref.Namespace, ref)}
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
	if world.local == nil {
		return stopInCluster(at.ref)
	}
	if err := world.local.Stop(ctx); err != nil {
		return err
	}
	return p.result(stopResult{at, true}, func(w io.Writer) { fmt.Fprintln(w, at.Target, "serves nothing any more") })
}
