//go:build e2e

package e2e_test

import (
	"os"
	"syscall"
	"testing"
	"time"
)

// stuck is a model that is never loaded, and has started a process that shows
// it got so far.
func stuck(mark string) string {
	return "import subprocess\nsubprocess.Popen(['sleep', '" + mark + "'], start_new_session=True).wait()\n" + doubling("return model_input['x']")
}

// A run that is ended while the model is loaded in the sandbox, politely or
// not, takes the sandbox along, has changed nothing, and is no obstacle for the
// next one.
func TestE2EEndedWhileTheModelIsLoaded(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		signal syscall.Signal
		code   int
	}{
		{"Ctrl-C", syscall.SIGINT, 130},
		{"killed", syscall.SIGKILL, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, mark := newTidy(t), newMark()
			s := w.start("deploy", private(t, written(t, stuck(mark))), "--name", "x")
			if !eventually(2*time.Minute, func() bool { return len(marked(t, mark)) > 0 }) {
				t.Fatalf("the model does not get so far\n%s", s.text())
			}
			if err := s.cmd.Process.Signal(tt.signal); err != nil {
				t.Fatal(err)
			}
			sent := time.Now()
			s.ends(tt.code)
			if took := time.Since(sent); took > 5*time.Second {
				t.Errorf("it ended after %s", took)
			}
			w.noProcess(mark)
			left, err := os.ReadDir(w.temporary())
			if err != nil || tt.signal == syscall.SIGINT && len(left) > 0 {
				t.Errorf("%v is left, %v\n%s", left, err, s.text())
			}
			if got := w.record(); got.Live != nil || got.Current != nil {
				t.Errorf("something was changed: %+v", got)
			}
			w.want(0, []string{"is live"}, "deploy", private(t, written(t, doubling("return model_input['x'].to_numpy()"))), "--name", "x", "--env", "SLIPWAY_WORKERS=1")
			w.tidy(mark)
		})
	}
}
