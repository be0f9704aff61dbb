//go:build e2e

package e2e_test

import (
	"os"
	"os/exec"
	"testing"
)

// The command line compiles for the laptops that many data scientists have.
func TestE2ECompilesForMacOS(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", os.DevNull, "./cmd/slipway")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOOS=darwin", "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
