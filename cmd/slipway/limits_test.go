package main

import (
	"errors"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// What the release gives the workers where it serves, it gives the model where
// the image is built.
func TestLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env     map[string]string
		startup time.Duration
		want    limits
		wrong   bool
	}{
		"nothing is said":    {want: limits{5 * time.Minute, time.Minute, 8 << 30}},
		"a longer start":     {startup: time.Hour, want: limits{time.Hour, time.Minute, 8 << 30}},
		"a shorter start":    {startup: time.Minute, want: limits{5 * time.Minute, time.Minute, 8 << 30}},
		"time and memory":    {env: map[string]string{"SLIPWAY_TIMEOUT": "5m", "SLIPWAY_WORKER_MEMORY": "20G"}, want: limits{5 * time.Minute, 5 * time.Minute, 20 << 30}},
		"no limit of memory": {env: map[string]string{"SLIPWAY_WORKER_MEMORY": "0"}, want: limits{5 * time.Minute, time.Minute, 0}},
		"no time":            {env: map[string]string{"SLIPWAY_TIMEOUT": "0s"}, wrong: true},
		"not a time":         {env: map[string]string{"SLIPWAY_TIMEOUT": "soon"}, wrong: true},
		"not a size":         {env: map[string]string{"SLIPWAY_WORKER_MEMORY": "lots"}, wrong: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := &journey{release: slipway.Release{Env: test.env, Startup: test.startup}}
			got, err := j.limits()
			var wrong usageError
			if test.wrong != errors.As(err, &wrong) || !test.wrong && got != test.want {
				t.Errorf("got %+v, %v, want %+v", got, err, test.want)
			}
		})
	}
}
