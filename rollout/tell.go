package rollout

import (
	"fmt"
	"reflect"
	"time"

	"github.com/slipway-dev/slipway"
)

// noteObserved tells what the target looks like, when that has changed.
func (r *run) noteObserved(release slipway.Release, o slipway.Observation) {
	at := o.At
	o.At = time.Time{}
	if reflect.DeepEqual(o, r.last) {
		return
	}
	r.last, r.pause = o, r.config.PollFirst
	o.At = at
	r.noteNotes(release, o.Notes)
	ready := 0
	for _, replica := range o.Replicas {
		if replica.State == slipway.Ready && (goal(release) == nil || belongs(replica, *goal(release))) {
			ready++
		}
	}
	r.tell(release, slipway.Event{
		Kind: slipway.Observed, Step: stepOf(release.Phase), Observation: &o,
		Done: int64(ready), Total: int64(o.Want), Unit: "replicas",
	})
}

// mostNotes bounds how many notes of a target one run tells.
const mostNotes = 50

// noteNotes tells what others do to the target, each thing once.
func (r *run) noteNotes(release slipway.Release, notes []string) {
	for _, note := range notes {
		if r.told[note] || len(r.told) >= mostNotes {
			continue
		}
		r.told[note] = true
		r.tell(release, slipway.Event{Kind: slipway.Note, Step: phaseStep(release.Phase), Message: note})
	}
}

// phaseStep is the step that the events of a phase name.
func phaseStep(p slipway.Phase) string {
	if step := stepOf(p); step != "" {
		return step
	}
	return stepVerify
}

// tellTakenUp tells that this run goes on with what another one began.
func (r *run) tellTakenUp(release slipway.Release) {
	e := slipway.Event{Kind: slipway.Started, Step: stepOf(release.Phase), Message: fmt.Sprintf("going on with %s: it was %s", release.Model, release.Phase)}
	if e.Step == "" {
		e.Kind, e.Step = slipway.Note, stepVerify
	}
	r.tell(release, e)
}

// tellChange tells that a release has come from one phase to another.
func (r *run) tellChange(old, next slipway.Release, s Seen) {
	from, to := stepOf(old.Phase), stepOf(next.Phase)
	if from != to && from != "" {
		r.tellEnd(old, next, from, s)
	}
	if from != to && to != "" {
		r.tell(next, slipway.Event{Kind: slipway.Started, Step: to, Message: starting(next)})
	}
	if next.Phase.Ended() {
		r.tell(next, slipway.Event{Kind: slipway.Concluded, Step: stepRecord, Message: tell(next), Outcome: &next})
	}
}

func (r *run) tellEnd(old, next slipway.Release, step string, s Seen) {
	e := slipway.Event{Kind: slipway.Succeeded, Step: step, Message: finished(next)}
	switch {
	case next.Phase == slipway.Broken && next.BackFailure != nil:
		e.Kind, e.Problem = slipway.Stopped, &next.BackFailure.Problem
	case turnsBack(next.Phase) && next.Failure != nil:
		e.Kind, e.Problem = slipway.Stopped, &next.Failure.Problem
	}
	if e.Problem != nil {
		e.Message = e.Problem.Message
	}
	if old.Phase == slipway.Verifying && next.Phase == slipway.Verified {
		r.tellProof(next, *s.Verdict)
	}
	r.tell(next, e)
}

// tellProof tells the two lines that people look for in logs.
func (r *run) tellProof(release slipway.Release, v slipway.Verdict) {
	r.tell(release, slipway.Event{Kind: slipway.Note, Step: stepVerify, Indicator: "Health check passed"})
	if n := v.Predictions(); n > 0 {
		r.tell(release, slipway.Event{Kind: slipway.Note, Step: stepVerify, Indicator: "Prediction tests successful", Done: int64(n), Unit: "predictions"})
	}
}

func starting(r slipway.Release) string {
	switch r.Phase {
	case slipway.RollingBack:
		return fmt.Sprintf("going back to %s", r.Previous.Model)
	case slipway.Removing:
		return fmt.Sprintf("removing %s: nothing served before it", r.Model)
	}
	return r.Model.String()
}

func finished(r slipway.Release) string {
	switch r.Phase {
	case slipway.RolledBack:
		return fmt.Sprintf("%s serves and is verified", r.Previous.Model)
	case slipway.Removed:
		return fmt.Sprintf("%s is gone", r.Model)
	case slipway.Verified:
		return fmt.Sprintf("every replica of %s was asked and right", r.Model)
	}
	return fmt.Sprintf("every replica of %s is ready", r.Model)
}
