package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
	"github.com/slipway-dev/slipway/rollout"
)

type notifyCommand struct {
	handedFlags
	Status string `placeholder:"STATUS" help:"How it ended, from the output status of the last step, where the release itself does not say: held, quarantined, nothing-to-do."`
	Test   bool   `var:"SLIPWAY_NOTIFY_TEST" help:"Send a test message to every channel instead, and say how that went."`
}

// Run tells how a release ended, or how far it came, from what the steps before
// have left. It is the last job of a pipeline, and fails none.
func (cmd notifyCommand) Run(ctx context.Context, p *program) error {
	if cmd.Test {
		return p.testChannels(ctx)
	}
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
	if kind := rollout.Kind(cmd.Status); outvotes(kind, out) {
		out.Kind, out.Message = kind, r.Model.String()+": "+cmd.Status
	}
	p.tellLeft(out)
	if r.Phase == slipway.Refused || !r.Phase.Ended() && out.Kind == rollout.Unfinished { // of others the job that ended them has told
		if err := p.concludedInCI(out); err != nil {
			return err
		}
	}
	return p.result(out, func(w io.Writer) { fmt.Fprintln(w, clean(mark(out.Kind)+headline(out))) })
}

// outvotes reports whether a status says more than the release. A step that was
// cut short may say otherwise than the one after it, which has ended the
// release: then the release says it.
func outvotes(kind rollout.Kind, out rollout.Outcome) bool {
	switch kind {
	case "", out.Kind:
		return false
	case rollout.Held, rollout.Quarantined, rollout.Nothing:
		return true
	}
	return !out.Release.Phase.Ended()
}

// tellLeft tells the channels that no job before has told. Whatever has not
// ended by now is left as it is.
func (p *program) tellLeft(out rollout.Outcome) {
	r := out.Release
	switch {
	case out.Kind == rollout.Unverified || out.Kind == rollout.Unfinished && r.Phase.Moved():
		out.Kind, out.Hint = rollout.Unfinished, "slipway recover "+r.Target
	case out.Kind == rollout.Unfinished:
		out.Message = fmt.Sprintf("%s came no further than %s, as far as the steps have handed on", nameOf(r), r.Phase)
		out.Hint = orElse(orNothing("slipway status ", r.Target), "the log of the step after it says why")
	}
	p.tellEnd(out)
}

// testChannels sends a test message to each channel that is asked for.
func (p *program) testChannels(ctx context.Context) error {
	c, err := readConfig(p.config)
	if err != nil {
		return err
	}
	all := notifiers(c.Notify, p.getenv)
	errs := p.tellTest(ctx, newTelling(all).herald)
	result := diagnosis{Works: true}
	for _, n := range all {
		if !n.asked {
			continue
		}
		f := channelFinding(n)
		if told := errs[n.name]; f.Mark == works && told != nil {
			f = failed("notify", n.name, told)
		} else if f.Mark == works {
			f.Found = "the test message is there"
		}
		if f.Mark == noted { // a test is to find out what a release would not say
			f.Mark = fails
		}
		result.Findings, result.Works = append(result.Findings, f), result.Works && f.Mark == works
	}
	if len(result.Findings) == 0 {
		return usageError{usagef("nobody is to be told: no channel is set up").
			WithHint("set SLIPWAY_SLACK_TOKEN and SLIPWAY_SLACK_CHANNEL, or another channel of docs/notifications.md")}
	}
	if err := p.result(result, func(w io.Writer) { result.print(w, p.sheet(w)) }); err != nil || result.Works {
		return err
	}
	return ended{code: exitFailed}
}

// tellTest returns the errors by channel.
func (p *program) tellTest(ctx context.Context, herald *notify.Herald) map[string]error {
	errs := map[string]error{}
	if herald == nil {
		return errs
	}
	m := notify.Message{Kind: notify.Test, Title: "A test message of slipway: no release has ended", At: time.Now(), Facts: []notify.Fact{{Name: "sent by", Value: actor(p.getenv)}}}
	m.Release.RunURL = runURL(p.getenv)
	if m.Release.RunURL != "" {
		m.Facts = append(m.Facts, notify.Fact{Name: "run", Value: m.Release.RunURL})
	}
	herald.Tell(m)
	ctx, cancel := context.WithTimeout(ctx, notify.Limit)
	defer cancel()
	for _, told := range herald.Wait(ctx) {
		errs[told.Channel] = told.Err
	}
	return errs
}

// channels looks at the settings of each channel that is asked for. It sends
// nothing.
func (d *doctor) channels(context.Context) []finding {
	var found []finding
	for _, n := range notifiers(d.notify, d.p.getenv) {
		if n.asked {
			found = append(found, channelFinding(n))
		}
	}
	return found
}

// channelFinding says of a channel that is asked for whether its settings are
// whole. It sends nothing.
func channelFinding(n notifier) finding {
	switch {
	case n.missing != "":
		return failed("notify", n.name, n.err).tolerable() // a release goes on without it
	case n.err != nil:
		return failed("notify", n.name, n.err)
	}
	return good("notify", n.name, "set; slipway notify --test sends a message")
}
