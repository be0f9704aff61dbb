//go:build e2e

package sklearn_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// TestE2EAgainstTheLibraries lets the real libraries fit all models of
// testdata/make_models.py, and compares every answer. The versions between
// these have a part of the models in testdata.
func TestE2EAgainstTheLibraries(t *testing.T) {
	t.Parallel()
	script, err := filepath.Abs("testdata/make_models.py")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		models int
		stack  []string
	}{
		"oldest": {285, []string{"scikit-learn==1.3.2", "skops==0.9.0", "numpy==1.26.4", "pandas==2.2.3"}},
		"middle": {290, []string{"scikit-learn==1.5.2", "skops==0.16.0", "numpy==1.26.4", "pandas==2.2.3"}},
		"newest": {290, []string{"scikit-learn==1.9.1", "skops==0.16.0", "numpy==2.4.6", "pandas==3.1.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cmd := exec.CommandContext(t.Context(), e2e.Python(t, c.stack...), script, dir)
			cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if n := compare(t, readReferences(t, dir)); n.models < c.models {
				t.Errorf("only %d models were compared", n.models)
			}
		})
	}
}
