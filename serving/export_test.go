package serving

import (
	"context"

	"github.com/slipway-dev/slipway/mlmodel"
)

// LoadForTest makes a server ready without a listener.
func LoadForTest(s *Server) error { return s.load(context.Background()) }

// AppendOutput writes an output as a golden answer.
func AppendOutput(o *Output) []byte { return appendOutput(nil, o, asQuoted) }

// ReadAny reads one JSON text.
func ReadAny(data []byte) (any, error) {
	var r reader
	r.reset(data)
	v := r.any()
	r.end()
	if r.err != nil {
		return nil, r.err
	}
	return v, nil
}

// PredictWith is Predict in either schema mode and for either media type.
func PredictWith(m *mlmodel.Model, p Predictor, body []byte, lenient, csv bool) ([]byte, error) {
	schema, kind := Strict, jsonBody
	if lenient {
		schema = LikeMLflow
	}
	if csv {
		kind = csvBody
	}
	out, d, refused := newAnswerer(m, p, schema).output(context.Background(), body, kind, predict)
	if refused != nil {
		return nil, refused.asError()
	}
	defer d.done()
	return appendOutput(nil, out, asQuoted), nil
}
