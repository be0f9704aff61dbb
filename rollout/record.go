package rollout

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"

	"github.com/slipway-dev/slipway"
)

// conclude files an ended release: it moves to the history, a verified one is
// live from now on, and one that was taken back is quarantined.
func conclude(rec slipway.Record, r slipway.Release) slipway.Record {
	rec.Current = nil
	rec.History = appendHistory(rec.History, brief(r))
	switch {
	case r.Phase == slipway.Verified:
		rec = undo(rec, r)
		rec.Live = r.Bare()
		rec.Live.WholeTemplate = false // asked for once, not whenever one comes back to it
		rec.Quarantine = without(rec.Quarantine, r.Model)
	case quarantines(r):
		rec = quarantine(rec, r, r.Failure.Problem.Message)
	}
	return rec
}

// quarantines reports whether the release's version must not be tried again by
// itself. Whoever was interrupted may try again: that says nothing of the
// version.
func quarantines(r slipway.Release) bool {
	switch r.Phase {
	case slipway.RolledBack, slipway.Removed, slipway.Broken:
		return r.Failure != nil && r.Failure.Problem.Kind != KindInterrupted
	}
	return false
}

func quarantine(rec slipway.Record, r slipway.Release, reason string) slipway.Record {
	rec.Quarantine = append(without(rec.Quarantine, r.Model), slipway.Quarantine{
		Model: r.Model, Release: r.ID, Reason: reason, At: r.Ended,
	})
	return rec
}

func without(list []slipway.Quarantine, m slipway.ModelVersion) []slipway.Quarantine {
	return slices.DeleteFunc(slices.Clone(list), func(q slipway.Quarantine) bool { return sameVersion(q.Model, m) })
}

func sameVersion(a, b slipway.ModelVersion) bool { return a.Name == b.Name && a.Version == b.Version }

// undo marks what a rollback by hand took back, once the rollback is verified
// and before it is live.
func undo(rec slipway.Record, by slipway.Release) slipway.Record {
	if by.Undoes == "" {
		return rec
	}
	rec.History = slices.Clone(rec.History)
	for i, r := range rec.History {
		if r.ID == by.Undoes && r.Phase == slipway.Verified {
			rec.History[i].Phase = slipway.Undone
		}
	}
	if taken := find(rec, by.Undoes); taken != nil && !sameVersion(taken.Model, by.Model) {
		rec.Quarantine = append(without(rec.Quarantine, taken.Model), slipway.Quarantine{
			Model: taken.Model, Release: taken.ID, Reason: by.Reason, At: by.Ended,
		})
	}
	return rec
}

// brief returns the release as the history keeps it: of the one before, only
// which it was.
func brief(r slipway.Release) slipway.Release {
	if p := r.Previous; p != nil {
		r.Previous = &slipway.Release{SchemaVersion: p.SchemaVersion, ID: p.ID, Model: p.Model, Image: p.Image, Phase: p.Phase, Ended: p.Ended}
	}
	return r
}

func appendHistory(history []slipway.Release, r slipway.Release) []slipway.Release {
	history = append(slices.Clone(history), r)
	return history[max(0, len(history)-slipway.HistoryLimit):]
}

// find returns the ended release of the identifier, the newest; nil: none.
func find(rec slipway.Record, id slipway.ReleaseID) *slipway.Release {
	for i := len(rec.History) - 1; i >= 0; i-- {
		if rec.History[i].ID == id {
			return &rec.History[i]
		}
	}
	if rec.Live != nil && rec.Live.ID == id {
		return rec.Live
	}
	return nil
}

// before returns the last verified release before the live one that serves
// otherwise than it, or the newest of the named version that was ever verified.
func before(rec slipway.Record, version slipway.Version) *slipway.Release {
	for i := len(rec.History) - 1; i >= 0; i-- {
		r := &rec.History[i]
		switch {
		case servesAlike(*r, rec.Live):
		case version == "" && r.Phase == slipway.Verified:
			return r
		case version != "" && r.Model.Version == version && (r.Phase == slipway.Verified || r.Phase == slipway.Undone):
			return r
		}
	}
	return nil
}

// servesAlike reports whether going from one to the other would change nothing.
func servesAlike(r slipway.Release, live *slipway.Release) bool {
	return live != nil && r.Image.Digest == live.Image.Digest && r.Replicas == live.Replicas &&
		r.Requests == live.Requests && r.Startup == live.Startup &&
		maps.Equal(r.Env, live.Env) && slices.Equal(r.SecretEnv, live.SecretEnv)
}

// alike reports whether two records say the same, whatever their revisions.
func alike(a, b slipway.Record) bool {
	a.Revision, b.Revision = "", ""
	a.SchemaVersion, b.SchemaVersion = 0, 0
	x, errA := json.Marshal(a)
	y, errB := json.Marshal(b)
	return errA == nil && errB == nil && bytes.Equal(x, y)
}
