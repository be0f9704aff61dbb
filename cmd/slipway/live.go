package main

import (
	"fmt"
	"io"
	"regexp"
	"slices"
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

// live writes one line a step on a terminal; below them it keeps a block that
// moves until its step ends: the step, and the target's replicas while they
// change. Steps follow one another, so one block is enough.
//
// The cursor rests on the line after the block, so that whatever else is
// written there, by a shell or a keyboard, neither breaks the block nor is
// broken by it.
type live struct {
	mu    sync.Mutex
	out   io.Writer
	size  func() (columns, lines int)
	now   func() time.Time
	color bool

	step, text string        // of the moving line; step is empty when nothing moves
	since      time.Time     // when the step began
	scene      *scene        // the target as it was seen last; nil: nothing to show
	aside      func() string // said at the end of the moving line; may be nil
	frame      int
	drawn      []string // the block as it stands on the terminal
	columns    int      // of the terminal then
	stop, done chan struct{}
}

var _ teller = (*live)(nil)

func newLive(out io.Writer, size func() (columns, lines int), color bool) *live {
	l := &live{out: out, size: size, now: time.Now, color: color, stop: make(chan struct{}), done: make(chan struct{})}
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
			l.write(nil)
			l.mu.Unlock()
		}
	}
}

func (l *live) close() {
	close(l.stop)
	<-l.done
	l.step = "" // of a run that was interrupted: nothing goes on moving
	l.write(nil)
}

func (l *live) title(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.write([]string{"", l.paint(bold, text), ""})
}

func (l *live) say(aside func() string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.aside = aside
}

func (l *live) advice(what, command string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Not broken into lines: it is to be copied.
	l.write([]string{fmt.Sprintf("  %s %s", l.paint(faint, fmt.Sprintf("%-7s", what)), indent(command))})
}

func (l *live) tell(e slipway.Event, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch e.Kind {
	case slipway.Started:
		l.begin(e)
	case slipway.Observed:
		l.see(e)
		return // the next redraw shows it
	case slipway.Progress:
		l.text = clean(progressText(e))
		return
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
		l.scene = nil
		columns, _ := l.size()
		l.write(append([]string{""}, wrap(clean(e.Message), columns-1)...))
	}
	l.write(nil)
}

// begin makes a step the one that moves. What the target looked like stays in
// view from one of its steps to the next.
func (l *live) begin(e slipway.Event) {
	l.step, l.text, l.since = e.Step, clean(e.Message), e.At
	if !onTarget(e.Step) {
		l.scene = nil
	}
	if l.scene != nil {
		l.scene.deadline = e.Deadline
	}
}

func (l *live) see(e slipway.Event) {
	seen := sceneOf(e)
	l.scene = &seen
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

// print writes a line that stays, above the moving block.
func (l *live) print(mark, step, text, took string) {
	lines := strings.Split(text, "\n")
	head := fmt.Sprintf("%-10s ", step)
	columns, _ := l.size()
	room := columns - 4 - len(head)
	if room < narrow {
		took = ""
	}
	if took != "" {
		room -= 10
	}
	var stay []string
	for i, line := range wrap(lines[0], room) {
		switch {
		case i == 0 && took != "":
			stay = append(stay, fmt.Sprintf("  %s %s%s %s", mark, head, runewidth.FillRight(line, room), l.paint(faint, fmt.Sprintf("%9s", took))))
		case i == 0:
			stay = append(stay, fmt.Sprintf("  %s %s%s", mark, head, line))
		default:
			stay = append(stay, "    "+strings.Repeat(" ", len(head))+line)
		}
	}
	for _, line := range lines[1:] {
		for _, part := range wrap(line, columns-7) {
			stay = append(stay, "      "+part)
		}
	}
	l.write(stay)
}

// spare is how many lines of the terminal the block leaves to what was before.
const spare = 4

// block is what moves: the step, and below it the replicas.
func (l *live) block() []string {
	if l.step == "" {
		return nil
	}
	columns, lines := l.size()
	now := l.now()
	text := fmt.Sprintf("%-10s %s", l.step, l.moving(now))
	if l.aside != nil {
		text = runewidth.FillRight(text, columns/2) + "   " + l.aside()
	}
	all := []string{"  " + l.paint(cyan, spinner[l.frame%len(spinner)]) + " " + runewidth.Truncate(text, columns-5, "…")}
	if l.scene != nil && lines > spare {
		all = append(all, l.scene.tree(now, columns-1, lines-spare, l.color)...)
	}
	return all
}

// moving is the text of the moving line.
func (l *live) moving(now time.Time) string {
	if l.scene == nil {
		return l.text
	}
	parts := []string{l.text, l.scene.summary()}
	if took := now.Sub(l.since); took > time.Second {
		parts = append(parts, seconds(took)+when(took > patience, leftText(l.scene.deadline, now)))
	}
	if p := l.scene.observed.Problem; p != nil {
		parts = append(parts, clean(p.Message)+leftText(p.HealBy, now))
	}
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "   ")
}

// patience is how long a step lasts before one wants to know how long it may.
const patience = 5 * time.Second

// write puts lines that stay where the block stood, and the block as it is now
// below them, all at once, so that nothing flickers.
func (l *live) write(stay []string) {
	columns, lines := l.size()
	var b strings.Builder
	if up := min(l.rows(), lines-1); up > 0 {
		fmt.Fprintf(&b, "\r\x1b[%dA", up)
	}
	if columns != l.columns && l.columns > 0 { // forget which lines were broken, or they are joined again later
		b.WriteString("\r\x1b[J")
	}
	l.columns = columns // of the first time nothing is to be forgotten: a question may stand there
	for _, line := range stay {
		b.WriteString("\r" + line + "\x1b[K\n")
	}
	block := l.block()
	if len(block) > 0 {
		// Cut off, not broken: the terminal may be narrower already than it says.
		b.WriteString(wrapOff + "\r" + strings.Join(block, "\x1b[K\n\r") + "\x1b[K\n" + wrapOn)
	}
	if len(l.drawn) > 0 {
		b.WriteString("\r\x1b[J")
	}
	l.drawn = block
	if b.Len() > 0 {
		fmt.Fprint(l.out, b.String())
	}
}

// What a terminal does with lines that are too long (DECAWM, VT100).
const wrapOff, wrapOn = "\x1b[?7l", "\x1b[?7h"

// rows is how many lines of the terminal the block takes up: more than it has,
// once the terminal has become narrower and broke them.
func (l *live) rows() int {
	columns, _ := l.size()
	rows := 0
	for _, line := range l.drawn {
		rows += 1 + max(0, visible(line)-1)/columns
	}
	return rows
}

// visible is how many columns a line takes up.
func visible(line string) int { return runewidth.StringWidth(coloured.ReplaceAllString(line, "")) }

var coloured = regexp.MustCompile("\x1b\\[[0-9]*m")

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
	if !color || code == "" {
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
