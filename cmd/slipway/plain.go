package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

// quietFor is how long plain output says nothing while a step lasts.
const quietFor = 10 * time.Second

// plain writes one line an event, for CI logs: what changes on the target, not
// each look at it, and after some quiet what is waited for. Indicators stand
// on lines of their own, so that both grep and grep -x find them.
type plain struct {
	mu  sync.Mutex
	out io.Writer
	ci  runner // folds what a step says while it lasts; nil: nobody does

	step      string    // that lasts; empty: none
	folded    bool      // its lines are
	started   time.Time // when it began
	said      string    // of its progress
	scene     scene     // the target as it was seen last; zero: not yet
	mentioned time.Time // when the last line was written, by the clock of this machine

	stop, done chan struct{}
}

var _ teller = (*plain)(nil)

func newPlain(out io.Writer, ci runner) *plain {
	p := &plain{out: out, ci: ci, stop: make(chan struct{}), done: make(chan struct{})}
	go p.run()
	return p
}

// run breaks long silences.
func (p *plain) run() {
	defer close(p.done)
	tick := time.NewTicker(quietFor / 10)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
			p.beat(time.Now())
		}
	}
}

func (p *plain) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == "" || now.Sub(p.mentioned) < quietFor {
		return
	}
	text := orElse(p.said, "not done yet")
	if p.said == "" && len(p.scene.observed.Replicas) > 0 {
		text = orElse(p.scene.summary(), "the target is not set yet") + orNothing("; ", p.scene.waitsFor(now))
	}
	text += ", " + wholeSeconds(now.Sub(p.started)) + " so far" + leftText(p.scene.deadline, now)
	p.line(slipway.Event{At: now, Step: p.step}, text)
}

func (p *plain) close() {
	close(p.stop)
	<-p.done
}

func (p *plain) say(func() string) {}

func (p *plain) title(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintln(p.out, text)
}

func (p *plain) advice(what, command string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "  %-7s %s\n", what, indent(command))
}

func (p *plain) tell(e slipway.Event, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch e.Kind {
	case slipway.Started:
		p.begin(e)
	case slipway.Progress:
		p.said = progressText(e)
		return
	case slipway.Observed:
		p.see(e)
		return
	case slipway.Warning:
		if p.ci != nil {
			p.ci.Warning("slipway "+e.Step, clean(e.Message))
		}
	case slipway.Succeeded, slipway.Stopped, slipway.Concluded:
		p.unfold()
		p.step = when(p.step != e.Step, p.step)
	}
	switch text := eventText(e); {
	case text == "":
	case took >= time.Millisecond:
		p.line(e, text+" ("+seconds(took)+")")
	default:
		p.line(e, text)
	}
	if e.Indicator != "" {
		fmt.Fprintln(p.out, clean(e.Indicator))
	}
}

func (p *plain) begin(e slipway.Event) {
	p.unfold()
	p.step, p.started, p.said, p.mentioned = e.Step, e.At, "", time.Now()
	if !onTarget(e.Step) {
		p.scene = scene{}
	}
	p.scene.deadline = e.Deadline
}

// see tells what has changed on the target since it was looked at last.
func (p *plain) see(e slipway.Event) {
	seen := sceneOf(e)
	for _, change := range seen.changes(p.scene, e.At) {
		p.line(e, change)
	}
	p.scene = seen
}

// fold hides what a step says while it lasts behind the step's name; how it
// ended is always in view.
func (p *plain) fold(e slipway.Event) {
	if p.ci != nil && !p.folded && e.Step == p.step && e.Kind != slipway.Warning {
		p.ci.Open(e.Step)
		p.folded = true
	}
}

func (p *plain) unfold() {
	if p.folded {
		p.ci.Close()
	}
	p.folded = false
}

func (p *plain) line(e slipway.Event, text string) {
	p.fold(e)
	p.mentioned = time.Now()
	for i, l := range strings.Split(clean(text), "\n") {
		if i == 0 {
			fmt.Fprintf(p.out, "%s %-9s %s\n", e.At.Format("15:04:05"), e.Step, l)
		} else {
			fmt.Fprintf(p.out, "                   %s\n", l)
		}
	}
}

// eventText is what an event says to people, without its step.
func eventText(e slipway.Event) string {
	switch e.Kind {
	case slipway.Warning:
		return "warning: " + e.Message
	case slipway.Stopped:
		return problemText(e)
	}
	return e.Message
}

// problemText is the problem's message, its evidence below.
func problemText(e slipway.Event) string {
	if e.Problem == nil {
		return e.Message
	}
	text := orElse(e.Problem.Message, e.Message)
	if e.Problem.Evidence != "" && e.Problem.Evidence != text {
		text += "\n" + evidence(*e.Problem)
	}
	return text
}

// evidenceLines is how many lines of evidence are shown as they are.
const evidenceLines = 6

// evidence is what shows the problem, in a few lines: a long one, which is an
// indented request, is joined.
func evidence(p slipway.Problem) string {
	text := strings.TrimRight(p.Evidence, "\n")
	if strings.Count(text, "\n") < evidenceLines {
		return text
	}
	return clip(strings.Join(strings.Fields(text), " "), 600)
}

// progressText is how far a step is: "52 kB of 13 MB".
func progressText(e slipway.Event) string {
	switch {
	case e.Unit == "bytes" && e.Total > 0:
		return bytesText(e.Done) + " of " + bytesText(e.Total)
	case e.Unit == "bytes":
		return bytesText(e.Done)
	case e.Total > 0:
		return fmt.Sprintf("%d of %d %s", e.Done, e.Total, e.Unit)
	}
	return e.Message
}
