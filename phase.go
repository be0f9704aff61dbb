package slipway

// Phase is where a release is on its way. It is stored in the journal before
// the action of the phase is taken.
type Phase string

// The phases. The first four change nothing on the target.
const (
	Resolving  Phase = "resolving"
	Validating Phase = "validating"
	Building   Phase = "building"
	Pushing    Phase = "pushing"

	Pending     Phase = "pending"      // journalled; the target has not moved
	RollingOut  Phase = "rolling-out"  // the target was told to serve it
	Unverified  Phase = "unverified"   // rolled out; `slipway verify` is to come
	Verifying   Phase = "verifying"    // every replica is being asked
	RollingBack Phase = "rolling-back" // the target was told to serve the previous release
	Restoring   Phase = "restoring"    // the previous release is being verified
	Removing    Phase = "removing"     // a first release failed: the target is told to serve nothing

	Verified   Phase = "verified"     // live
	RolledBack Phase = "rolled-back"  // the previous release serves and is verified
	Removed    Phase = "removed"      // a first release failed and is gone
	Broken     Phase = "needs-person" // the way back failed
	Refused    Phase = "failed"       // failed before the target moved
	Overtaken  Phase = "superseded"   // a newer promotion took the target
	Undone     Phase = "undone"       // was verified, then rolled back by hand
)

// Ended reports whether nothing more happens to a release in this phase.
func (p Phase) Ended() bool {
	switch p {
	case Verified, RolledBack, Removed, Broken, Refused, Overtaken, Undone:
		return true
	}
	return false
}

// Moved reports whether the target may already have changed in this phase, so
// that a release found in it must be finished or undone.
func (p Phase) Moved() bool {
	switch p {
	case RollingOut, Unverified, Verifying, RollingBack, Restoring, Removing:
		return true
	}
	return false
}
