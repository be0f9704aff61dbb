package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving/proof"
	"github.com/slipway-dev/slipway/serving/python"
)

const proveOff = "off"

// proofFlags say how the model is brought to work where the image is built.
type proofFlags struct {
	Prove        string `enum:"auto,off" default:"auto" placeholder:"auto|off" help:"auto: compare the native engine with the original library, where uv can make its environment; off: leave the release self-checked."`
	AllowNetwork bool   `help:"Let the model use the network where it is loaded to build the image; by default it has none."`
}

// openOriginal brings the library that made the model to work. A model that is
// served natively can do without: it is self-checked then.
func (j *journey) openOriginal(ctx context.Context) error {
	j.work.Converted, j.work.Proof, j.work.Batch = "", nil, false
	if !j.needsPython() && j.making.Prove == proveOff {
		return nil
	}
	library, err := j.openLibrary(ctx)
	switch {
	case err == nil:
		j.library = library
		return nil
	case ctx.Err() != nil:
		return err
	case !j.needsPython():
		j.story.note("build", "not compared with the original library: %s", inLine(err))
		return nil
	case j.elsewhere() && (j.making.Golden != "" || j.making.AllowUnchecked):
		j.story.warn("build", "the model was not loaded on this machine: %s", inLine(err))
		return nil
	}
	return err
}

// elsewhere: the image is for no platform that this machine can run.
func (j *journey) elsewhere() bool {
	for _, p := range j.platforms() {
		if p == machine() {
			return false
		}
	}
	return true
}

func inLine(err error) string {
	head, reason := what(err)
	return strings.Join(strings.Fields(head+orNothing(": ", reason)+orNothing("; ", slipway.HintOf(err))), " ")
}

// settleEngine decides what answers: the native engine, where it is seen to
// answer as the original library does, or Python.
func (j *journey) settleEngine(ctx context.Context) error {
	if j.library == nil {
		return nil
	}
	defer func() { j.library.took = time.Since(j.library.began) }()
	why := j.notNative
	if j.engine.Engine != enginePython && (j.predictor != nil || convertible(j.model)) {
		err := j.tryNative(ctx)
		if err == nil || ctx.Err() != nil || j.engine.Engine == engineNative {
			return err
		}
		why = err
	}
	return j.settlePython(ctx, why)
}

// tryNative converts the model, where it must be, and compares.
func (j *journey) tryNative(ctx context.Context) error {
	if j.predictor == nil {
		if err := j.loadConverted(ctx); err != nil {
			return err
		}
	}
	j.release.Engine = native.Name()
	if j.making.Prove == proveOff {
		return j.proveNothing(ctx)
	}
	ctx, cancel := context.WithTimeout(ctx, proofLimit)
	defer cancel()
	found, difference, err := proof.Run(ctx, proof.Config{Model: j.model, Original: j.library.predictor, Native: j.predictor,
		Golden: j.requests(), By: j.library.by})
	if err != nil {
		return err
	}
	if difference != nil {
		return slipway.Errorf(slipway.Invalid, "proving the native engine", "it does not answer as %s: %s", j.library.by, difference)
	}
	j.work.Proof = &found
	if j.golden.By == j.library.by {
		j.golden.By += " on " + thousands(int64(found.Rows)) + " rows"
	}
	return nil
}

// proveNothing makes the golden predictions again, of the native engine alone.
func (j *journey) proveNothing(ctx context.Context) error {
	library := j.library
	j.library = nil
	defer func() { j.library = library }()
	return j.makeGolden(ctx)
}

func (j *journey) loadConverted(ctx context.Context) error {
	file, err := j.convert(ctx, j.library)
	if err != nil {
		return err
	}
	converted := *j.model
	converted.Converted = file
	p, err := native.Load(ctx, &converted)
	if err == nil {
		j.predictor, j.work.Converted = p, file
	}
	return err
}

func (j *journey) requests() []json.RawMessage {
	var requests []json.RawMessage
	for _, p := range j.golden.Predictions {
		requests = append(requests, p.Request)
	}
	return requests
}

// settlePython leaves the model to Python, and finds out whether it may be
// asked for several clients together.
func (j *journey) settlePython(ctx context.Context, why error) error {
	j.release.Engine, j.predictor, j.work.Converted = enginePython, nil, ""
	if why != nil {
		j.story.note("build", "served by Python: %s", inLine(why))
	}
	predictor, ok := j.library.predictor.(*python.Predictor)
	if !ok {
		return nil
	}
	var err error
	j.work.Batch, err = python.Batchable(ctx, j.model, predictor, j.requests())
	return err
}

// engineText says in a word what answers.
func (j *journey) engineText() string {
	if j.needsPython() {
		return "Python " + j.work.Python.Python
	}
	return "native"
}
