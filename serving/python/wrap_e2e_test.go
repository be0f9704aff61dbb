//go:build e2e

package python_test

import (
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// TestE2EWrapped has the worker behind another command, as in a sandbox: what
// it prints comes through, however much, and what explains its end is told.
func TestE2EWrapped(t *testing.T) {
	c, log := config(t)
	c.Wrap = func(cmd *exec.Cmd) (*exec.Cmd, error) {
		cmd.Stdout, cmd.Stderr = struct{ io.Writer }{cmd.Stdout}, struct{ io.Writer }{cmd.Stderr} // not a file: os/exec copies
		return cmd, nil
	}
	c.Explain = func(_ *exec.Cmd, err error) error {
		return &slipway.Error{Code: slipway.Exhausted, Message: "it held too much", Err: err}
	}
	m, p := load(t, c, custom(t, naughtyInputs, naughty))
	for _, do := range []string{"says hello", "prints 20000"} {
		if got, err := serving.Predict(t.Context(), m, p, []byte(record(do, 21))); err != nil || string(got) != "[42]" {
			t.Errorf("%s: %s, %v", do, got, err)
		}
	}
	log.await(t, `"line":"hello"`)
	log.await(t, `"line":"and on stderr hello"`)

	// A golden prediction is asked once.
	_, err := serving.MakeGolden(t.Context(), m, p, []mlmodel.Prediction{{Request: json.RawMessage(record("exits", 1))}})
	if err == nil || !strings.Contains(err.Error(), "the request ended a worker: a worker exited with status 3: it held too much") {
		t.Errorf("%v", err)
	}
	if _, err := serving.Predict(t.Context(), m, p, []byte(record("answer", 1))); err != nil || p.State().Restarts != 1 {
		t.Errorf("afterwards: %v, %+v", err, p.State())
	}
}
