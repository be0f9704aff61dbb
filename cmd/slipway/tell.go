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

// tells returns how this run tells, once there is something to tell. A
// configuration that cannot be read is the command's own to complain of.
func (p *program) tells() *telling {
	if p.telling == nil {
		c, err := readConfig(p.config)
		if err != nil {
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
	j.telling.herald.Remember(j.release.ID, j.release.Told)
	j.telling.herald.Tell(m)
}

// tellEnd tells how releases ended: the one that the outcome is about, those it
// left behind, and one that an earlier run had left. That a version is
// quarantined was told when it was rolled back; it is told again where somebody
// started a pipeline for it, not each time a poll comes upon it.
func (p *program) tellEnd(out rollout.Outcome) {
	t := p.tells()
	if t.herald == nil || out.Interrupted && out.Kind == rollout.Failed || out.Kind == rollout.Quarantined && p.ci == nil {
		return
	}
	for _, r := range out.Overtaken {
		t.tell(rollout.Outcome{Kind: rollout.Superseded, Release: r, Serving: out.Serving, Message: nameOf(r) + " was superseded: a newer version was promoted"})
	}
	if r := out.Recovered; r != nil && (r.ID != out.Release.ID || out.Kind == rollout.Nothing) {
		t.tell(rollout.OutcomeOf(*r, out.Serving))
	}
	t.tell(out)
}

func (t *telling) tell(out rollout.Outcome) {
	if _, ok := toldKinds[out.Kind]; !ok {
		return
	}
	t.herald.Remember(out.Release.ID, marksIn(out.Release))
	t.herald.Tell(messageOf(out), t.knowing(out.Release)...)
}

// endedMark is what Told calls a channel that knows how the release ended.
func endedMark(channel string) string { return channel + "/ended" }

// marksIn is where channels have their messages of the release.
func marksIn(r slipway.Release) map[string]string {
	marks := maps.Clone(r.Told)
	maps.DeleteFunc(marks, func(name, _ string) bool { return strings.HasSuffix(name, "/ended") })
	return marks
}

// knowing returns the channels that an earlier step has told how the release
// ended.
func (t *telling) knowing(r slipway.Release) []string {
	var names []string
	for _, name := range t.herald.Names() {
		if r.Phase.Ended() && r.Told[endedMark(name)] != "" && !t.ending[r.ID] {
			names = append(names, name)
		}
	}
	return names
}

// carry notes in the release what the next step needs to tell more of it.
func (j *journey) carry(r *slipway.Release) {
	t := j.tells()
	if r.ID == "" || t.herald == nil {
		if r.ID == j.release.ID {
			r.Told = j.release.Told
		}
		return
	}
	told := map[string]string{}
	if r.ID == j.release.ID {
		maps.Copy(told, j.release.Told)
	}
	maps.Copy(told, t.herald.Marks(r.ID))
	if r.Phase.Ended() {
		for _, name := range t.herald.Names() {
			told[endedMark(name)] = "yes"
		}
		t.ending[r.ID] = true
	}
	r.Told = told
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
	for _, told := range p.telling.herald.Close(ctx) {
		if told.Err != nil {
			p.warnOf(told.Channel, told.Err)
		}
	}
}

func (p *program) warnOf(channel string, err error) {
	head, reason := what(err)
	p.story.warn("notify", "%s was not told: %s; %s", channel, head+orNothing(": ", reason), orElse(slipway.HintOf(err), lastResort(slipway.CodeOf(err))))
}
