package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/slipway-dev/slipway"
)

type pendingCommand struct {
	modelFlags
	placeFlags
	Retry bool `help:"Count a quarantined version as pending."`
}

// pendingRelease is a promotion that is not live yet.
type pendingRelease struct {
	Model       string          `json:"model"` // as it is asked for: models:/iris@champion
	Version     slipway.Version `json:"version"`
	Environment string          `json:"environment"`
	Target      string          `json:"target"`
}

// maxTogether bounds the jobs of a matrix (GitHub takes 256).
const maxTogether = 256

// Run lists what is promoted and not live, in the order in which it is to be
// released. It changes nothing, and asks no more than the model registry and
// the targets' journals.
func (cmd pendingCommand) Run(ctx context.Context, p *program, c *cli) error {
	file, err := readConfig(c.Config)
	if err != nil {
		return err
	}
	all, err := choose(cmd.modelFlags, cmd.placeFlags, file, p.getenv)
	if err != nil {
		return err
	}
	found, together := []pendingRelease{}, maxTogether
	for _, s := range all {
		if err := s.needsTarget(); err != nil {
			return err
		}
		waiting, err := p.pending(ctx, s, cmd.Retry)
		if err != nil {
			return err
		}
		if waiting == nil {
			continue
		}
		if found = append(found, *waiting); s.after != "" {
			together = 1 // one after the other, for the later one needs the earlier
		}
	}
	if err := p.outputPending(found, together); err != nil {
		return err
	}
	return p.result(found, func(w io.Writer) {
		for _, f := range found {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", f.Model, f.Version, f.Environment, f.Target)
		}
	})
}

// pending returns what is to be released to one target; nil: nothing. A target
// that cannot be asked is left to the release, which says what is wrong with it.
func (p *program) pending(ctx context.Context, s settings, retry bool) (*pendingRelease, error) {
	j, err := p.begin(s)
	if err != nil {
		return nil, err
	}
	version, err := j.resolved(ctx)
	if slipway.CodeOf(err) == slipway.NotFound && s.ref.Moves() && !s.strict {
		head, reason := what(err)
		p.story.warn("resolve", "%s", head+orNothing(": ", reason))
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	where := fmt.Sprintf("%s in %s", version, orElse(s.environment, s.targetText()))
	switch would, err := j.outlook(ctx, version); {
	case err != nil:
		p.story.warn("resolve", "%s is taken as pending, for its target cannot be asked: %v", where, err)
	case would != "deploy" && (would != "quarantined" || !retry):
		p.story.note("resolve", "%s: %s", where, would)
		return nil, nil
	}
	p.story.note("resolve", "%s: pending", where)
	return &pendingRelease{Model: s.ref.String(), Version: version.Version, Environment: s.environment, Target: s.targetText()}, nil
}

// outlook is what a deploy of the version would do by the target's record:
// deploy, nothing-to-do, quarantined or held.
func (j *journey) outlook(ctx context.Context, version slipway.ModelVersion) (string, error) {
	record, err := j.journal.Load(ctx)
	if err != nil {
		return "", err
	}
	j.release.Model = version
	return j.would(record), nil
}

// outputPending hands the list to a CI system as a matrix.
func (p *program) outputPending(found []pendingRelease, together int) error {
	if p.ci == nil {
		return nil
	}
	list, err := json.Marshal(found)
	if err != nil {
		return &slipway.Error{Op: "listing what is pending", Code: slipway.Internal, Err: err}
	}
	err = errors.Join(p.ci.Output("pending", string(list)), p.ci.Output("count", strconv.Itoa(len(found))), p.ci.Output("parallel", strconv.Itoa(together)))
	if len(found) > 0 { // for pipelines that take one a run, and cannot read JSON
		err = errors.Join(err, p.ci.Output("model", found[0].Model))
	}
	return err
}
