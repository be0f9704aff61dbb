package mlmodel

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/slipway-dev/slipway"
)

// Model is an MLflow model directory that was read: the MLmodel file of MLflow
// 1.x, 2.x or 3.x, in which every key is optional, and what it points at.
// Nothing of the model itself is loaded.
type Model struct {
	Dir           string
	Flavors       map[string]Flavor // by name, "python_function" among them
	Loader        string            // python_function's loader_module: "mlflow.sklearn"; "" without that flavour
	PredictFn     string            // what the model is asked for: "predict" unless MLmodel says otherwise
	Signature     *Signature        // nil: the model has none
	Python        Python
	EnvVars       []string // names of environment variables the model needs
	ModelID       string   // MLflow 3's logged model, "m-…"
	ModelUUID     string   // 1.x and 2.x
	RunID         string
	MLflowVersion string
	Created       string         // utc_time_created, as written
	Metadata      map[string]any // free; numbers are json.Number
	Converted     string         // path of the parameters in the form a native engine reads ("skops"); "": they are stored so, or not at all
	example       exampleInfo
}

// Flavor is what MLmodel says of one flavour: nil, bool, string, json.Number,
// []any and map[string]any.
type Flavor map[string]any

// Text returns a setting that is text or a number, or "".
func (f Flavor) Text(key string) string {
	switch v := f[key].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	}
	return ""
}

// flavorOrder is which flavour names a model that has several: the library
// that made it, not a wrapper around it.
var flavorOrder = []string{"sklearn", "xgboost", "lightgbm", "catboost", "onnx"}

// Flavor returns the flavour that names the model: "sklearn". A model that is
// only a Python function is "python_function"; one without flavours is "".
func (m *Model) Flavor() string {
	for _, name := range flavorOrder {
		if _, ok := m.Flavors[name]; ok {
			return name
		}
	}
	names := slices.Sorted(maps.Keys(m.Flavors))
	for _, name := range names {
		if name != "python_function" {
			return name
		}
	}
	if len(names) > 0 {
		return names[0]
	}
	return ""
}

// Open reads a model directory. Code NotFound: there is no MLmodel file;
// Invalid or Exhausted: it is not one that MLflow wrote.
func Open(dir string) (*Model, error) {
	data, err := readFile(dir, "MLmodel", maxMLmodel)
	if err != nil {
		return nil, err
	}
	m, err := parseMLmodel(data)
	if err != nil {
		return nil, err
	}
	m.Dir = dir
	if err := m.readEnvironment(); err != nil {
		return nil, err
	}
	if err := m.readConverted(); err != nil {
		return nil, err
	}
	return m, nil
}

// parseMLmodel reads the MLmodel file alone. Keys it does not know are left
// aside, because MLflow adds some with every version; a known key of another
// type is an error.
func parseMLmodel(data []byte) (*Model, error) {
	const op = "reading MLmodel"
	top, err := parseYAML(op, data)
	if err != nil {
		return nil, err
	}
	k := keys{op: op, values: top}
	m := &Model{
		ModelID: k.text("model_id"), ModelUUID: k.text("model_uuid"), RunID: k.text("run_id"),
		MLflowVersion: k.text("mlflow_version"), Created: k.text("utc_time_created"),
		Metadata: k.mapping("metadata"), EnvVars: k.texts("env_vars"),
	}
	m.Flavors = k.flavors()
	m.example = k.example()
	m.Signature = k.signature()
	function := k.inside("flavors.python_function", map[string]any(m.Flavors["python_function"]))
	m.Loader = function.text("loader_module")
	m.PredictFn = function.text("predict_fn")
	if m.PredictFn == "" {
		m.PredictFn = "predict"
	}
	m.Python.Version = function.text("python_version")
	m.Python.files = function.environmentFiles()
	if k.err == nil {
		k.err = function.err
	}
	return m, k.err
}

// keys reads typed values out of a mapping and keeps the first error.
type keys struct {
	op     string
	path   string
	values map[string]any
	err    error
}

func (k *keys) inside(path string, values map[string]any) *keys {
	return &keys{op: k.op, path: path + ".", values: values}
}

func (k *keys) wrong(key, want string) {
	if k.err == nil {
		k.err = slipway.Errorf(slipway.Invalid, k.op, "%s is %s instead of %s", k.path+key, describe(k.values[key]), want)
	}
}

func (k *keys) text(key string) string {
	switch v := k.values[key].(type) {
	case nil:
	case string:
		return v
	case json.Number:
		return v.String()
	default:
		k.wrong(key, "text")
	}
	return ""
}

func (k *keys) mapping(key string) map[string]any {
	m, ok := k.values[key].(map[string]any)
	if !ok && k.values[key] != nil {
		k.wrong(key, "a mapping")
	}
	return m
}

func (k *keys) texts(key string) []string {
	list, ok := k.values[key].([]any)
	if !ok && k.values[key] != nil {
		k.wrong(key, "a list")
	}
	var texts []string
	for _, item := range list {
		text, ok := item.(string)
		if !ok {
			k.wrong(key, "a list of texts")
		}
		texts = append(texts, text)
	}
	return texts
}

func (k *keys) flavors() map[string]Flavor {
	flavors := map[string]Flavor{}
	for name, v := range k.mapping("flavors") {
		f, ok := v.(map[string]any)
		if !ok && v != nil {
			k.err = slipway.Errorf(slipway.Invalid, k.op, "flavors.%.80s is %s instead of a mapping", name, describe(v))
		}
		flavors[name] = f
	}
	return flavors
}

func (k *keys) signature() *Signature {
	parts := k.inside("signature", k.mapping("signature"))
	if len(parts.values) == 0 {
		return nil
	}
	s, err := ParseSignature(parts.text("inputs"), parts.text("outputs"), parts.text("params"))
	if parts.err != nil {
		err = parts.err
	}
	if err != nil && k.err == nil {
		k.err = fmt.Errorf("%s: %w", k.op, err)
	}
	return s
}
