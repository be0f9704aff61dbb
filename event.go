package slipway

import "time"

// EventKind says what an Event tells.
type EventKind string

// The kinds of events.
const (
	Started   EventKind = "started"   // a step began
	Progress  EventKind = "progress"  // Done of Total, in Unit
	Note      EventKind = "note"      // something worth a line
	Warning   EventKind = "warning"   // something the user should mend, though the release goes on
	Succeeded EventKind = "succeeded" // a step ended well
	Stopped   EventKind = "stopped"   // a step failed; Problem says why
	Observed  EventKind = "observed"  // the target was looked at
	Concluded EventKind = "concluded" // the release ended; Release holds how
)

// Event is one thing that happened to a release. One append-only stream of
// them feeds the terminal, the CI log, summaries and notifications.
type Event struct {
	At          time.Time    `json:"at"`
	Kind        EventKind    `json:"kind"`
	Step        string       `json:"step"` // resolve, validate, build, push, rollout, verify, rollback, record
	Release     ReleaseID    `json:"release,omitempty"`
	Environment string       `json:"environment,omitempty"`
	Message     string       `json:"message,omitempty"`   // one line for people
	Indicator   string       `json:"indicator,omitempty"` // a line people grep for in CI logs, exact: "Model validation passed"
	Done        int64        `json:"done,omitempty"`
	Total       int64        `json:"total,omitempty"` // 0: unknown
	Unit        string       `json:"unit,omitempty"`  // "bytes", "replicas", "checks"
	Problem     *Problem     `json:"problem,omitempty"`
	Observation *Observation `json:"observation,omitempty"`
	Deadline    time.Time    `json:"deadline,omitzero"` // of the release's phase
	Outcome     *Release     `json:"outcome,omitempty"` // with Concluded
}

// Sink receives events in order. It must not block for long and is called by
// one goroutine at a time.
type Sink func(Event)
