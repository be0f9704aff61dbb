package proof

import (
	"context"
	"encoding/json"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// DefaultRows is how many rows are drawn unless Config says otherwise.
const DefaultRows = 2000

const proving = "comparing the native engine with the original library"

// Config is what is compared.
type Config struct {
	Model    *mlmodel.Model
	Original serving.Predictor // the library that made the model
	Native   serving.Predictor
	Golden   []json.RawMessage // requests that are compared first
	Rows     int               // to be drawn; 0: DefaultRows
	By       string            // the original: "scikit-learn 1.5.2"
}

// Run compares the two predictors until they differ, every row is compared or
// ctx ends. With neither a difference nor an error the model is proved.
//
// A request that one refuses, with code Invalid, the other must refuse, too. A
// native engine that fails otherwise differs; an original that does is an error
// of its code, as the end of ctx is. Code Invalid: too few rows were answered
// for a proof.
func Run(ctx context.Context, c Config) (mlmodel.Proof, *Difference, error) {
	if c.Rows == 0 {
		c.Rows = DefaultRows
	}
	r := &run{Config: c, rules: mlmodel.Golden{Tolerance: c.Model.Tolerance()}}
	for i, request := range c.Golden {
		if d, err := r.golden(ctx, request); d != nil || err != nil {
			return mlmodel.Proof{}, d.at(i+1, true), err
		}
	}
	drawn, err := c.Model.Draw(c.Rows, cutsOf(c.Native))
	if err != nil {
		return mlmodel.Proof{}, nil, err
	}
	first := 1
	for _, rows := range drawn {
		if d, err := r.batch(ctx, rows, 0, rows.Len()); d != nil || err != nil {
			return mlmodel.Proof{}, d.at(first, false), err
		}
		first += rows.Len()
	}
	if err := r.enough(first - 1); err != nil {
		return mlmodel.Proof{}, nil, err
	}
	return mlmodel.Proof{Rows: r.answered, LargestDifference: r.largest, By: c.By}, nil, nil
}

// cutsOf returns the thresholds that the native engine knows of its model.
func cutsOf(p serving.Predictor) []mlmodel.Cut {
	if c, ok := p.(interface{ Cuts() []mlmodel.Cut }); ok {
		return c.Cuts()
	}
	return nil
}

type run struct {
	Config
	rules    mlmodel.Golden
	answered int // rows that both answered alike
	drawn    int // those of them that were drawn
	largest  float64
	typical  float64 // magnitude of the answers to calm rows; 0: not known yet
}

// leastShare of the drawn rows must be answered: the others say only that both
// engines refuse.
const leastShare = 20

func (r *run) enough(drawn int) error {
	if r.answered > 0 && r.drawn >= drawn/leastShare {
		return nil
	}
	return slipway.Errorf(slipway.Invalid, proving, "of %d drawn rows both refuse all but %d, which proves nothing", drawn, r.drawn).
		WithHint("log the model with an input_example of several rows: rows are drawn from its values")
}

// golden compares a request of the user or of the example as a whole.
func (r *run) golden(ctx context.Context, request []byte) (*Difference, error) {
	o, err := r.ask(ctx, request, 1)
	if err != nil {
		return nil, err
	}
	if !o.refused() {
		r.answered++
	}
	return o.difference, nil
}

// batch compares the rows [from, to). Where one or both refuse, the halves are
// compared, so that one bad row does not hide the others. A difference is
// narrowed down to the fewest rows that show it.
func (r *run) batch(ctx context.Context, rows mlmodel.Rows, from, to int) (*Difference, error) {
	o, err := r.ask(ctx, rows.Request(from, to), to-from)
	if err != nil {
		return nil, err
	}
	if o.difference != nil {
		o.difference.Row = from
	}
	switch {
	case o.difference == nil && !o.refused():
		r.answered += to - from
		r.drawn += to - from
		return nil, nil
	case to-from == 1:
		return o.difference, nil
	}
	half := from + (to-from)/2
	for _, part := range [][2]int{{from, half}, {half, to}} {
		if d, err := r.batch(ctx, rows, part[0], part[1]); d != nil || err != nil {
			return d, err
		}
	}
	return o.difference, nil // it takes all these rows together
}

// outcome is what both said to one request.
type outcome struct {
	original, native reply
	difference       *Difference // nil: they say the same
}

// refused reports whether one of them did not answer.
func (o outcome) refused() bool { return o.original.err != nil || o.native.err != nil }

type reply struct {
	answer json.RawMessage
	err    error
}

func (r *run) ask(ctx context.Context, request []byte, rows int) (outcome, error) {
	var o outcome
	o.original.answer, o.original.err = serving.Predict(ctx, r.Model, r.Original, request)
	if err := r.broken(ctx, o.original.err); err != nil {
		return o, err
	}
	o.native.answer, o.native.err = serving.Predict(ctx, r.Model, r.Native, request)
	if ctx.Err() != nil {
		return o, late(ctx)
	}
	o.difference = r.compare(request, rows, o)
	return o, nil
}

// broken returns why the original cannot be asked any more; nil: it answered,
// or refused.
func (r *run) broken(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return late(ctx)
	case err == nil || slipway.CodeOf(err) == slipway.Invalid:
		return nil
	}
	return &slipway.Error{Op: proving, Code: slipway.CodeOf(err), Message: "the original library failed", Err: err}
}

func late(ctx context.Context) error {
	return &slipway.Error{Op: proving, Code: slipway.Exhausted, Message: "it did not end in time", Err: context.Cause(ctx)}
}

// leastTypical is how many rows show what a typical answer is. Calm rows are
// drawn first.
const leastTypical = 8

func (r *run) compare(request []byte, rows int, o outcome) *Difference {
	switch {
	case o.original.err != nil && slipway.CodeOf(o.native.err) == slipway.Invalid:
		return nil // both refuse
	case o.refused():
		return newDifference(request, "", o.original.said(), o.native.said())
	}
	if r.typical == 0 && rows >= leastTypical {
		r.typical = mlmodel.Typical(o.original.answer)
	}
	largest, d := mlmodel.CompareRows(o.original.answer, o.native.answer, r.rules, r.typical)
	if d != nil {
		return newDifference(request, d.Path, d.Want, d.Got)
	}
	r.largest = max(r.largest, largest)
	return nil
}
