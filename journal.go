package slipway

import (
	"context"
	"time"
)

// Journal is what a target remembers of its releases, kept where any machine
// that can deploy to the target can read it: beside the processes of one
// machine, in a cluster, later in a server.
type Journal interface {
	// Lock waits until the claim holds the target and returns the lock. The
	// outcomes: a lock; Superseded when the claim carries a fence that is no
	// longer the target's newest; ctx's error while somebody else holds it.
	Lock(ctx context.Context, c Claim) (Lock, error)

	// Load returns the record. A target without one gives the zero Record.
	// Code Invalid when it was written by a newer program.
	Load(ctx context.Context) (Record, error)

	// Store replaces the record and returns it with its new Revision. It is
	// all or nothing. Conflict when r.Revision is not the stored one or the
	// fence is not the newest.
	Store(ctx context.Context, fence uint64, r Record) (Record, error)
}

// Claim is who wants a target's lock.
type Claim struct {
	Holder string // for people: "github run 812", "ada@laptop, pid 4711"
	Fence  uint64 // 0 takes a new number; else the lock is taken again under this one
	// Waiting is called once, with the present holder, if the lock is taken. May be nil.
	Waiting func(holder string)
}

// Lock is a held target. A process that dies loses it by itself.
type Lock interface {
	Fence() uint64                // greater than that of every lock before
	Lost() <-chan struct{}        // closed when the lock is no longer ours
	Unlock(context.Context) error // repeating it is harmless
}

// RecordSchema is the newest form of Record and Release this program writes.
const RecordSchema = 1

// HistoryLimit is how many ended releases a record keeps.
const HistoryLimit = 50

// Record is a target's journal. History keeps the newest HistoryLimit ended
// releases, newest last.
type Record struct {
	SchemaVersion int          `json:"schemaVersion"`
	Revision      string       `json:"revision,omitempty"` // set by the journal; empty: never stored
	Current       *Release     `json:"current,omitempty"`  // on its way; nil: nothing is
	Live          *Release     `json:"live,omitempty"`     // the last verified release; what a rollback goes back to
	History       []Release    `json:"history,omitempty"`
	Quarantine    []Quarantine `json:"quarantine,omitempty"`
	Hold          *Hold        `json:"hold,omitempty"`
}

// Quarantine keeps a model version that was rolled back from being deployed
// again by itself.
type Quarantine struct {
	Model   ModelVersion `json:"model"`
	Release ReleaseID    `json:"release"`
	Reason  string       `json:"reason"`
	At      time.Time    `json:"at"`
}

// Hold freezes a target: releases answer held.
type Hold struct {
	By     string    `json:"by"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at"`
}

// Quarantined returns the quarantine of the version, or nil. Directories are
// told apart by their files.
func (r Record) Quarantined(m ModelVersion) *Quarantine {
	for i, q := range r.Quarantine {
		if q.Model.Name == m.Name && q.Model.Version == m.Version {
			return &r.Quarantine[i]
		}
	}
	return nil
}
