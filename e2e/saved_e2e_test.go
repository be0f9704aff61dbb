//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

var savedModels struct {
	sync.Mutex
	dir string
	all map[string]logged
}

// saved returns the directory of a model that testdata/save_models.py saves as
// a pickle, and what scikit-learn answers with it. It runs once for all tests.
func saved(t testing.TB, name string) (dir string, m logged) {
	t.Helper()
	savedModels.Lock()
	defer savedModels.Unlock()
	if savedModels.all == nil {
		save(t)
	}
	m, ok := savedModels.all[name]
	if !ok {
		t.Fatalf("save_models.py saves no %s", name)
	}
	return filepath.Join(savedModels.dir, name), m
}

func save(t testing.TB) {
	t.Helper()
	dir := filepath.Join(filepath.Dir(program(t, "modelserver", "./cmd/modelserver")), "saved")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(e2e.Python(t, e2e.ScikitLearn...), "testdata/save_models.py", dir)
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("saving models: %v\n%s", err, out)
	}
	data, err := os.ReadFile(filepath.Join(dir, "answers.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &savedModels.all); err != nil {
		t.Fatal(err)
	}
	savedModels.dir = dir
}

// written makes the directory of a model that is Python code, as MLflow saves
// a model from code: one column x of doubles in, and one number a row out.
func written(t testing.TB, code string, more ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	files := map[string]string{
		"MLmodel": fmt.Sprintf(`flavors:
  python_function:
    env: {conda: conda.yaml, virtualenv: python_env.yaml}
    loader_module: mlflow.pyfunc.loaders.code_model
    model_code_path: /home/ada/model.py
    python_version: %s
mlflow_version: 3.17.2
saved_input_example_info: {artifact_path: input_example.json, pandas_orient: split, serving_input_path: serving_input_example.json, type: dataframe}
signature:
  inputs: '[{"type": "double", "name": "x", "required": true}]'
  outputs: '[{"type": "tensor", "tensor-spec": {"dtype": "float64", "shape": [-1]}}]'
%s
`, pythonVersion(t), strings.Join(more, "\n")),
		"requirements.txt":           "mlflow==" + e2e.MLflowVersion + "\npandas",
		"model.py":                   code,
		"input_example.json":         `{"columns": ["x"], "data": [[1.0], [2.5]]}`,
		"serving_input_example.json": `{"dataframe_split": {"columns": ["x"], "data": [[1.0], [2.5]]}}`,
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// pythonVersion is that of this machine's Python.
func pythonVersion(t testing.TB) string {
	t.Helper()
	out, err := exec.Command(e2e.Python(t), "-c", "import platform; print(platform.python_version())").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// doubling is a model from code whose predict is the body.
func doubling(body string) string {
	return "import mlflow\n\nclass Model(mlflow.pyfunc.PythonModel):\n    def predict(self, context, model_input, params=None):\n        " +
		strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n        ") + "\n\nmlflow.models.set_model(Model())\n"
}
