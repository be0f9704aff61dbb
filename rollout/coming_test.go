package rollout_test

import (
	"context"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/rollout"
)

// An autoscaler asks for another replica while a release is verified: it gets
// the time that replicas have to start, and not for ever.
func TestAReplicaThatComesWhileVerifying(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		starts  time.Duration // how long it takes to become ready
		startup time.Duration // how long the target lets it take
		want    rollout.Kind
		within  time.Duration
	}{
		{"in time", 140 * time.Second, 150 * time.Second, rollout.Live, 145 * time.Second},
		{"too late", time.Hour, 150 * time.Second, rollout.RolledBack, 230 * time.Second},
		{"where nobody says how long", time.Hour, 0, rollout.RolledBack, 65 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(w *world) {
				w.deploy(1)
				b := &bent{world: w}
				var ready time.Time
				b.store = func(r slipway.Record) (error, error) {
					if r.Current != nil && r.Current.Phase == slipway.Verifying && ready.IsZero() {
						ready = time.Now().Add(tt.starts)
					}
					return nil, nil
				}
				b.observe = func(_ context.Context, o slipway.Observation) (slipway.Observation, error) {
					o.Startup = tt.startup
					if time.Now().Before(ready) && o.Desired == image(2) {
						o.Want++
						o.Replicas = append(o.Replicas, slipway.Replica{
							Name: "late", Release: o.Release, Image: o.Desired, State: slipway.Starting, Since: ready.Add(-tt.starts),
						})
					}
					return o, nil
				}
				start := time.Now()
				o, err := b.deployBent(w.Context())
				if err != nil {
					w.Fatal(err)
				}
				w.wantKind(o, tt.want)
				if took := time.Since(start); took > tt.within {
					w.Errorf("took %s, want at most %s", took, tt.within)
				}
			})
		})
	}
}
