//go:build e2e

package e2e_test

import (
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// Two tests that ask for the same environment at once get one and the same,
// with exactly what was asked for.
func TestE2EPythonIsSharedAndExact(t *testing.T) {
	t.Setenv("SLIPWAY_TEST_CACHE", t.TempDir())
	var paths [2]string
	var both sync.WaitGroup
	for i := range paths {
		both.Go(func() { paths[i] = e2e.Python(t, "six==1.17.0", "idna==3.10") })
	}
	both.Wait()
	if paths[0] != paths[1] {
		t.Fatalf("two environments for one list of requirements: %q", paths)
	}
	out, err := exec.CommandContext(t.Context(), paths[0], "-c", "import six, idna; print(six.__version__, idna.__version__)").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "1.17.0 3.10" {
		t.Errorf("got %q, %v; want the versions asked for", got, err)
	}
	if other := e2e.Python(t, "six==1.17.0"); other == paths[0] {
		t.Error("other requirements got the same environment")
	}
}
