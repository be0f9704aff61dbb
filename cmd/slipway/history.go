package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
)

type historyCommand struct {
	targetArgument
	At string `placeholder:"TIME" help:"What served at that time: 2026-11-23T09:14:00Z, \"2026-11-23 09:14\", 09:14, or 2h for two hours ago."`
}

// historyResult is the history of one target, newest first.
type historyResult struct {
	place
	Releases []historyEntry `json:"releases"`
}

// historyEntry is one ended release.
type historyEntry struct {
	slipway.Release
	Served     bool      `json:"served"`               // it was live at some time
	ServedTill time.Time `json:"servedUntil,omitzero"` // zero: it still serves
}

// Run prints the releases of a target, or what served at a time.
func (cmd historyCommand) Run(ctx context.Context, p *program, c *cli) error {
	all, err := c.places(cmd.Target)
	if err != nil {
		return err
	}
	var found []historyResult
	for _, at := range all {
		world, err := p.connect(settings{to: at.ref})
		if err != nil {
			return err
		}
		record, err := world.journal.Load(ctx)
		if err != nil {
			return err
		}
		found = append(found, historyResult{at, entries(record)})
	}
	if cmd.At != "" {
		return p.servedAt(cmd.At, found)
	}
	return p.result(found, func(w io.Writer) {
		for _, h := range found {
			h.print(w, time.Now())
		}
	})
}

// entries returns the ended releases, newest first, each with how long it
// served: until the next one that became live.
func entries(record slipway.Record) []historyEntry {
	var all []historyEntry
	var next time.Time
	for _, r := range slices.Backward(record.History) {
		e := historyEntry{Release: r, Served: r.Phase == slipway.Verified || r.Phase == slipway.Undone}
		if e.Served {
			e.ServedTill, next = next, r.Ended
		}
		all = append(all, e)
	}
	return all
}

func (h historyResult) print(w io.Writer, now time.Time) {
	fmt.Fprintln(w, orElse(h.Environment, h.Target))
	rows := [][]string{{"when", "version", "how", "served", "by"}}
	for _, e := range h.Releases {
		rows = append(rows, []string{clock(e.Ended, now), e.versions(), e.how(), e.served(now), e.Actor})
	}
	table(w, rows)
}

func (e historyEntry) versions() string {
	if e.Served || e.Previous == nil || e.Previous.Model.Name != e.Model.Name {
		return e.Model.String()
	}
	return fmt.Sprintf("%s %s→%s", e.Model.Name, e.Previous.Model.Version, e.Model.Version)
}

func (e historyEntry) how() string {
	switch {
	case e.Undoes != "" && e.Served:
		return "live again, " + e.Reason
	case e.Phase == slipway.Verified:
		return "live, " + string(e.Golden)
	case e.Phase == slipway.Undone:
		return "live, then rolled back by hand"
	}
	return phaseText(e.Phase) + failureText(e.Failure)
}

func failureText(f *slipway.Failure) string {
	if f == nil {
		return ""
	}
	return ": " + f.Problem.Message
}

func phaseText(p slipway.Phase) string {
	return map[slipway.Phase]string{
		slipway.RolledBack: "rolled back",
		slipway.Removed:    "removed",
		slipway.Broken:     "a person is needed",
		slipway.Refused:    "failed",
		slipway.Overtaken:  "superseded",
		slipway.Undone:     "rolled back by hand",
		slipway.Verified:   "live",
	}[p]
}

func (e historyEntry) served(now time.Time) string {
	if !e.Served {
		return "–"
	}
	until := e.ServedTill
	if until.IsZero() {
		until = now
	}
	return lasted(until.Sub(e.Ended))
}

// servedAtResult is what one target served at a time.
type servedAtResult struct {
	place
	At      time.Time     `json:"at"`
	Serving *historyEntry `json:"serving"` // null: nothing that the history remembers
}

func (p *program) servedAt(text string, found []historyResult) error {
	at, err := parseTime(text, time.Now())
	if err != nil {
		return err
	}
	var results []servedAtResult
	for _, h := range found {
		results = append(results, servedAtResult{h.place, at, h.at(at)})
	}
	return p.result(results, func(w io.Writer) {
		for _, r := range results {
			what := "nothing that the history remembers"
			if r.Serving != nil {
				what = r.Serving.Model.String() + "  " + r.Serving.Image.Ref()
			}
			fmt.Fprintf(w, "%s  %s  %s\n", orElse(r.Environment, r.Target), at.Local().Format(time.DateTime), clean(what))
		}
	})
}

// at returns the release that served at the time, or nil.
func (h historyResult) at(t time.Time) *historyEntry {
	for i, e := range h.Releases {
		if e.Served && !e.Ended.After(t) && (e.ServedTill.IsZero() || t.Before(e.ServedTill)) {
			return &h.Releases[i]
		}
	}
	return nil
}

// parseTime reads a time as people write it, in local time unless it says
// otherwise; a duration counts back from now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()), nil
	}
	for _, layout := range []string{time.RFC3339Nano, time.RFC3339} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			y, m, d := now.Local().Date()
			return time.Date(y, m, d, t.Hour(), t.Minute(), t.Second(), 0, time.Local), nil
		}
	}
	return time.Time{}, usageError{usagef("%q is no time", text).WithHint(`use 2026-11-23T09:14:00Z, "2026-11-23 09:14", 09:14 or 2h`)}
}
