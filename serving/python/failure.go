package python

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving"
)

// evidence is what shows why a model does not load: the end of a stack trace
// or of the worker's output.
type evidence struct{ text string }

func (e *evidence) Error() string { return e.text }

// Evidence is for the termination log.
func (e *evidence) Evidence() string { return e.text }

// evidenceLines are of a stack trace, whose end says most.
const evidenceLines = 8

func evidenceOf(text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		return errors.New("it said nothing")
	}
	lines := strings.Split(text, "\n")
	return &evidence{short(strings.Join(lines[max(0, len(lines)-evidenceLines):], "\n"), 2000)}
}

// unexpected is what MLflow's server tells clients of an exception.
const unexpected = "Encountered an unexpected error while evaluating the model. Verify that the input is compatible with the model for inference."

// atPredict is the error of a request that came to an exception. The log has
// all of it, the client what it may see.
func (f *failure) atPredict(c Config, id string) error {
	c.Log.Warn("the model raised an exception", "request", id, "at", short(f.At, 20), "type", short(f.Type, 200), "message", short(f.Message, 500), "trace", short(f.Trace, 4000))
	switch {
	case f.Memory && c.Memory > 0:
		return slipway.Errorf(slipway.Internal, op, "a worker wanted more than %d MiB of memory: %s", c.Memory>>20, short(f.Message, 200)).
			WithHint("give the workers more with --worker-memory (SLIPWAY_WORKER_MEMORY), or start fewer with --workers")
	case f.At == "answer":
		return slipway.Errorf(slipway.Internal, op, "the model's answer cannot be written as JSON: %s", short(f.Message, 300))
	}
	e := &serving.ModelError{Code: f.Code, Class: f.Class, Message: f.Message}
	if f.Code == "" {
		e.Message = unexpected + " " + f.Type + ": " + f.Message
	}
	e.Message = withoutPaths(short(e.Message, 1000))
	if c.Debug {
		e.Stack = short(f.Trace, 8000)
	}
	return e
}

var path = regexp.MustCompile(`(^|[\s'"(=:,\[])/(?:[\w.+@~-]+/)+([\w.+@~-]*)`)

// withoutPaths leaves of a path of the server only the last part.
func withoutPaths(text string) string { return path.ReplaceAllString(text, "${1}…/${2}") }

// short cuts a text to so many bytes, between characters.
func short(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "…"
}
