package main

import (
	"slices"
	"strings"
	"time"
)

// clockReading is how far a server's clock is before ours.
type clockReading struct {
	server string
	ahead  time.Duration
}

// clockLimit is what is left alone: the Date header tells whole seconds, and
// an answer takes its time.
const clockLimit = time.Minute

// read notes what a server's clock shows now; the zero time says nothing. Of a
// server that several releases use, once is enough: one alone may be the one
// that is wrong.
func (d *doctor) read(server string, shows time.Time) {
	if shows.IsZero() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if slices.ContainsFunc(d.clocks, func(c clockReading) bool { return c.server == server }) {
		return
	}
	d.clocks = append(d.clocks, clockReading{server, shows.Sub(d.p.story.now())})
}

// clock compares the clocks. Tokens and signatures are only taken within a few
// minutes.
func (d *doctor) clock() []finding {
	const check = "clock"
	if len(d.clocks) == 0 {
		return []finding{skip(check, "", "not known: no server told its time")}
	}
	slices.SortFunc(d.clocks, func(a, b clockReading) int { return strings.Compare(a.server, b.server) })
	var off []clockReading
	for _, c := range d.clocks {
		if c.ahead.Abs() > clockLimit {
			off = append(off, c)
		}
	}
	const mend = "timedatectl set-ntp true"
	switch {
	case len(off) == 0:
		return []finding{good(check, "", "within a minute of %s", strings.Join(serversOf(d.clocks), ", "))}
	case agree(d.clocks):
		return []finding{bad(check, "this machine", mend, "%s %s: tokens and signatures will be refused", apart(-off[0].ahead), strings.Join(serversOf(off), ", "))}
	}
	var found []finding
	for _, c := range off {
		found = append(found, bad(check, c.server, "there, or here if it is this machine that is wrong: "+mend, "%s this machine: tokens and signatures will be refused", apart(c.ahead)))
	}
	return found
}

// agree reports whether several servers agree with one another and not with us.
func agree(clocks []clockReading) bool {
	for _, c := range clocks {
		if (c.ahead - clocks[0].ahead).Abs() > clockLimit {
			return false
		}
	}
	return len(clocks) > 1
}

func apart(ahead time.Duration) string {
	if ahead > 0 {
		return lasted(ahead) + " ahead of"
	}
	return lasted(-ahead) + " behind"
}

func serversOf(clocks []clockReading) []string {
	var names []string
	for _, c := range clocks {
		names = append(names, c.server)
	}
	return names
}
