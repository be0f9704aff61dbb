package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/notify"
	"github.com/slipway-dev/slipway/rollout"
)

// interruptedTelling is how long telling may take where somebody waits for an
// interrupted run to end.
const interruptedTelling = 3 * time.Second

// tells returns how this run tells, once there is something to tell. Of a
// configuration that cannot be read only those commands complain themselves that
// need it for more.
func (p *program) tells() *telling {
	if p.telling == nil {
		c, err := readConfig(p.config)
		if err != nil {
			p.story.warn("notify", "the channels of the configuration are not told: %s", onOneLine(err))
			c = &config{}
		}
		p.telling = newTelling(notifiers(c.Notify, p.getenv))
	}
	return p.telling
}

// toldKinds are the outcomes of which people are told. Held and nothing-to-do
// end no release.
var toldKinds = map[rollout.Kind]notify.Kind{
	rollout.Live: notify.Live, rollout.RolledBack: notify.RolledBack, rollout.Removed: notify.Removed, rollout.Quarantined: notify.Quarantined,
	rollout.NeedsPerson: notify.NeedsPerson, rollout.Failed: notify.Failed, rollout.Superseded: notify.Superseded, rollout.Unfinished: notify.Unfinished,
}

// tellBegun tells that the target is about to change.
func (j *journey) tellBegun(e slipway.Event) {
	if e.Kind != slipway.Started || e.Step != "rollout" || e.Release != j.release.ID || j.tells().herald == nil {
		return
	}
	m := messageOf(rollout.Outcome{Release: j.release})
	m.Kind, m.Title = notify.Begun, fmt.Sprintf("%s is on its way to %s", nameOf(j.release), orElse(j.release.Environment, j.release.Target))
	j.telling.begun[j.release.ID] = true
	j.telling.herald.Remember(j.release.ID, marksIn(j.release))
	j.telling.herald.Tell(m)
}

// tellEnd tells how releases ended: the one that the outcome is about, those it
// left behind, and one that an earlier run had left.
func (p *program) tellEnd(out rollout.Outcome) {
	t := p.tells()
	if t.herald == nil {
		return
	}
	for _, r := range out.Overtaken {
		if r.ID != out.Release.ID {
			t.tell(rollout.Outcome{Kind: rollout.Superseded, Release: r, Serving: out.Serving, Message: nameOf(r) + " was superseded: a newer version was promoted"})
		}
	}
	if r := out.Recovered; r != nil && (r.ID != out.Release.ID || out.Kind == rollout.Nothing) {
		t.tell(rollout.OutcomeOf(*r, out.Serving))
	}
	if !p.keepsQuiet(out) {
		t.tell(out)
	}
}

// keepsQuiet reports whether nobody needs to know. That a version is quarantined
// was told when it was rolled back; it is told again where somebody started a
// pipeline for it, not each time a poll comes upon it. Who interrupts what has
// changed nothing knows, unless it was told that it is on its way.
func (p *program) keepsQuiet(out rollout.Outcome) bool {
	switch {
	case out.Kind == rollout.Quarantined:
		return p.ci == nil
	case out.Interrupted && out.Kind == rollout.Failed:
		return !p.telling.begun[out.Release.ID] && len(marksIn(out.Release)) == 0
	}
	return false
}

// tell tells how a release ended. What failed without one has ended none.
func (t *telling) tell(out rollout.Outcome) {
	if _, ok := toldKinds[out.Kind]; !ok || out.Kind == rollout.Failed && out.Release.ID == "" {
		return
	}
	t.herald.Remember(out.Release.ID, marksIn(out.Release))
	t.herald.Tell(messageOf(out), t.knowing(out)...)
}

// endedMark is under which name Told keeps what kind of end a channel knows.
func endedMark(channel string) string { return channel + "/ended" }

// marksIn is where channels have their messages of the release.
func marksIn(r slipway.Release) map[string]string {
	marks := maps.Clone(r.Told)
	maps.DeleteFunc(marks, func(name, _ string) bool { return strings.HasSuffix(name, "/ended") })
	return marks
}

// knowing returns the channels that an earlier step has told this end.
func (t *telling) knowing(out rollout.Outcome) []string {
	var names []string
	for _, name := range t.herald.Names() {
		if out.Release.Told[endedMark(name)] == string(toldKinds[out.Kind]) {
			names = append(names, name)
		}
	}
	return names
}

// inherit notes in the release who was told what by the steps before. How one
// ended that has not ended, they are told anew.
func (j *journey) inherit(r *slipway.Release) {
	if r.ID == j.release.ID {
		r.Told = j.release.Told
	}
	if !r.Phase.Ended() {
		r.Told = marksIn(*r)
	}
}

// handing is a release that was handed on to the next step before everybody was
// told of it, and how to hand it on again.
type handing struct {
	release slipway.Release
	again   func(slipway.Release) error
}

// handOn notes in what was handed on who was told: whoever was not reached is
// told by a later step.
func (p *program) handOn(told []notify.Told) {
	for _, h := range p.handed {
		before := h.release.Told
		h.release.Told = maps.Collect(maps.All(before))
		maps.Copy(h.release.Told, p.telling.herald.Marks(h.release.ID))
		for _, one := range told {
			if one.Release == h.release.ID && one.Err == nil && one.Kind != notify.Begun {
				h.release.Told[endedMark(one.Channel)] = string(one.Kind)
			}
		}
		if maps.Equal(before, h.release.Told) {
			continue
		}
		if err := h.again(h.release); err != nil {
			p.story.warn("notify", "the next step does not know who was told: %v", err)
		}
	}
}

// messageOf is an outcome as notifications tell it, in the words of the summary.
func messageOf(out rollout.Outcome) notify.Message {
	r := out.Release
	m := notify.Message{
		Kind: toldKinds[out.Kind], Release: r, Serving: out.Serving, Title: headline(out), URL: urlOf(r), At: r.Ended,
		Fix: orElse(out.Hint, fixOf(r.Failure)),
	}
	if m.At.IsZero() || out.Kind == rollout.Quarantined {
		m.At = time.Now()
	}
	if out.Kind == rollout.Live {
		m.Fix = ""
	} else if f := r.Failure; f != nil {
		m.Why = when(!strings.Contains(m.Title, f.Problem.Message), f.Step+": "+f.Problem.Message)
		m.Evidence = when(f.Problem.Evidence != f.Problem.Message, evidence(f.Problem))
	} else {
		m.Why = when(out.Message != m.Title, out.Message)
	}
	if !out.Interrupted && (out.Kind == rollout.RolledBack || out.Kind == rollout.Removed) {
		m.Facts = append(m.Facts, notify.Fact{Name: "again", Value: "not by itself, until another version is promoted, or with slipway deploy --retry"})
	}
	for _, row := range facts(out) {
		m.Facts = append(m.Facts, notify.Fact{Name: row[0], Value: row[1]})
	}
	if !r.Ended.IsZero() && !r.Created.IsZero() {
		m.Facts = append(m.Facts, notify.Fact{Name: "took", Value: seconds(r.Ended.Sub(r.Created))})
	}
	return m
}

// finishTelling waits for what is on its way to the channels, and warns of
// those that were not reached. The release has ended: nothing changes that.
func (p *program) finishTelling(ctx context.Context) {
	if p.telling == nil {
		return
	}
	for _, n := range p.telling.wrong {
		p.warnOf(n.name, n.err)
	}
	if p.telling.herald == nil {
		return
	}
	limit := notify.Limit
	if errors.Is(context.Cause(ctx), errInterrupted) {
		limit = interruptedTelling
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	all := p.telling.herald.Wait(ctx)
	p.handOn(all)
	for _, told := range all {
		if told.Err != nil {
			p.warnOf(told.Channel, told.Err)
		}
	}
}

func (p *program) warnOf(channel string, err error) {
	p.story.warn("notify", "%s was not told: %s", channel, onOneLine(err))
}

// onOneLine is what happened, why, and what mends it.
func onOneLine(err error) string {
	head, reason := what(err)
	return head + orNothing(": ", reason) + "; " + orElse(slipway.HintOf(err), lastResort(slipway.CodeOf(err)))
}
