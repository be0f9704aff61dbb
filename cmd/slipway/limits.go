package main

import (
	"time"

	"github.com/slipway-dev/slipway/serving/python"
)

// sandboxMemory is how many bytes a model may hold where it is loaded to build
// the image, unless the release lets its workers have more.
const sandboxMemory = 8 << 30

// limits are what a model may take in the sandbox.
type limits struct {
	load   time.Duration // until it is loaded
	answer time.Duration // for a request
	memory int64         // bytes
}

// limits returns what the release lets the model server's workers take, as
// --env SLIPWAY_TIMEOUT and SLIPWAY_WORKER_MEMORY say it: a model that needs more
// would fail where it serves, and one that is given more needs it here, too.
func (j *journey) limits() (limits, error) {
	l := limits{load: max(loadLimit, j.release.Startup), answer: time.Minute, memory: sandboxMemory}
	if text := j.release.Env["SLIPWAY_TIMEOUT"]; text != "" {
		var err error
		if l.answer, err = time.ParseDuration(text); err != nil || l.answer <= 0 {
			return l, badSetting("SLIPWAY_TIMEOUT", text, "90s")
		}
	}
	if text := j.release.Env["SLIPWAY_WORKER_MEMORY"]; text != "" {
		var size python.Size
		if err := size.Set(text); err != nil {
			return l, badSetting("SLIPWAY_WORKER_MEMORY", text, "512M")
		}
		l.memory = int64(size)
	}
	return l, nil
}

func badSetting(name, text, example string) error {
	return usageError{usagef("%s=%q is nothing the model server understands", name, text).WithHint("--env %s=%s", name, example)}
}
