//go:build e2e

package mlflow_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

// A full disk is an error that says so. The disk is one of 1 MB, which only
// the downloading process sees.
func TestE2EDiskFull(t *testing.T) {
	s := newShop(t, mlflowtest.Config{})
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	disk := t.TempDir()
	cmd := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--mount", "sh", "-c",
		`mount -t tmpfs -o size=1m tmpfs "$1" && exec "$2" -test.run='^TestDownloadInAnotherProcess$'`, "sh", disk, self)
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_URI="+s.URL(), "SLIPWAY_TEST_DIR="+filepath.Join(disk, "m"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if line := said(out); !strings.Contains(line, "code=exhausted") || !strings.Contains(line, "no space left on device") {
		t.Errorf("got %q in\n%s", line, out)
	}
}
