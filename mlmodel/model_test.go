package mlmodel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// TestOpen reads the model directories of MLflow 1.30, 2.9 and 3.17.
func TestOpen(t *testing.T) {
	t.Parallel()
	type facts struct {
		Flavor, Loader, PredictFn, Weights, Python, RunsCode string
		Inputs                                               int
		Tolerance                                            float64
	}
	pickled := "python_model.pkl is a pickled Python object"
	for name, want := range map[string]facts{
		"sklearn-skops":           {"sklearn", "mlflow.sklearn", "predict", "model.skops", "3.11.7", "", 3, 1e-9},
		"sklearn-cloudpickle":     {"sklearn", "mlflow.sklearn", "predict_proba", "model.pkl", "3.11.7", "model.pkl is not a data format (cloudpickle)", 3, 1e-9},
		"xgboost-booster":         {"xgboost", "mlflow.xgboost", "predict", "model.json", "3.11.7", "", 3, 1e-5},
		"xgboost-sklearn-api":     {"xgboost", "mlflow.xgboost", "predict", "model.ubj", "3.11.7", "", 3, 1e-9},
		"lightgbm-booster":        {"lightgbm", "mlflow.lightgbm", "predict", "model.lgb", "3.11.7", "", 3, 1e-9},
		"onnx-tensor":             {"onnx", "mlflow.onnx", "predict", "model.onnx", "3.11.7", "", 1, 1e-5},
		"pyfunc-tensor-unnamed":   {"python_function", "mlflow.pyfunc.model", "predict", "", "3.11.7", pickled, 1, 1e-5},
		"pyfunc-all-types":        {"python_function", "mlflow.pyfunc.model", "predict", "", "3.11.7", pickled, 14, 1e-9},
		"pyfunc-models-from-code": {"python_function", "mlflow.pyfunc.loaders.code_model", "predict", "", "3.11.7", "code/ holds Python code that goes on the model's path", 1, 1e-9},
		"pyfunc-code-paths":       {"python_function", "mlflow.pyfunc.model", "predict", "", "3.11.7", "code/ holds Python code that goes on the model's path", 1, 1e-9},
		"pyfunc-type-hint":        {"python_function", "mlflow.pyfunc.model", "predict", "", "3.11.7", pickled, 1, 1e-9},
		"pyfunc-env-vars":         {"python_function", "mlflow.pyfunc.model", "predict", "", "3.11.7", pickled, 1, 1e-9},
		"mlflow-1.30":             {"sklearn", "mlflow.sklearn", "predict", "model.pkl", "3.8.13", "model.pkl is not a data format (cloudpickle)", 1, 1e-9},
		"mlflow-2.9":              {"xgboost", "mlflow.xgboost", "predict", "model.xgb", "3.10", "", 2, 1e-5},
	} {
		m, err := mlmodel.Open(filepath.Join("testdata", name))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		reason, runs := m.RunsCode()
		in := m.Signature.Inputs
		got := facts{m.Flavor(), m.Loader, m.PredictFn, m.Weights(), m.Python.Version, reason, len(in.Columns) + len(in.Tensors), m.Tolerance()}
		if d := cmp.Diff(want, got); d != "" || runs != (reason != "") {
			t.Errorf("%s: runs code %v\n%s", name, runs, d)
		}
	}
}

func TestOpenEnvironment(t *testing.T) {
	t.Parallel()
	m, err := mlmodel.Open("testdata/pyfunc-env-vars")
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"SOME_API_KEY"}, m.EnvVars); d != "" {
		t.Error(d)
	}
	if len(m.Python.Requirements) < 2 || m.Python.Requirements[0] != "mlflow==3.17.2" || m.Python.BuildDependencies[0] != "pip==23.2.1" || !strings.Contains(m.Python.Conda, "conda-forge") {
		t.Errorf("%+v", m.Python)
	}
	if m.ModelID != "m-40c87e02d1524a15846f1c49d9f0aea3" || m.RunID != "d327c0cf1184493bafe697706b6b9038" || m.MLflowVersion != "3.17.2" {
		t.Errorf("%+v", m)
	}
}

// TestAllTypes reads the signature with every type there is.
func TestAllTypes(t *testing.T) {
	t.Parallel()
	m, err := mlmodel.Open("testdata/pyfunc-all-types")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range m.Signature.Inputs.Columns {
		got = append(got, c.String())
	}
	want := []string{"b: boolean (required)", "i: integer (required)", "l: long (required)", "f: float (required)", "d: double (required)", "s: string (required)",
		"blob: binary (optional)", "t: datetime (required)", "opt: double (optional)", "arr: Array(long) (optional)",
		"obj: {age: long (optional), name: string (required), tags: Array(string) (optional)} (optional)",
		"m: Map(str -> double) (optional)", "mat: Array(Array(double)) (optional)", "any: Any (optional)"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(m.Signature.Params) != 6 || !m.Signature.Params[2].List || string(m.Signature.Params[2].Default) != `["a", "b"]` {
		t.Errorf("%+v", m.Signature.Params)
	}
}

// TestBroken is the table of MLmodel files that are refused, and what the
// error says.
func TestBroken(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat("[", 300) + strings.Repeat("]", 300)
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c <= 'i'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.TrimSuffix(strings.Repeat("*"+string(c-1)+",", 10), ",") + "]\n"
	}
	for name, test := range map[string]struct {
		text, want string
		code       slipway.Code
	}{
		"no YAML":               {"flavors: [", "not valid YAML", slipway.Invalid},
		"no mapping":            {"- a", "its top level is a list", slipway.Invalid},
		"two documents":         {"a: 1\n---\nb: 2", "2 YAML documents", slipway.Invalid},
		"empty":                 {"", "", slipway.Invalid},
		"flavors a list":        {"flavors: [sklearn]", "flavors is a list instead of a mapping", slipway.Invalid},
		"a flavor a text":       {"flavors: {sklearn: yes please}", "flavors.sklearn is text", slipway.Invalid},
		"predict_fn a list":     {"flavors: {python_function: {predict_fn: [a]}}", "flavors.python_function.predict_fn is a list instead of text", slipway.Invalid},
		"run_id a mapping":      {"run_id: {a: b}", "run_id is a mapping instead of text", slipway.Invalid},
		"env_vars numbers":      {"env_vars: [1]", "env_vars is a list instead of a list of texts", slipway.Invalid},
		"signature no JSON":     {"signature: {inputs: '[{'}", "inputs", slipway.Invalid},
		"unknown type":          {`signature: {inputs: '[{"type":"decimal","name":"x"}]'}`, `type "decimal" is not known`, slipway.Invalid},
		"array of nothing":      {`signature: {inputs: '[{"type":"array","name":"x"}]'}`, `lacks "items"`, slipway.Invalid},
		"null column":           {`signature: {inputs: '[null]'}`, `element 0: it is null`, slipway.Invalid},
		"tensor and column":     {`signature: {inputs: '[{"type":"long"},{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[-1]}}]'}`, "mixes columns and tensors", slipway.Invalid},
		"a name twice":          {`signature: {inputs: '[{"type":"long","name":"x"},{"type":"long","name":"x"}]'}`, `names "x" twice`, slipway.Invalid},
		"half named":            {`signature: {inputs: '[{"type":"long","name":"x"},{"type":"long"}]'}`, "names some columns", slipway.Invalid},
		"bad dimension":         {`signature: {inputs: '[{"type":"tensor","tensor-spec":{"dtype":"float32","shape":[-7]}}]'}`, "dimension of -7", slipway.Invalid},
		"deep flow":             {"metadata: " + deep, "nested too deeply", slipway.Invalid},
		"deep dashes":           {"metadata:\n  " + strings.Repeat("- ", 20000) + "x", "nested too deeply", slipway.Invalid},
		"deep type":             {`signature: {inputs: '[` + strings.Repeat(`{"type":"array","items":`, 40) + `{"type":"long"}` + strings.Repeat("}", 40) + `]'}`, "nested too deeply", slipway.Invalid},
		"aliases that grow":     {bomb, "stand for too many values", slipway.Exhausted},
		"many lines":            {strings.Repeat("# x\n", 20000), "more than 16384 lines", slipway.Exhausted},
		"alias of nothing":      {"a: *b", "", slipway.Invalid},
		"too large":             {"a: " + strings.Repeat("x", 5<<20), "larger than", slipway.Exhausted},
		"environment leads out": {"flavors: {python_function: {env: {virtualenv: ../../etc/passwd}}}", "reading ../../etc/passwd", slipway.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			_, err := mlmodel.Open(dir)
			if err == nil || slipway.CodeOf(err) != test.code || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v (%s) lacks %q", err, slipway.CodeOf(err), test.want)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// TestSparse reads what has almost nothing in it: every key is optional.
func TestSparse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"{}", "flavors: null", "run_id: 123\nflavors: {sklearn: null}\nsignature: null\na_new_key: {of: [mlflow, 4]}\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "MLmodel"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		m, err := mlmodel.Open(dir)
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if _, runs := m.RunsCode(); !runs {
			t.Errorf("%q: an unknown model counts as data", text)
		}
		if requests, err := m.Requests(5); err != nil || len(requests) != 0 {
			t.Errorf("%q: %v %v", text, requests, err)
		}
	}
}

func TestNoModel(t *testing.T) {
	t.Parallel()
	for _, dir := range []string{t.TempDir(), "testdata/nowhere"} {
		if _, err := mlmodel.Open(dir); slipway.CodeOf(err) != slipway.NotFound {
			t.Errorf("%s: %v", dir, err)
		}
	}
	dir := t.TempDir()
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "MLmodel")); err != nil {
		t.Fatal(err)
	}
	if _, err := mlmodel.Open(dir); slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("a link out of the directory: %v", err)
	}
}
