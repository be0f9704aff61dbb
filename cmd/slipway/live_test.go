package main

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mattn/go-runewidth"

	"github.com/slipway-dev/slipway"
)

// screen is a terminal, as far as live needs one: it breaks lines that are too
// long, also those that stand already when it is made narrower, and scrolls.
type screen struct {
	t              *testing.T
	columns, lines int

	mu       sync.Mutex
	rows     []string // all that ever was, the visible ones last
	row, col int
	text     string // all that was written
	cuts     bool   // lines that are too long, instead of breaking them
}

func newScreen(t *testing.T, columns, lines int) *screen {
	return &screen{t: t, columns: columns, lines: lines, rows: []string{""}}
}

func (s *screen) size() (columns, lines int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.columns, s.lines
}

// Write obeys what a terminal obeys (ECMA-48): CUU, EL, ED, SGR.
func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text += string(p)
	for text := string(p); text != ""; {
		text = s.next(text)
	}
	return len(p), nil
}

func (s *screen) next(text string) (rest string) {
	switch {
	case strings.HasPrefix(text, "\x1b["):
		end := strings.IndexFunc(text[2:], func(r rune) bool { return r >= '@' && r <= '~' }) + 2
		s.obey(text[end], text[2:end])
		return text[end+1:]
	case text[0] == '\r':
		s.col = 0
		return text[1:]
	case text[0] == '\n':
		s.newline()
		return text[1:]
	}
	r := []rune(text)[0]
	s.put(r)
	return text[len(string(r)):]
}

func (s *screen) obey(command byte, argument string) {
	switch command {
	case 'A':
		n, err := strconv.Atoi(argument)
		if err != nil {
			s.t.Errorf("CSI %sA", argument)
		}
		top := max(0, len(s.rows)-s.lines)
		s.row = max(top, s.row-n)
	case 'K':
		s.rows[s.row] = cut(s.rows[s.row], s.col)
	case 'J':
		s.rows[s.row] = cut(s.rows[s.row], s.col)
		s.rows = s.rows[:s.row+1]
	case 'l', 'h':
		if argument != "?7" {
			s.t.Errorf("a mode that this terminal does not know: %s", argument)
		}
		s.cuts = command == 'l'
	case 'm':
	default:
		s.t.Errorf("a command that this terminal does not know: CSI %s%c", argument, command)
	}
}

func (s *screen) put(r rune) {
	switch {
	case s.col+runewidth.RuneWidth(r) <= s.columns:
	case s.cuts:
		return
	default:
		s.newline()
		s.col = 0
	}
	line := runewidth.FillRight(s.rows[s.row], s.col)
	s.rows[s.row] = cut(line, s.col) + string(r) + runewidth.TruncateLeft(line, s.col+runewidth.RuneWidth(r), "")
	s.col += runewidth.RuneWidth(r)
}

func (s *screen) newline() {
	if s.row++; s.row == len(s.rows) {
		s.rows = append(s.rows, "")
	}
}

func cut(line string, columns int) string { return runewidth.Truncate(line, columns, "") }

// resize breaks the lines anew, as terminals do.
func (s *screen) resize(columns int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows []string
	for i, line := range s.rows {
		if i == s.row {
			s.row = len(rows)
		}
		line = strings.TrimRight(line, " ")
		for runewidth.StringWidth(line) > columns {
			head := cut(line, columns)
			rows, line = append(rows, head), line[len(head):]
		}
		rows = append(rows, line)
	}
	s.rows, s.columns = rows, columns
}

// shows returns what stands on the terminal.
func (s *screen) shows() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for _, line := range s.rows {
		lines = append(lines, strings.TrimRight(line, " "))
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}

// still returns a teller on the screen that moves only when it is told to.
func (s *screen) still(color bool) *live {
	l := &live{out: s, size: s.size, now: func() time.Time { return clockAt(30) }, color: color, stop: make(chan struct{}), done: make(chan struct{})}
	close(l.done)
	return l
}

// rolling is a rollout half way: one replica ready, one that waits, one
// starting, and two of before.
func rolling(replicas ...slipway.Replica) slipway.Event {
	three := slipway.ModelVersion{Name: "iris", Version: "3"}
	two := slipway.ModelVersion{Name: "iris", Version: "2"}
	room := slipway.Problem{Kind: "no-room", Message: "no node has room for inference-service-7d9f-vv8tq: 0/3 nodes are available: 3 Insufficient cpu", Heals: true, HealBy: clockAt(30).Add(271 * time.Second)}
	all := append([]slipway.Replica{
		{Name: "inference-service-5c1b-q8zzt", Release: "Q", Model: two, State: slipway.Ready, Serving: true, Since: clockAt(0)},
		{Name: "inference-service-5c1b-x2x4z", Release: "Q", Model: two, State: slipway.Draining, Since: clockAt(0)},
		{Name: "inference-service-7d9f-k2x4p", Release: "R", Model: three, State: slipway.Ready, Serving: true, Since: clockAt(21)},
		{Name: "inference-service-7d9f-vv8tq", Release: "R", Model: three, State: slipway.Starting, Since: clockAt(22), Problem: &room},
		{Name: "inference-service-7d9f-zz1zz", Release: "R", Model: three, State: slipway.Starting, Since: clockAt(23)},
	}, replicas...)
	o := slipway.Observation{At: clockAt(30), Release: "R", Want: 3, Replicas: all}
	return slipway.Event{At: clockAt(30), Kind: slipway.Observed, Step: "rollout", Release: "R", Observation: &o, Deadline: clockAt(30).Add(140 * time.Second)}
}

func startOf(step string) slipway.Event {
	return slipway.Event{At: clockAt(20), Kind: slipway.Started, Step: step, Message: "iris 3"}
}

func TestLiveTree(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		columns int
		want    string
	}{
		{110, `  ⠋ rollout    iris 3   1 of 3 ready, 2 old   10.0 s (2 m 20 s left)
    iris 3  ● inference-service-7d9f-k2x4p  ready
            ○ inference-service-7d9f-vv8tq  waits 8.0 s (4 m 31 s left)
              no node has room for it: 0/3 nodes are available: 3 Insufficient cpu
            ○ inference-service-7d9f-zz1zz  starting 7.0 s
    iris 2  ● inference-service-5c1b-q8zzt  ready
            ◌ inference-service-5c1b-x2x4z  draining
`},
		{72, `  ⠋ rollout    iris 3   1 of 3 ready, 2 old   10.0 s (2 m 20 s left)
    iris 3  ● inference-service-7d9f-k2x4p  ready
            ○ inference-service-7d9f-vv8tq  waits 8.0 s (4 m 31 s left)
              no node has room for it: 0/3 nodes are available: 3 Insu…
            ○ inference-service-7d9f-zz1zz  starting 7.0 s
    iris 2  ● inference-service-5c1b-q8zzt  ready
            ◌ inference-service-5c1b-x2x4z  draining
`},
		{30, `  ⠋ rollout    iris 3   1 of…
    iris 3  ● …k2x4p  ready
            ○ …vv8tq  waits …
              no node has ro…
            ○ …zz1zz  starti…
    iris 2  ● …q8zzt  ready
            ◌ …x2x4z  draini…
`},
	} {
		t.Run(fmt.Sprint(test.columns), func(t *testing.T) {
			t.Parallel()
			s := newScreen(t, test.columns, 30)
			l := s.still(false)
			l.tell(startOf("rollout"), 0)
			l.tell(rolling(), 0)
			l.write(nil)
			l.write(nil)
			if diff := cmp.Diff(test.want, s.shows()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// However many replicas there are, the tree leaves room, and shows those one
// waits for.
func TestLiveTreeFitsItsHeight(t *testing.T) {
	t.Parallel()
	var many []slipway.Replica
	for i := range 40 {
		many = append(many, slipway.Replica{Name: fmt.Sprintf("iris-many-%02d", i), Release: "R", State: slipway.Ready, Serving: true, Since: clockAt(10)})
	}
	for _, lines := range []int{2, 5, 6, 8, 12, 24} {
		s := newScreen(t, 100, lines)
		l := s.still(false)
		l.tell(startOf("rollout"), 0)
		l.tell(rolling(many...), 0)
		l.write(nil)
		l.write(nil)
		shown := s.shows()
		if n := strings.Count(shown, "\n"); n >= max(lines, 2) || n < min(lines-spare, 12) {
			t.Errorf("%d lines on a terminal of %d:\n%s", n, lines, shown)
		}
		if lines >= 8 && (!strings.Contains(shown, "no node has room") || !strings.Contains(shown, " more: ")) {
			t.Errorf("%d lines: what is waited for, or the count of the rest, is missing:\n%s", lines, shown)
		}
	}
}

// What stood before stays, nothing of the tree does, also when the terminal is
// made narrower or wider in between.
func TestLiveTreeLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	for _, columns := range [][]int{{110, 110}, {110, 60}, {110, 41, 90}, {60, 120}, {120, 50, 45, 120}} {
		s := newScreen(t, columns[0], 40)
		fmt.Fprint(s, "$ slipway deploy\n")
		l := s.still(true)
		l.tell(startOf("rollout"), 0)
		l.tell(rolling(), 0)
		l.write(nil)
		for _, c := range columns[1:] {
			s.resize(c)
			l.write(nil)
		}
		l.tell(slipway.Event{Kind: slipway.Succeeded, Step: "rollout", Message: "3 of 3"}, 0)
		l.close()
		if diff := cmp.Diff("$ slipway deploy\n  ✓ rollout    3 of 3\n", s.shows()); diff != "" {
			t.Errorf("%v (-want +got):\n%s", columns, diff)
		}
	}
}

// A run that is interrupted in the middle of a step leaves what it said.
func TestLiveTreeGoesWithTheRun(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 40)
	l := s.still(false)
	l.tell(startOf("rollout"), 0)
	l.tell(rolling(), 0)
	l.write(nil)
	l.tell(slipway.Event{Kind: slipway.Warning, Step: "rollout", Message: "somebody scales"}, 0)
	l.close()
	if diff := cmp.Diff("  ! rollout    somebody scales\n", s.shows()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A terminal that has become narrower and does not say so yet.
func TestLiveTreeOnATerminalThatLags(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 110, 40)
	said := 110
	fmt.Fprint(s, "$ slipway deploy\n")
	l := s.still(false)
	l.size = func() (columns, lines int) { return said, 40 }
	l.tell(startOf("rollout"), 0)
	l.tell(rolling(), 0)
	l.write(nil)
	s.resize(60)
	l.write(nil)
	l.write(nil)
	said = 60
	l.write(nil)
	l.tell(slipway.Event{Kind: slipway.Succeeded, Step: "rollout", Message: "3 of 3"}, 0)
	l.close()
	if diff := cmp.Diff("$ slipway deploy\n  ✓ rollout    3 of 3\n", s.shows()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLiveColours(t *testing.T) {
	t.Parallel()
	for _, color := range []bool{true, false} {
		s := newScreen(t, 110, 30)
		l := s.still(color)
		l.tell(startOf("rollout"), 0)
		l.tell(rolling(), 0)
		l.write(nil)
		if got := strings.Contains(s.text, "\x1b[32m●"); got != color {
			t.Errorf("colour %v: green %v", color, got)
		}
	}
}

func TestLiveStoryFitsItsWidth(t *testing.T) {
	t.Parallel()
	for _, width := range []int{40, 60, 110} {
		screen := newScreen(t, width, 40)
		s := &story{teller: newLive(screen, screen.size, false), started: map[string]time.Time{}, now: time.Now}
		s.title("a release with a title")
		s.say(func() string { return "1,204 requests so far, 0 lost" })
		tellRelease(s)
		text := screen.shows()
		for _, want := range []string{"✓ validate", "! validate", "✗ rollout", "golden", "iris 3 was rolled back", "explain R"} {
			if !strings.Contains(text, want) {
				t.Errorf("width %d: %q is missing on the screen:\n%s", width, want, text)
			}
		}
		if strings.Contains(text, "⠋") || strings.Contains(text, "iris-3-b") {
			t.Errorf("width %d: something that moved was left:\n%s", width, text)
		}
		if strings.Contains(screen.text, "\x1b[3") {
			t.Errorf("width %d: colour without being asked for", width)
		}
	}
}
