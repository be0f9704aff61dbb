package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// timelineColumns is how many marks a row of the timeline has.
const timelineColumns = 60

// phaseMark is a named part of the demo.
type phaseMark struct {
	Name    string  `json:"name"`
	Start   float64 `json:"start"`   // seconds since the demo's work began
	Seconds float64 `json:"seconds"` // how long it took
	Note    string  `json:"note"`
}

// printTimeline draws a row a version: where its marks stand it answered
// requests, and below it what happened when.
func printTimeline(w io.Writer, start, end time.Time, versions []slipway.Version, answers []answer, marks []phaseMark) {
	cell := max(end.Sub(start)/timelineColumns, time.Millisecond)
	rows := map[slipway.Version][]int{}
	for _, v := range versions {
		rows[v] = make([]int, timelineColumns)
	}
	for _, a := range answers {
		i := int(a.at.Sub(start) / cell)
		if row := rows[a.version]; i >= 0 && i < timelineColumns && row != nil {
			row[i]++
		}
	}
	fmt.Fprintf(w, "  %-9s %s\n", "", scale(end.Sub(start)))
	for _, v := range versions {
		fmt.Fprintf(w, "  %-9s %s  %s answers\n", "iris "+string(v), bars(rows[v]), thousands(total(rows[v])))
	}
	fmt.Fprintln(w)
	for _, m := range marks {
		fmt.Fprintf(w, "  %5.1f s  %-33s %4.1f s  %s\n", m.Start, m.Name, m.Seconds, clean(m.Note))
	}
}

// bars draws a row: a full mark where there were many answers, a low one where
// there were some.
func bars(counts []int) string {
	highest := 1
	for _, n := range counts {
		highest = max(highest, n)
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, n := range counts {
		if n == 0 {
			b.WriteRune('·')
			continue
		}
		b.WriteRune(levels[n*(len(levels)-1)/highest])
	}
	return b.String()
}

// scale labels the row of a duration: "0 s        2.5 s       5.0 s".
func scale(d time.Duration) string {
	middle, end := seconds(d/2), seconds(d)
	gap := timelineColumns/2 - len("0 s") - len(middle)/2
	rest := timelineColumns - len("0 s") - gap - len(middle) - len(end)
	return "0 s" + strings.Repeat(" ", max(gap, 1)) + middle + strings.Repeat(" ", max(rest, 1)) + end
}

func total(counts []int) int64 {
	var n int64
	for _, c := range counts {
		n += int64(c)
	}
	return n
}
