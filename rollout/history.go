package rollout

import (
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
)

// Service is a span of time in which one release served.
type Service struct {
	Release slipway.Release `json:"release"`
	From    time.Time       `json:"from"`           // when it was verified
	Until   time.Time       `json:"until,omitzero"` // when the next one was, or when nobody knew any more; zero: it still serves
}

// Served returns what served when, as far as the record goes back, oldest
// first. A release that was rolled back is not in it: the one before never
// stopped serving. One that ended with a person being needed ends what is
// known until the next one is verified.
func Served(rec slipway.Record) []Service {
	var list []Service
	end := func(at time.Time) {
		if n := len(list); n > 0 && list[n-1].Until.IsZero() {
			list[n-1].Until = at
		}
	}
	for _, r := range ended(rec) {
		switch r.Phase {
		case slipway.Verified, slipway.Undone:
			end(r.Ended)
			list = append(list, Service{Release: r, From: r.Ended})
		case slipway.Broken:
			end(r.Ended)
		}
	}
	return list
}

// At returns what served at the time; false where nothing did, or where the
// record does not know.
func At(rec slipway.Record, t time.Time) (Service, bool) {
	for _, s := range Served(rec) {
		if !t.Before(s.From) && (s.Until.IsZero() || t.Before(s.Until)) {
			return s, true
		}
	}
	return Service{}, false
}

// ended returns the ended releases in the order of their ends. The live one is
// there even if the history has grown past it.
func ended(rec slipway.Record) []slipway.Release {
	list := slices.Clone(rec.History)
	known := func(r slipway.Release) bool { return rec.Live != nil && r.ID == rec.Live.ID }
	if rec.Live != nil && !slices.ContainsFunc(list, known) {
		list = append(list, *rec.Live)
	}
	slices.SortStableFunc(list, func(a, b slipway.Release) int { return a.Ended.Compare(b.Ended) })
	return list
}
