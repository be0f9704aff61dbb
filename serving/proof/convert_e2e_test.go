//go:build e2e

package proof_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving/proof"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// TestE2EConvert runs the converter as the build does, with the libraries of
// each generation and with models that are not what they should be.
func TestE2EConvert(t *testing.T) {
	t.Parallel()
	folder := skopsFolder(t)
	script := filepath.Join(t.TempDir(), "convert.py")
	if err := os.WriteFile(script, []byte(proof.ConvertScript), 0o644); err != nil {
		t.Fatal(err)
	}
	for version, stack := range stacks {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			python, dir := e2e.Python(t, stack...), t.TempDir()
			cmd := exec.CommandContext(t.Context(), python, absolute(t, "testdata/odd_models.py"), dir)
			cmd.Dir = t.TempDir() // MLflow leaves things where it runs
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for name, want := range map[string]string{
				"fine":    "",
				"prints":  "",
				"own":     "not scikit-learn: the model is a __main__.Own",
				"complex": "skops cannot store sklearn.linear_model._logistic.LogisticRegression: TypeError: cannot pickle 'complex' object",
				"exits":   "SystemExit: 3",
				"dies":    "the converter ended without saying why",
				"gone":    "no such module: No module named 'gone'",
				"pyfunc":  "not scikit-learn: the model has no sklearn flavour",
			} {
				convertOne(t, conversion{python: python, script: script, model: filepath.Join(dir, name), folder: folder}, version, want)
			}
		})
	}
}

type conversion struct{ python, script, model, folder string }

func convertOne(t *testing.T, c conversion, version, want string) {
	t.Helper()
	out := c.model + ".skops"
	cmd := exec.CommandContext(t.Context(), c.python, c.script, c.model, out, c.folder)
	cmd.Dir = t.TempDir()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, failed := cmd.Output()
	got, err := proof.ReadConversion(stdout)
	name := filepath.Base(c.model)
	if want != "" {
		if failed == nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v instead of %s\n%s", name, failed, err, want, &stderr)
		}
		return
	}
	if failed != nil || err != nil {
		t.Errorf("%s: %v, %v\n%s\n%s", name, failed, err, stdout, &stderr)
		return
	}
	if diff := cmp.Diff(proof.Conversion{Class: "sklearn.linear_model._logistic.LogisticRegression", Sklearn: version, Skops: "0.16.0"}, got); diff != "" {
		t.Errorf("%s: %s", name, diff)
	}
	if _, err := skops.Open(out); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	if left, err := os.ReadDir(cmd.Dir); err != nil || len(left) > 0 {
		t.Errorf("%s: the converter left %v, %v", name, left, err)
	}
	if name == "fine" {
		asImage(t, c.model, out)
	}
}

// asImage puts the converted file where an image has it, and loads the model.
func asImage(t *testing.T, dir, converted string) {
	t.Helper()
	release := filepath.Join(dir, mlmodel.ReleaseDir)
	data, err := os.ReadFile(converted)
	if err == nil {
		err = os.Mkdir(release, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(release, mlmodel.ConvertedFile), data, 0o644)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(release, mlmodel.ManifestFile), []byte(`{"schemaVersion":1,"converted":"skops"}`), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	m, err := mlmodel.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sklearn.New().Load(t.Context(), m); err != nil {
		t.Error(err)
	}
}
