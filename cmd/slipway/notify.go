package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

type notifyCommand struct {
	handedFlags
	Status string `placeholder:"STATUS" help:"How it ended, from the output status of the last step, where the release itself does not say: held, quarantined, nothing-to-do."`
}

// Run tells how a release ended, or how far it came, from what the steps before
// have left. It is the last job of a pipeline, and fails none.
func (cmd notifyCommand) Run(_ context.Context, p *program) error {
	h := cmd.handover()
	if err := h.take(); err != nil {
		return err
	}
	r, err := h.read()
	if errors.Is(err, fs.ErrNotExist) {
		p.story.warn("notify", "no release was begun: no step has left one")
		return nil
	}
	if err != nil {
		return err
	}
	out := rollout.OutcomeOf(r, r.Previous)
	if kind := rollout.Kind(cmd.Status); kind != "" && kind != out.Kind {
		out.Kind, out.Message = kind, r.Model.String()+": "+cmd.Status
	}
	if r.Phase == slipway.Refused || !r.Phase.Ended() && out.Kind == rollout.Unfinished { // of others the job that ended them has told
		if err := p.concluded(out); err != nil {
			return err
		}
	}
	return p.result(out, func(w io.Writer) { fmt.Fprintln(w, clean(mark(out.Kind)+headline(out))) })
}
