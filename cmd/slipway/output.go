package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/slipway-dev/slipway"
)

// result writes what a command found to stdout: v as JSON with -o json, else
// what text writes.
func (p *program) result(v any, text func(w io.Writer)) error {
	if !p.json {
		text(p.stdout)
		return nil
	}
	encoder := json.NewEncoder(p.stdout)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return &slipway.Error{Op: "writing the result", Code: slipway.Unavailable, Err: err}
	}
	return nil
}

// table writes rows in columns, two spaces apart, the first one indented.
func table(w io.Writer, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], runewidth.StringWidth(clean(cell)))
		}
	}
	for _, row := range rows {
		line := ""
		for i, cell := range row {
			line += "  " + runewidth.FillRight(clean(cell), widths[i])
		}
		fmt.Fprintln(w, strings.TrimRight(line, " "))
	}
}

// clock writes a time as people look for it: the hour today, the day before.
func clock(t, now time.Time) string {
	t, now = t.Local(), now.Local()
	switch {
	case t.IsZero():
		return "–"
	case t.YearDay() == now.YearDay() && t.Year() == now.Year():
		return "today " + t.Format("15:04:05")
	case t.Year() == now.Year():
		return t.Format("2 Jan 15:04")
	}
	return t.Format("2 Jan 2006 15:04")
}

// lasted writes a long time in its largest unit: "9 days".
func lasted(d time.Duration) string {
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}} {
		if n := int(d / unit.size); n > 0 {
			return plural(n, unit.name)
		}
	}
	return plural(int(d/time.Second), "second")
}

// provenText says where a release's golden answers come from.
func provenText(r slipway.Release) string {
	if r.Golden == "" {
		return "–"
	}
	if r.GoldenBy == "" {
		return string(r.Golden)
	}
	return string(r.Golden) + " by " + r.GoldenBy
}
