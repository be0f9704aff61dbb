package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/slipway-dev/slipway"
)

// story tells on stderr what happens to releases: a live line a step on a
// terminal, plain lines elsewhere. It is safe for concurrent use.
type story struct {
	mu      sync.Mutex
	teller  teller
	started map[string]time.Time // by step
	now     func() time.Time
}

// teller renders events. tell is called by one goroutine at a time.
type teller interface {
	tell(e slipway.Event, took time.Duration)
	title(text string)
	advice(what, command string)
	say(aside func() string)
	close()
}

// newStory tells on w: live when w is a terminal and CI is not set.
func newStory(w io.Writer, getenv func(string) string, ci runner) *story {
	s := &story{started: map[string]time.Time{}, now: time.Now}
	if size, ok := terminal(w, getenv); ok {
		s.teller = newLive(w, size, getenv("NO_COLOR") == "")
	} else {
		s.teller = newPlain(w, ci)
	}
	return s
}

// terminal returns a function that gives the size of w, if w is a terminal
// that understands how to redraw lines.
func terminal(w io.Writer, getenv func(string) string) (size func() (columns, lines int), ok bool) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || getenv("CI") != "" || getenv("TERM") == "dumb" {
		return nil, false
	}
	return func() (columns, lines int) {
		columns, lines, err := term.GetSize(int(f.Fd()))
		if err != nil || columns < 20 || lines < 2 {
			return 80, 24
		}
		return columns, lines
	}, true
}

// tell is the Sink of all events of a run.
func (s *story) tell(e slipway.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.At.IsZero() {
		e.At = s.now()
	}
	var took time.Duration
	switch e.Kind {
	case slipway.Started:
		s.started[e.Step] = e.At
	case slipway.Succeeded, slipway.Stopped:
		if start, ok := s.started[e.Step]; ok {
			took = e.At.Sub(start)
		}
	}
	s.teller.tell(e, took)
}

// title opens a release or a part of the demo.
func (s *story) title(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.teller.title(clean(fmt.Sprintf(format, args...)))
}

func (s *story) note(step, format string, args ...any) {
	s.tell(slipway.Event{Kind: slipway.Note, Step: step, Message: fmt.Sprintf(format, args...)})
}

func (s *story) warn(step, format string, args ...any) {
	s.tell(slipway.Event{Kind: slipway.Warning, Step: step, Message: fmt.Sprintf(format, args...)})
}

// conclude says how it all ended.
func (s *story) conclude(message string) {
	s.tell(slipway.Event{Kind: slipway.Concluded, Step: "done", Message: message})
}

// advice names a command that goes on from here.
func (s *story) advice(what, command string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.teller.advice(what, clean(command))
}

// say keeps something in view beside what moves, where anything moves.
func (s *story) say(aside func() string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.teller.say(aside)
}

func (s *story) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.teller.close()
}

// progress returns a function that tells how far a step is, in bytes.
func (s *story) progress(step string) func(done, total int64) {
	return func(done, total int64) {
		s.tell(slipway.Event{Kind: slipway.Progress, Step: step, Done: done, Total: total, Unit: "bytes"})
	}
}

// clean takes out of foreign text what a terminal would obey.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || unicode.IsPrint(r):
			return r
		case r == '\r':
			return -1
		}
		return '�'
	}, s)
}

// seconds writes a duration as people read it: "0.3 s", "42 ms", "2 m 05 s".
func seconds(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "<1 ms"
	case d < 100*time.Millisecond:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < time.Minute:
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d m %02d s", int(d.Minutes()), int(d.Seconds())%60)
}

// bytesText writes a size: "41 kB".
func bytesText(n int64) string {
	units := []string{"B", "kB", "MB", "GB", "TB"}
	size, i := float64(n), 0
	for size >= 999.5 && i < len(units)-1 {
		size, i = size/1000, i+1
	}
	if i == 0 || size >= 9.95 {
		return fmt.Sprintf("%.0f %s", size, units[i])
	}
	return strings.Replace(fmt.Sprintf("%.1f %s", size, units[i]), ".0 ", " ", 1)
}

// plural writes a count with its noun: "1 file", "6 files".
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%s %ss", thousands(int64(n)), noun)
}

// thousands writes a count with separators: "8,214".
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
