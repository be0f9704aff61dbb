package e2e

import (
	"os"
	"runtime"
	"testing"
)

// NotRun ends a test that this machine cannot run and says why. Where it could
// be run, in CI or as root on Linux, that is a failure.
func NotRun(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" || runtime.GOOS == "linux" && os.Geteuid() == 0 {
		t.Fatalf("not run: %s", why)
	}
	t.Skipf("not run: %s", why)
}
