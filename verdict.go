package slipway

import "time"

// Verdict is the outcome of verifying a release on a target.
type Verdict struct {
	Passed   bool           `json:"passed"`
	At       time.Time      `json:"at"`
	Replicas []ReplicaCheck `json:"replicas"`
	Problem  *Problem       `json:"problem,omitempty"` // the first difference; nil when passed
}

// ReplicaCheck is what verifying one replica found.
type ReplicaCheck struct {
	Replica     string   `json:"replica"`
	Image       Digest   `json:"image"`
	Health      int      `json:"health"` // health checks that passed, of HealthChecks
	Ready       bool     `json:"ready"`
	Predictions int      `json:"predictions"` // golden predictions that came out right
	Problem     *Problem `json:"problem,omitempty"`
}

// HealthChecks is how often the health of each new replica is asked for.
const HealthChecks = 30

// Predictions returns how many golden predictions came out right on all replicas.
func (v Verdict) Predictions() int {
	n := 0
	for _, r := range v.Replicas {
		n += r.Predictions
	}
	return n
}
