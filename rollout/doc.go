// Package rollout brings releases to a target and back again.
//
// Two parts. Next is the state machine: a pure function from a release and
// what was seen to the next phase and action. Driver acts on it: it holds the
// target's lock, stores each phase in the journal before it takes the phase's
// action, and repeats until the release has ended.
//
//	pending ─→ rolling-out ─→ verifying ─→ verified
//	   │            │  └─→ unverified ─┘│
//	   │            └──────────┬────────┘
//	   │                       ├─→ rolling-back ─→ restoring ─→ rolled-back
//	   │                       └─→ removing ─→ removed      (a first release)
//	   └─→ failed, superseded        every way back may also end in needs-person
//
// Because the phase comes before the action and every action can be repeated,
// any process that takes the lock can go on where another died: it looks at
// the target and asks Next. Every phase has a deadline that leads out of it,
// and no chain of phases comes back to one it left, so every release ends.
//
// The package decides and records. It knows no model registry, no image and no
// protocol: what must be resolved, built or asked is handed in as a callback.
package rollout
