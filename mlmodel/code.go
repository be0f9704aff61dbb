package mlmodel

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// RunsCode reports whether loading the model with the library that made it
// runs code from the model's own files, and which file says so and why:
// unpickling runs whatever the file asks for. What is not known to be plain
// data counts as code.
func (m *Model) RunsCode() (reason string, runs bool) {
	for _, name := range slices.Sorted(maps.Keys(m.Flavors)) {
		f := m.Flavors[name]
		if code := f.Text("code"); code != "" {
			return fmt.Sprintf("%s/ holds Python code that goes on the model's path", code), true
		}
		if script := f.Text("model_code_path"); script != "" {
			return fmt.Sprintf("%s is the model: Python code", path.Base(script)), true
		}
		if pickle := f.Text("python_model"); pickle != "" {
			return fmt.Sprintf("%s is a pickled Python object", pickle), true
		}
	}
	return m.weightsRunCode()
}

// dataFiles are the endings that are plain data, by flavour.
var dataFiles = map[string][]string{
	"sklearn":  {".skops"},
	"xgboost":  {".ubj", ".json", ".xgb", ".deb"},
	"lightgbm": {".lgb", ".txt"},
	"onnx":     {".onnx"},
}

func (m *Model) weightsRunCode() (reason string, runs bool) {
	name := m.Flavor()
	endings, known := dataFiles[name]
	if !known {
		return fmt.Sprintf("models of flavour %q are loaded by running Python code (%s)", name, or(m.Loader, "no loader")), true
	}
	file := m.Weights()
	for _, ending := range endings {
		if strings.HasSuffix(file, ending) {
			return "", false
		}
	}
	return fmt.Sprintf("%s is not a data format (%s)", or(file, "the model's file"), or(m.Flavors[name].Text("serialization_format"), "pickle")), true
}

// Weights returns the relative path of the file or directory with the model's
// parameters, as the flavour names it, or "".
func (m *Model) Weights() string {
	f := m.Flavors[m.Flavor()]
	for _, key := range []string{"pickled_model", "data", "model_path"} {
		if file := f.Text(key); file != "" {
			return file
		}
	}
	function := m.Flavors["python_function"]
	return or(function.Text("model_path"), function.Text("data"))
}
