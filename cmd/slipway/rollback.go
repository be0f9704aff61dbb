package main

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

type rollbackCommand struct {
	targetArgument
	sourceFlags
	ToVersion string `placeholder:"N" help:"The newest verified release of this model version, instead of the last verified one before."`
	NoWayBack bool   `help:"Do not check first that the image can still be pulled."`
	Whole     bool   `name:"whole-template" help:"In a cluster: also take back what others have changed in the pod template since. Without it, that is named and left."`
	Reason    string `placeholder:"TEXT" help:"Why, for the history."`
	Release   string `placeholder:"FILE" default:"release.json" help:"Without TARGET: the release whose target is rolled back, if the file exists."`
}

// Run goes back to what was verified before, and verifies it again.
func (cmd rollbackCommand) Run(ctx context.Context, p *program, c *cli) error {
	j, err := cmd.journey(p, c)
	if err != nil {
		return err
	}
	to := rollout.Return{Version: slipway.Version(cmd.ToVersion), Actor: actor(p.getenv), RunURL: runURL(p.getenv), Reason: cmd.Reason, WholeTemplate: cmd.Whole}
	if !cmd.NoWayBack {
		to.WayBack = j.wayBack
	}
	j.count(ctx)
	out, err := j.driver().Rollback(ctx, to)
	j.settle(ctx, &out, err)
	return j.say([]outcomeResult{j.outcome(out, err)}, endedAs(out, err))
}

// journey is one of the target alone: no model is named.
func (cmd rollbackCommand) journey(p *program, c *cli) (*journey, error) {
	if cmd.Target == "" {
		if _, err := os.Stat(cmd.Release); !errors.Is(err, fs.ErrNotExist) {
			return p.resumeJourney(handover{path: cmd.Release}, cmd.MLflow)
		}
	}
	return p.minding(c, cmd.Target, cmd.MLflow)
}

// minding returns a journey of a target alone, for commands that mind one.
func (p *program) minding(c *cli, target, mlflow string) (*journey, error) {
	at, err := c.onePlace(target)
	if err != nil {
		return nil, err
	}
	s := settings{to: at.ref, environment: at.Environment, mlflowURI: mlflow}
	world, err := p.connect(s)
	if err != nil {
		return nil, err
	}
	return &journey{program: p, ports: world, settings: s}, nil
}
