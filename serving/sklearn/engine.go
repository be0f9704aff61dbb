// Package sklearn serves scikit-learn models saved in skops' format, or converted
// to it (mlmodel's Model.Converted), in Go, without Python.
//
// A model is compiled at load into steps over columns and one final estimator.
// What cannot be answered as the library itself would answer is refused when
// the model is checked, by name: a version, an estimator, a parameter, an
// attribute. Nothing of the model is run.
//
// Known are scikit-learn 1.3 to 1.9, stored by skops 0.9 or later, and of it
//
//   - Pipeline, ColumnTransformer, FeatureUnion, FunctionTransformer without a function;
//   - StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler, Normalizer, SimpleImputer, MissingIndicator,
//     OneHotEncoder, OrdinalEncoder;
//   - LinearRegression, Ridge, Lasso, ElasticNet, their CV and multi-task forms, LinearSVR, SGDRegressor, the Poisson,
//     gamma and Tweedie regressors, LogisticRegression(CV), RidgeClassifier(CV), LinearSVC, SGDClassifier;
//   - decision, extra, and random trees and forests, gradient boosting, histogram gradient boosting, with one or several outputs;
//   - GaussianNB, KMeans, MiniBatchKMeans.
//
// What differs from Python on purpose: a missing text is the missing category
// the model knows, where MLflow hands on None or NaN by the version of pandas
// and by the other rows; text that looks like a number is not read as one; and
// where Python computes in float32 in an order that depends on the machine
// (norms, clusters, a naive Bayes fitted on float32), float32 is refused.
package sklearn

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// Engine serves scikit-learn models; see the package.
type Engine struct{}

var _ serving.Engine = Engine{}

// New returns the engine.
func New() Engine { return Engine{} }

// Name returns "sklearn".
func (Engine) Name() string { return "sklearn" }

// Check reads the whole model and reports the first thing that is not known.
func (Engine) Check(m *mlmodel.Model) error {
	_, err := load(m)
	return err
}

// Load reads the model.
func (Engine) Load(_ context.Context, m *mlmodel.Model) (serving.Predictor, error) {
	return load(m)
}

func load(m *mlmodel.Model) (*Predictor, error) {
	path, err := modelFile(m)
	if err != nil {
		return nil, err
	}
	file, err := skops.Open(path)
	if err != nil {
		return nil, err
	}
	return Compile(file, m.PredictFn)
}

// modelFile returns the path of the skops file: the converted one, else the one
// that the model directory names.
func modelFile(m *mlmodel.Model) (string, error) {
	flavor, ok := m.Flavors["sklearn"]
	if !ok {
		return "", slipway.Errorf(slipway.Invalid, checking, "the model has no sklearn flavour but %q", m.Flavor())
	}
	if m.Converted != "" {
		return m.Converted, nil
	}
	path := m.Flavors["python_function"].Text("model_path")
	if path == "" {
		path = flavor.Text("pickled_model")
	}
	format := flavor.Text("serialization_format")
	if format != "" && format != "skops" || !strings.HasSuffix(path, ".skops") {
		return "", slipway.Errorf(slipway.Invalid, checking, "the model is saved as %s in %q, and loading that would run code", orPickle(format), path).
			WithHint("save it with mlflow.sklearn.log_model(…, serialization_format=\"skops\")")
	}
	if !filepath.IsLocal(filepath.FromSlash(path)) {
		return "", slipway.Errorf(slipway.Invalid, checking, "the model's file %q is not in its directory", path)
	}
	return filepath.Join(m.Dir, filepath.FromSlash(path)), nil
}

func orPickle(format string) string {
	if format == "" {
		return "a pickle"
	}
	return format
}

// Compile makes a predictor of a skops file that answers as the method of the
// Python object would: "predict", "predict_proba", "predict_log_proba" or
// "decision_function".
func Compile(file *skops.File, method string) (*Predictor, error) {
	return compile(&compiler{file: file}, method)
}

func compile(c *compiler, method string) (*Predictor, error) {
	m := c.model(c.file.Root, input{top: true, frame: true}, "the model")
	if c.err != nil {
		return nil, c.err
	}
	answer := m.methods[method]
	if answer == nil {
		return nil, slipway.Errorf(slipway.Invalid, checking, "%s has no %s that is known", c.file.Root.Class, method).
			WithHint("it has %s", strings.Join(methodNames(m), ", "))
	}
	p := newPredictor(m, answer, c.widest)
	if len(m.steps) == 0 {
		p.cuts = c.cuts
	}
	return p, nil
}

func methodNames(m *model) []string {
	var names []string
	for name := range m.methods {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
