package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/slipway-dev/slipway"
)

// twig is one line of the tree: a replica, or what is left out.
type twig struct {
	group            string // the model; said once
	mark, paint      string
	name, state, why string
}

// treeIndent is where the tree begins: below the texts of the steps.
const treeIndent = 4

// tree draws the replicas, one line each, those that come before those that
// go, in at most height lines of at most width columns. What does not fit is
// counted. Replicas that are not ready come first then: they are what one
// waits for.
func (s scene) tree(now time.Time, width, height int, color bool) []string {
	coming, going := s.sorted()
	var twigs []twig
	for _, part := range share(height, coming, going) {
		twigs = append(twigs, part.twigs(now)...)
	}
	lines := layOut(twigs, width, color)
	return lines[:min(len(lines), height)]
}

// branchPart is the replicas of one side, of which the first few are shown.
type branchPart struct {
	label string
	all   []slipway.Replica
	shown int
}

// share gives each side lines of the height, the side that comes first.
func share(height int, coming, going []slipway.Replica) []branchPart {
	parts := []branchPart{{label: labelOf(coming, "new"), all: coming}, {label: labelOf(going, "old"), all: going}}
	if parts[0].label == parts[1].label {
		parts[0].label, parts[1].label = "new", "old"
	}
	parts = slices.DeleteFunc(parts, func(p branchPart) bool { return len(p.all) == 0 })
	for i := range parts {
		later := 0
		for _, p := range parts[i+1:] {
			later += min(len(p.all), max(1, height/3))
		}
		parts[i].shown = min(len(parts[i].all), max(0, height-later))
		height -= parts[i].shown
	}
	return parts
}

// labelOf names what the replicas serve, if it is one thing.
func labelOf(replicas []slipway.Replica, otherwise string) string {
	label := ""
	for _, r := range replicas {
		if r.Model.Name == "" || label != "" && label != r.Model.String() {
			return otherwise
		}
		label = r.Model.String()
	}
	return orElse(label, otherwise)
}

// twigs are its replicas; what several wait for is said once.
func (part branchPart) twigs(now time.Time) []twig {
	replicas := part.all
	if part.shown < len(replicas) {
		replicas = slices.Clone(replicas)
		slices.SortStableFunc(replicas, func(a, b slipway.Replica) int { return calm(a) - calm(b) })
		replicas = replicas[:max(0, part.shown-1)]
	}
	var twigs []twig
	for i, r := range replicas {
		t := leaf(r, now)
		if i > 0 && r.Problem != nil && about(r) == about(replicas[i-1]) {
			t.why = ""
		}
		twigs = append(twigs, t)
	}
	if part.shown > 0 && part.shown < len(part.all) {
		twigs = append(twigs, twig{mark: " ", name: rest(part.all, replicas)})
	}
	if len(twigs) > 0 {
		twigs[0].group = part.label
	}
	return twigs
}

// calm is the lower the more one wants to see the replica.
func calm(r slipway.Replica) int {
	switch {
	case r.State == slipway.Failed:
		return 0
	case r.Problem != nil:
		return 1
	case r.State == slipway.Starting:
		return 2
	}
	return 3
}

// rest counts what is not shown: "and 41 more: 38 ready, 3 starting".
func rest(all, shown []slipway.Replica) string {
	count := map[slipway.ReplicaState]int{}
	for _, r := range all {
		count[r.State]++
	}
	for _, r := range shown {
		count[r.State]--
	}
	var parts []string
	for _, state := range []slipway.ReplicaState{slipway.Failed, slipway.Starting, slipway.Ready, slipway.Draining} {
		if n := count[state]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, state))
		}
	}
	return fmt.Sprintf("and %d more: %s", len(all)-len(shown), strings.Join(parts, ", "))
}

// leaf is the line of one replica.
func leaf(r slipway.Replica, now time.Time) twig {
	t := twig{mark: "○", paint: cyan, name: clean(r.Name), state: string(r.State)}
	switch {
	case r.State == slipway.Failed:
		t.mark, t.paint = "✗", red
	case r.State == slipway.Draining:
		t.mark, t.paint = "◌", faint
	case r.State == slipway.Ready && r.Serving:
		t.mark, t.paint = "●", green
	case r.State == slipway.Ready: // not in the Service's endpoints (yet, or any more)
		t.mark, t.paint, t.state = "◍", green, "ready, no requests"
	case r.Problem != nil:
		t.paint, t.state = yellow, "waits"
	}
	if r.State == slipway.Starting && !r.Since.IsZero() && now.After(r.Since) {
		t.state += " " + seconds(now.Sub(r.Since).Truncate(100*time.Millisecond))
	}
	if r.Problem != nil {
		t.state += leftText(r.Problem.HealBy, now)
	}
	if r.Restarts > 0 {
		t.state += fmt.Sprintf(", restarts: %d", r.Restarts)
	}
	if r.Problem != nil {
		t.why = clean(strings.ReplaceAll(about(r), "\n", " "))
	}
	return t
}

// gaps is what stands between the columns, the mark among it; shortest is how
// short a name may become.
const gaps, shortest = 6, 6

// columns are the widths of the tree's columns.
type columns struct{ group, name, state, all int }

// layOut sets the twigs in columns.
func layOut(twigs []twig, width int, color bool) []string {
	c := columns{all: width}
	for _, t := range twigs {
		c.group = max(c.group, runewidth.StringWidth(t.group))
		if t.state != "" {
			c.name = max(c.name, runewidth.StringWidth(t.name))
		}
		c.state = max(c.state, runewidth.StringWidth(t.state))
	}
	c.group = min(c.group, width/4)
	c.name = min(c.name, max(shortest, width-treeIndent-c.group-c.state-gaps))
	var lines []string
	for _, t := range twigs {
		lines = append(lines, c.lines(t, color)...)
	}
	return lines
}

// lines is a twig. Where its reason finds little room beside it, it has the
// line below to itself.
func (c columns) lines(t twig, color bool) []string {
	head := strings.Repeat(" ", treeIndent) + runewidth.FillRight(runewidth.Truncate(clean(t.group), c.group, "…"), c.group) + "  "
	below := strings.Repeat(" ", runewidth.StringWidth(head)+2)
	head += paint(color, t.paint, t.mark) + " "
	room := c.all - len(below)
	body := c.body(t)
	beside := room - runewidth.StringWidth(body) - 2
	switch {
	case t.why == "":
		return []string{head + runewidth.Truncate(strings.TrimRight(body, " "), room, "…")}
	case beside >= min(narrow, runewidth.StringWidth(t.why)):
		return []string{head + body + "  " + paint(color, t.paint, runewidth.Truncate(t.why, beside, "…"))}
	}
	return []string{
		head + runewidth.Truncate(strings.TrimRight(body, " "), room, "…"),
		below + paint(color, t.paint, runewidth.Truncate(t.why, room, "…")),
	}
}

func (c columns) body(t twig) string {
	if t.state == "" {
		return t.name
	}
	return runewidth.FillRight(tail(t.name, c.name), c.name) + "  " + runewidth.FillRight(t.state, c.state)
}

// tail shortens a name to its end, which tells it from the others of its kind.
func tail(name string, width int) string {
	if runewidth.StringWidth(name) <= width {
		return name
	}
	return runewidth.TruncateLeft(name, runewidth.StringWidth(name)-width+1, "…")
}
