package serving

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Predict answers one body of /invocations in process, through the same
// reader, schema and writer as the server. The answer is in the form of a
// golden prediction. Code Invalid: the request does not fit the model.
func Predict(ctx context.Context, m *mlmodel.Model, p Predictor, body []byte) (json.RawMessage, error) {
	return newAnswerer(m, p, Strict).golden(ctx, body)
}

// answerer is a model with its codec.
type answerer struct {
	codec     *codec
	predictor Predictor
}

func newAnswerer(m *mlmodel.Model, p Predictor, schema Schema) *answerer {
	c := newCodec(m.Signature, schema)
	_, c.bodies = p.(Asker)
	return &answerer{codec: c, predictor: p}
}

// output answers a body. The decoder, whose batch the output may refer to, is
// to be given back after the output was written.
func (a *answerer) output(ctx context.Context, body []byte, kind bodyKind, door door) (out *Output, d *decoder, refused *refusal) {
	defer rescue(&refused)
	if d, refused = a.codec.decode(body, kind, door); refused != nil {
		return nil, nil, refused
	}
	out, err := a.predictor.Predict(ctx, &d.batch)
	if err == nil && (out == nil || !out.answers(d.batch.Rows)) {
		err = slipway.Errorf(slipway.Internal, "predicting", "the engine did not answer %d rows with as many", d.batch.Rows)
	}
	if err != nil {
		d.done()
		return nil, nil, failed(err)
	}
	return out, d, nil
}

// panicked is a panic, with its stack for the log.
type panicked struct {
	value any
	stack string
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// rescue, deferred, turns a panic into a refusal: a model server outlives any
// single request.
func rescue(refused **refusal) {
	if r := recover(); r != nil {
		*refused = failed(&panicked{r, stack()})
	}
}

// golden answers a body of /invocations in the form of a golden prediction.
func (a *answerer) golden(ctx context.Context, body []byte) (json.RawMessage, error) {
	out, d, refused := a.output(ctx, body, jsonBody, invocations)
	if refused != nil {
		return nil, refused.asError()
	}
	defer d.done()
	return appendOutput(nil, out, asQuoted), nil
}
