package main

import (
	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
)

// engines are those that images can carry, by the flavours they serve.
func engines() []serving.Engine { return []serving.Engine{sklearn.New()} }

// chooseEngine returns the engine that can serve the model exactly, or why
// none can.
func chooseEngine(m *mlmodel.Model) (serving.Engine, error) {
	var err error
	for _, e := range engines() {
		if err = e.Check(m); err == nil {
			return e, nil
		}
	}
	if err == nil {
		err = slipway.Errorf(slipway.Invalid, "choosing an engine", "there is none")
	}
	return nil, err
}
