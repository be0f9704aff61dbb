package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// quietFor is how often plain output mentions the progress of a long step.
const quietFor = 10 * time.Second

// plain writes one line an event, for CI logs. Indicators stand on lines of
// their own, so that both grep and grep -x find them.
type plain struct {
	out       io.Writer
	mentioned time.Time
}

var _ teller = (*plain)(nil)

func (p *plain) title(text string) { fmt.Fprintln(p.out, text) }
func (p *plain) close()            {}
func (p *plain) say(func() string) {}

func (p *plain) advice(what, command string) {
	fmt.Fprintf(p.out, "  %-7s %s\n", what, indent(command))
}

func (p *plain) tell(e slipway.Event, took time.Duration) {
	switch e.Kind {
	case slipway.Started:
		p.mentioned = e.At
	case slipway.Progress, slipway.Observed:
		if text := progressText(e); text != "" && e.At.Sub(p.mentioned) >= quietFor {
			p.mentioned = e.At
			p.line(e, text)
		}
		return
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

func (p *plain) line(e slipway.Event, text string) {
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
	if e.Problem.Evidence != "" {
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

// progressText is how far a step is: "52 kB of 13 MB", "●●○ new  ●● old".
func progressText(e slipway.Event) string {
	switch {
	case e.Observation != nil:
		return replicasText(*e.Observation, e.Release)
	case e.Unit == "bytes" && e.Total > 0:
		return bytesText(e.Done) + " of " + bytesText(e.Total)
	case e.Unit == "bytes":
		return bytesText(e.Done)
	case e.Total > 0:
		return fmt.Sprintf("%d of %d %s", e.Done, e.Total, e.Unit)
	}
	return e.Message
}

// replicasText draws the replicas, the release's own and all others: a full dot
// is ready, an empty one is not.
func replicasText(o slipway.Observation, release slipway.ReleaseID) string {
	var fresh, old, waiting string
	for _, r := range o.Replicas {
		dot := "○"
		if r.State == slipway.Ready {
			dot = "●"
		}
		if r.Release != release {
			old += dot
			continue
		}
		fresh += dot
		if r.State == slipway.Starting || r.State == slipway.Failed {
			waiting = "  " + r.Name + " " + string(r.State)
		}
	}
	var parts []string
	if fresh != "" {
		parts = append(parts, fresh+" new")
	}
	if old != "" {
		parts = append(parts, old+" old")
	}
	return strings.Join(parts, "   ") + waiting
}
