package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// waits is the outcome of a release whose environment comes after one that has
// not verified this version.
const waits rollout.Kind = "waits"

// notProven is that the environment before has not verified the version: no
// failure, the run that comes after its verification brings it.
type notProven struct {
	why     string
	version slipway.ModelVersion
}

func (n notProven) Error() string { return n.why }

// provenBefore makes sure that the version was verified where this environment
// comes after. It asks that target's own journal, so it holds for every way to
// deploy and on every machine.
func (j *journey) provenBefore(ctx context.Context, version slipway.ModelVersion) error {
	if j.afterTarget == "" {
		return nil
	}
	record, err := j.recordOf(ctx, j.afterTarget)
	if err != nil || wasVerified(record, version) {
		return err
	}
	now := "nothing is live there"
	if record.Live != nil {
		now = "it is live with " + record.Live.Model.String()
	}
	left := notProven{fmt.Sprintf("%s waits: %s has not verified %s; %s", orElse(j.environment, j.targetText()), orElse(j.after, j.afterTarget), version, now), version}
	j.story.warn("resolve", "%s", left)
	return ended{code: exitLive, cause: left}
}

func (j *journey) recordOf(ctx context.Context, target string) (slipway.Record, error) {
	var s settings
	if err := s.setTarget(target); err != nil {
		return slipway.Record{}, err
	}
	world, err := j.connect(s)
	if err != nil {
		return slipway.Record{}, err
	}
	return world.journal.Load(ctx)
}

// wasVerified reports whether the version became live there and nobody has
// taken it back since.
func wasVerified(record slipway.Record, version slipway.ModelVersion) bool {
	if record.Quarantined(version) != nil {
		return false
	}
	is := func(r slipway.Release) bool {
		return r.Model.Name == version.Name && r.Model.Version == version.Version
	}
	if record.Live != nil && is(*record.Live) {
		return true
	}
	for _, r := range record.History {
		if r.Phase == slipway.Verified && is(r) {
			return true
		}
	}
	return false
}

// mustBeProven makes waiting an error, for a step: the job after it must not
// take what an earlier run left for its result.
func mustBeProven(err error, before string) error {
	var left notProven
	if !errors.As(err, &left) {
		return err
	}
	return slipway.Errorf(slipway.Conflict, "", "%s", left.why).WithHint("deploy it there first: slipway deploy --environment %s", word(before))
}
