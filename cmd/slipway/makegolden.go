package main

import (
	"context"
	"path/filepath"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// makeGolden asks the original library for the golden predictions, or where it
// is not at work, the engine.
func (j *journey) makeGolden(ctx context.Context) error {
	given, err := j.givenGolden()
	if err != nil {
		return err
	}
	if j.golden, err = j.answeredGolden(ctx, given); err != nil {
		return err
	}
	if j.golden.Source == slipway.Unchecked && !j.making.AllowUnchecked {
		return slipway.Errorf(slipway.Invalid, "making the golden predictions", "the model has neither an example nor a signature to make requests from").
			WithHint("--golden FILE with requests and answers, or --allow-unchecked to release it unproved")
	}
	return nil
}

func (j *journey) givenGolden() ([]mlmodel.Prediction, error) {
	if j.making.Golden == "" {
		return nil, nil
	}
	given, err := mlmodel.ReadGoldenFile(j.making.Golden)
	if err != nil {
		return nil, usageError{err}
	}
	return given, nil
}

func (j *journey) answeredGolden(ctx context.Context, given []mlmodel.Prediction) (mlmodel.Golden, error) {
	switch {
	case j.library != nil:
		g, err := serving.MakeGolden(ctx, j.model, j.library.predictor, given)
		if g.Source == slipway.SelfChecked {
			g.Source, g.By = slipway.Proved, j.library.by
		}
		return j.signed(g), err
	case j.predictor != nil:
		g, err := serving.MakeGolden(ctx, j.model, j.predictor, given)
		return j.signed(g), err
	}
	return j.takenGolden(given)
}

// takenGolden takes the user's answers where nothing on this machine can give
// any to compare them with.
func (j *journey) takenGolden(given []mlmodel.Prediction) (mlmodel.Golden, error) {
	g := mlmodel.Golden{SchemaVersion: mlmodel.GoldenSchema, Source: slipway.Unchecked, Tolerance: j.model.Tolerance(), Predictions: given}
	for i, p := range given {
		if p.Answer == nil {
			return g, usageError{usagef("golden prediction %d has no answer, and the model cannot be asked on this machine", i+1).
				WithHint("give every answer in %s", j.making.Golden)}
		}
		g.Source = slipway.Proved
	}
	return j.signed(g), nil
}

// signed says who gave the golden answers.
func (j *journey) signed(g mlmodel.Golden) mlmodel.Golden {
	switch {
	case g.By != "":
	case g.Source == slipway.Proved:
		g.By = "the file " + filepath.Base(j.making.Golden)
	case g.Source == slipway.SelfChecked:
		g.By = "slipway's " + orElse(libraries[native.Name()], native.Name()) + " engine"
	}
	return g
}

// goldenText is "5 golden predictions, self-checked by …".
func goldenText(g mlmodel.Golden) string {
	if len(g.Predictions) == 0 {
		return "no golden predictions: unchecked"
	}
	text := plural(len(g.Predictions), "golden prediction") + ", " + string(g.Source)
	if g.By != "" {
		text += " by " + g.By
	}
	if g.Nondeterministic {
		text += "; the model is nondeterministic: only the shape of answers is compared"
	}
	return text
}
