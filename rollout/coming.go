package rollout

import (
	"time"

	"github.com/slipway-dev/slipway"
)

// coming counts the time in which a release that is being verified waits for
// replicas that start: an autoscaler asks for more, or a node went. They get
// the time that replicas have to start, not what is left of verifying.
type coming struct {
	since  time.Time     // when the present wait began; zero: there is none
	before time.Duration // of those before, in the present phase
	most   time.Duration // how long a replica may take to start
}

// allowance is by how much a phase lasts longer for it.
func (c coming) allowance(now time.Time) time.Duration {
	waited := c.before
	if !c.since.IsZero() {
		waited += now.Sub(c.since)
	}
	return min(waited, c.most)
}

// noteComing notes whether replicas are waited for.
func (r *run) noteComing(release slipway.Release, d Decision, s Seen) {
	c := &r.coming
	verifies := release.Phase == slipway.Verifying || release.Phase == slipway.Restoring
	waits := verifies && d.Phase == release.Phase && (d.Saw == SawStarting || d.Saw == SawHealing)
	switch {
	case waits && c.since.IsZero():
		c.since = s.Now
		c.most = max(c.most, toStart(*goal(release), s.Observation))
	case !waits && !c.since.IsZero():
		c.before += s.Now.Sub(c.since)
		c.since = time.Time{}
	}
}
