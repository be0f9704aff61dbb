package main

import (
	"archive/zip"
	"context"
	"path/filepath"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// The values of --engine, and the name of the engine that runs Python.
const (
	engineNative = "native"
	enginePython = "python"
)

// engineFlags say what answers predictions.
type engineFlags struct {
	Engine string `enum:"auto,native,python" default:"auto" placeholder:"auto|native|python" help:"What answers: native (Go, without Python), python, or auto: native where it gives the original library's answers, else python."`
}

// native is the engine that serves models without Python.
var native serving.Engine = sklearn.New()

// chooseEngine finds out, without running anything of the model, what may serve
// it: the native engine, which is then loaded, or Python, for the reason in
// j.notNative.
func (j *journey) chooseEngine(ctx context.Context) (err error) {
	j.predictor, j.notNative = nil, nil
	if j.engine.Engine != enginePython {
		var p serving.Predictor
		if p, err = native.Load(ctx, j.model); err == nil {
			j.predictor, j.release.Engine = p, native.Name()
			return nil
		}
	}
	switch {
	case j.model.Loader == "":
		return noLoader(err)
	case err != nil && broken(j.model), j.engine.Engine == engineNative && !convertible(j.model):
		return err
	}
	j.release.Engine, j.notNative = enginePython, err
	return nil
}

func noLoader(err error) error {
	if err != nil {
		return err
	}
	return slipway.Errorf(slipway.Invalid, "choosing an engine", "MLmodel has no python_function flavour, which says how Python loads the model").
		WithHint("log the model again with MLflow")
}

// convertible: a scikit-learn model whose parameters are pickled may turn out
// to be of classes that the native engine knows.
func convertible(m *mlmodel.Model) bool {
	_, sklearn := m.Flavors["sklearn"]
	return sklearn && !strings.HasSuffix(m.Weights(), ".skops")
}

// broken: parameters stored by skops that are no archive any more, which no
// other engine reads either.
func broken(m *mlmodel.Model) bool {
	if !strings.HasSuffix(m.Weights(), ".skops") {
		return false
	}
	archive, err := zip.OpenReader(filepath.Join(m.Dir, filepath.FromSlash(m.Weights())))
	if err != nil {
		return true
	}
	archive.Close() //nolint:errcheck // it was only read
	return false
}

// needsPython reports whether the model cannot be served, or not be brought
// into the form the native engine reads, without its Python environment.
func (j *journey) needsPython() bool { return j.release.Engine == enginePython }
