package rollout

import (
	"slices"
	"time"

	"github.com/slipway-dev/slipway"
)

// The steps a release's spans and events name.
const (
	stepRollout  = "rollout"
	stepVerify   = "verify"
	stepRollback = "rollback"
	stepRecord   = "record"
)

// stepOf returns the step a phase belongs to; "" between steps and at the end.
func stepOf(p slipway.Phase) string {
	switch p {
	case slipway.Pending, slipway.RollingOut:
		return stepRollout
	case slipway.Verifying:
		return stepVerify
	case slipway.RollingBack, slipway.Restoring, slipway.Removing:
		return stepRollback
	}
	return ""
}

// advance returns the release as it is once the decision holds.
func advance(r slipway.Release, d Decision, s Seen) slipway.Release {
	next := r
	next.Phase, next.Deadline = d.Phase, d.Deadline
	if s.Verdict != nil && r.Phase == slipway.Verifying {
		next.Verdict = s.Verdict
	}
	if d.Why != nil && turnsBack(d.Phase) {
		f := &slipway.Failure{Step: stepOf(r.Phase), Code: codeOf(d.Saw), Problem: *d.Why}
		if r.Failure == nil {
			next.Failure = f
		} else {
			next.BackFailure = f
		}
	}
	next.Spans = nextSpans(r.Spans, stepOf(r.Phase), stepOf(d.Phase), s.Now)
	if d.Phase.Ended() {
		next.Ended = s.Now
	}
	return next
}

// turnsBack reports whether a release comes into the phase because something
// is wrong.
func turnsBack(p slipway.Phase) bool {
	switch p {
	case slipway.RollingBack, slipway.Removing, slipway.Refused, slipway.Overtaken, slipway.Broken:
		return true
	}
	return false
}

func codeOf(saw Sight) slipway.Code {
	switch saw {
	case SawStop, SawNothing:
		return slipway.Unavailable
	case SawBarred:
		return slipway.Unauthorized
	case SawNewer:
		return slipway.Superseded
	case SawForeign, SawReverted:
		return slipway.Conflict
	case SawDeadline:
		return slipway.Exhausted
	}
	return slipway.Invalid
}

// nextSpans ends the span of the step that is left and begins that of the next.
func nextSpans(spans []slipway.Span, from, to string, now time.Time) []slipway.Span {
	if from == to {
		return spans
	}
	spans = slices.Clone(spans)
	for i := range spans {
		if spans[i].Step == from && spans[i].Duration == 0 {
			spans[i].Duration = max(1, now.Sub(spans[i].Start))
		}
	}
	if to != "" {
		spans = append(spans, slipway.Span{Step: to, Start: now})
	}
	return spans
}

// same reports whether both are the same version of the same model. What only
// one of them knows does not count.
func same(a, b slipway.ModelVersion) bool {
	differ := func(x, y string) bool { return x != "" && y != "" && x != y }
	return a.Name == b.Name && a.Version == b.Version &&
		!differ(a.RunID, b.RunID) && !differ(a.ModelID, b.ModelID) && !differ(string(a.Files), string(b.Files))
}
