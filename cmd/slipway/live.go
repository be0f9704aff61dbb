package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/slipway-dev/slipway"
)

// narrow is how many columns of text a line needs to have its time beside it.
const narrow = 40

// redraw is how often the live line moves.
const redraw = 80 * time.Millisecond

var spinner = []string{"⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"}

// live writes one line a step on a terminal; the last one moves until its step
// ends. Steps follow one another, so one moving line is enough.
type live struct {
	mu    sync.Mutex
	out   io.Writer
	width func() int
	color bool

	step, text string        // of the moving line; step is empty when nothing moves
	aside      func() string // said at the end of the moving line; may be nil
	frame      int
	stop, done chan struct{}
}

var _ teller = (*live)(nil)

func newLive(out io.Writer, width func() int, color bool) *live {
	l := &live{out: out, width: width, color: color, stop: make(chan struct{}), done: make(chan struct{})}
	go l.run()
	return l
}

func (l *live) run() {
	defer close(l.done)
	tick := time.NewTicker(redraw)
	defer tick.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-tick.C:
			l.mu.Lock()
			l.frame++
			l.draw()
			l.mu.Unlock()
		}
	}
}

func (l *live) close() {
	close(l.stop)
	<-l.done
	l.erase()
}

func (l *live) title(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	fmt.Fprintf(l.out, "\n%s\n\n", l.paint(bold, text))
}

func (l *live) say(aside func() string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aside = aside
}

func (l *live) advice(what, command string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.erase()
	fmt.Fprintf(l.out, "  %s %s\n", l.paint(faint, fmt.Sprintf("%-7s", what)), indent(command))
}

func (l *live) tell(e slipway.Event, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case slipway.Started:
		l.step, l.text = e.Step, clean(e.Message)
	case slipway.Progress, slipway.Observed:
		l.text = clean(progressText(e))
		return // the next redraw shows it
	case slipway.Succeeded:
		l.end(l.paint(green, "✓"), e, took)
	case slipway.Stopped:
		l.end(l.paint(red, "✗"), e, took)
	case slipway.Warning:
		l.print(l.paint(yellow, "!"), e.Step, clean(e.Message), "")
	case slipway.Note:
		if e.Message != "" {
			l.print(" ", e.Step, clean(e.Message), "")
		}
	case slipway.Concluded:
		l.erase()
		fmt.Fprintf(l.out, "\n%s\n", clean(e.Message))
	}
	l.draw()
}

func (l *live) end(mark string, e slipway.Event, took time.Duration) {
	if l.step == e.Step {
		l.step = ""
	}
	if e.Step == "rollback" && e.Kind == slipway.Succeeded {
		mark = l.paint(yellow, "↩")
	}
	l.print(mark, e.Step, clean(eventText(e)), when(took >= time.Millisecond, seconds(took)))
}

// print writes a line that stays, above the moving one.
func (l *live) print(mark, step, text, took string) {
	l.erase()
	lines := strings.Split(text, "\n")
	head := fmt.Sprintf("%-10s ", step)
	room := l.width() - 4 - len(head)
	if room < narrow {
		took = ""
	}
	if took != "" {
		room -= 10
	}
	for i, line := range wrap(lines[0], room) {
		switch {
		case i == 0 && took != "":
			fmt.Fprintf(l.out, "  %s %s%s %s\n", mark, head, runewidth.FillRight(line, room), l.paint(faint, fmt.Sprintf("%9s", took)))
		case i == 0:
			fmt.Fprintf(l.out, "  %s %s%s\n", mark, head, line)
		default:
			fmt.Fprintf(l.out, "    %s%s\n", strings.Repeat(" ", len(head)), line)
		}
	}
	for _, line := range lines[1:] {
		fmt.Fprintf(l.out, "      %s\n", line)
	}
}

// draw writes the moving line in place.
func (l *live) draw() {
	if l.step == "" {
		return
	}
	text := fmt.Sprintf("%-10s %s", l.step, l.text)
	if l.aside != nil {
		text = runewidth.FillRight(text, l.width()/2) + "   " + l.aside()
	}
	text = runewidth.Truncate(text, l.width()-5, "…")
	fmt.Fprintf(l.out, "\r\x1b[K  %s %s", l.paint(cyan, spinner[l.frame%len(spinner)]), text)
}

func (l *live) erase() { fmt.Fprint(l.out, "\r\x1b[K") }

// The colours, as SGR codes (ECMA-48, 8.3.117).
const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	cyan   = "36"
)

func (l *live) paint(code, text string) string { return paint(l.color, code, text) }

func paint(color bool, code, text string) string {
	if !color {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// wrap breaks text into lines of at most width columns, between words where
// it can.
func wrap(text string, width int) []string {
	if width < 20 {
		width = 20
	}
	var lines []string
	for runewidth.StringWidth(text) > width {
		head := runewidth.Truncate(text, width, "")
		if space := strings.LastIndex(head, " "); space > width/2 {
			head = head[:space]
		}
		lines = append(lines, head)
		text = strings.TrimLeft(text[len(head):], " ")
	}
	return append(lines, text)
}
