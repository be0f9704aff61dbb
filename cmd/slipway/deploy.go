package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

type deployCommand struct {
	modelFlags
	placeFlags
	checkFlags
	buildFlags
	rolloutFlags
}

// Run deploys what the arguments name, or all of slipway.yaml in its order. A
// release that does not become live ends the run: what comes after it waits.
func (cmd deployCommand) Run(ctx context.Context, p *program, c *cli) error {
	all, err := cmd.settings(p, c)
	if err != nil {
		return err
	}
	var results []outcomeResult
	for _, s := range all {
		j, err := cmd.journey(p, s)
		if err != nil {
			return err
		}
		out, err := j.inTurn(ctx, results)
		results = append(results, j.outcome(out, err))
		if err := endedAs(out, err); err != nil {
			return p.say(results, err)
		}
	}
	return p.say(results, nil)
}

// inTurn deploys, unless the environment comes after one of the results that
// has nothing verified to show for it.
func (j *journey) inTurn(ctx context.Context, results []outcomeResult) (rollout.Outcome, error) {
	for _, before := range results {
		if before.Environment != j.after || before.asked != j.ref {
			continue
		}
		if before.Kind != rollout.Live && before.Kind != rollout.Nothing {
			message := fmt.Sprintf("%s waits: %s answered %s", j.environment, j.after, before.Kind)
			j.story.conclude(message)
			return rollout.Outcome{Kind: waits, Message: message}, nil
		}
	}
	return j.deploy(ctx)
}

// settings returns all releases to make; each has an image and a target.
func (cmd deployCommand) settings(p *program, c *cli) ([]settings, error) {
	file, err := readConfig(c.Config)
	if err != nil {
		return nil, err
	}
	all, err := choose(cmd.modelFlags, cmd.placeFlags, file, p.getenv)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if err := errors.Join(all[i].needsTarget(), all[i].needsImage()); err != nil {
			return nil, err
		}
		if all[i].server, err = absolute(cmd.Server); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// absolute makes a path good for processes with other working directories.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	return filepath.Abs(path)
}

func (cmd deployCommand) journey(p *program, s settings) (*journey, error) {
	j, err := p.begin(s)
	if err != nil {
		return nil, err
	}
	j.checks, j.making, j.engine, j.rolling = cmd.checkFlags, cmd.buildFlags, cmd.engineFlags, cmd.rolloutFlags
	return j, nil
}

// deploy takes the release the whole way. The outcome says how it ended also
// when there is an error.
func (j *journey) deploy(ctx context.Context) (rollout.Outcome, error) {
	out, err := j.driver().Deploy(ctx, j.ask(j.prepare))
	var left notPromoted
	var moved notProven
	switch {
	case errors.As(err, &left):
		return rollout.Outcome{Kind: rollout.Nothing, Release: *left.serving, Serving: left.serving, Message: left.Error()}, nil
	case errors.As(err, &moved):
		return rollout.Outcome{Kind: waits, Message: moved.Error()}, nil
	}
	out.Release = j.ofThis(out.Release, err)
	j.settle(ctx, &out, err)
	return out, err
}

// ofThis is the release of an outcome, or the journey's own where it failed
// before there was another.
func (j *journey) ofThis(r slipway.Release, err error) slipway.Release {
	if r.ID == "" && err != nil {
		return j.release
	}
	return r
}

// prepare makes the release of a version: validated, built and pushed. It is
// asked again when another version was promoted meanwhile.
func (j *journey) prepare(ctx context.Context, version slipway.ModelVersion) (slipway.Release, error) {
	if version.Version != j.release.Model.Version {
		if err := j.restart(version); err != nil {
			return j.release, err
		}
	}
	defer j.cleanUp()
	for _, step := range []func(context.Context) error{j.find, j.keepReplicas, j.checkSecrets, j.validate, j.build, j.push, j.create} {
		if err := step(ctx); err != nil {
			return j.release, err
		}
	}
	j.count(ctx)
	return j.release, nil
}

// checkSecrets finds out before anything is built what the target would only
// say at the end. In steps only the rollout needs the values.
func (j *journey) checkSecrets(context.Context) error {
	if j.to.Scheme != "local" {
		return nil // they lie in the cluster, and reading them is not ours
	}
	for _, name := range j.release.SecretEnv {
		if j.getenv(name) == "" {
			return slipway.Errorf(slipway.Invalid, "deploying "+j.release.Model.String(), "the secret %s has no value", name).
				WithHint("set the environment variable %s", name)
		}
	}
	return nil
}

// restart begins a new release of a newer version.
func (j *journey) restart(version slipway.ModelVersion) error {
	now := time.Now().UTC()
	id, err := slipway.NewReleaseID(now, rand.Reader)
	if err != nil {
		return err
	}
	j.release.ID, j.release.Created, j.release.Model, j.release.Spans = id, now, version, nil
	j.release.Image = slipway.Image{Repository: j.image}
	j.work, j.packages, j.notLocked, j.saidUnlocked = work{}, nil, nil, false
	j.story.note("resolve", "%s points at %s now", j.ref.Promotion(), version)
	return nil
}

// settle records how the release ended in the model registry, tells people, and
// tells the end in the log where the driver has not.
func (j *journey) settle(ctx context.Context, out *rollout.Outcome, err error) {
	j.record(ctx, *out)
	j.inherit(&out.Release)
	j.tellEnd(*out)
	if err == nil {
		j.farewell(*out)
	}
}

// farewell says how it ended, and what to do about it.
func (j *journey) farewell(out rollout.Outcome) {
	switch out.Kind {
	case rollout.Live, rollout.Resumed:
		return
	case rollout.RolledBack, rollout.Removed, rollout.NeedsPerson, rollout.Failed, rollout.Superseded:
		j.story.advice("why", j.explains(out.Release.ID))
	default:
		j.story.conclude(out.Message)
	}
	if out.Hint != "" && !strings.HasPrefix(out.Hint, "slipway explain") {
		j.story.advice("fix", out.Hint)
	}
	if rolledBack := out.Kind == rollout.RolledBack || out.Kind == rollout.Removed; rolledBack && j.ref != (slipway.ModelRef{}) {
		j.story.advice("again", j.again()+" --retry")
	}
}

func asError[T error](err error, target *T) bool { return errors.As(err, target) }
