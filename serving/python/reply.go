package python

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"

	"github.com/slipway-dev/slipway/serving"
)

// reply is the head of a worker's message.
type reply struct {
	Ready   *about   `json:"ready"`
	Failed  *failure `json:"failed"`
	Array   *packed  `json:"array"`
	Named   []named  `json:"named"`
	Columns []named  `json:"columns"`
	JSON    *int     `json:"json"`
}

// about is what a worker says of itself when the model is loaded.
type about struct {
	Python string `json:"python"`
	Hinted bool   `json:"hinted"`
}

// failure is an exception in a worker.
type failure struct {
	At      string `json:"at"`
	Type    string `json:"type"`
	Message string `json:"message"`
	Trace   string `json:"trace"`
	Module  string `json:"module"`
	Code    string `json:"code"`
	Class   string `json:"class"`
	Memory  bool   `json:"memory"`
}

// packed is an array: its type and shape.
type packed struct {
	code  string
	shape []int
}

func (p *packed) UnmarshalJSON(data []byte) error {
	return unmarshalAll(data, &p.code, &p.shape)
}

// named is an array with a name.
type named struct {
	name string
	packed
}

func (n *named) UnmarshalJSON(data []byte) error {
	return unmarshalAll(data, &n.name, &n.code, &n.shape)
}

// unmarshalAll reads a JSON list of exactly so many values.
func unmarshalAll(data []byte, values ...any) error {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return err
	}
	if len(list) != len(values) {
		return fmt.Errorf("a list of %d instead of %d", len(list), len(values))
	}
	for i := range list {
		if err := json.Unmarshal(list[i], values[i]); err != nil {
			return err
		}
	}
	return nil
}

func decodeReply(m message) (reply, error) {
	var r reply
	if err := json.Unmarshal(m.head, &r); err != nil {
		return reply{}, fmt.Errorf("%w: %w", errFrame, err)
	}
	return r, nil
}

// output reads an answer to so many rows. The JSON of an answer is checked by
// package serving, and that there are as many rows, but where JSON hides it.
func (r reply) output(body []byte, q *request) (*serving.Output, error) {
	o, err := r.decode(body, q)
	if err != nil {
		return nil, err
	}
	o.Free = q.free
	return o, nil
}

func (r reply) decode(body []byte, q *request) (*serving.Output, error) {
	switch {
	case r.JSON != nil:
		if rows := *r.JSON; rows >= 0 && rows != q.rows && !q.free {
			return nil, wrongRows(rows, q.rows)
		}
		return &serving.Output{JSON: body}, nil
	case r.Array != nil:
		o := &serving.Output{}
		rest, err := r.Array.unpack(o, body, q)
		return o, whole(rest, err)
	case len(r.Named) > 0:
		list, err := unpackAll(r.Named, body, q)
		return &serving.Output{List: list}, err
	case len(r.Columns) > 0:
		for i := range r.Columns {
			if shape := r.Columns[i].shape; len(shape) != 1 || len(r.Columns[0].shape) != 1 || shape[0] != r.Columns[0].shape[0] {
				return nil, fmt.Errorf("%w: columns that are not equally long", errFrame)
			}
		}
		list, err := unpackAll(r.Columns, body, q)
		return &serving.Output{List: list, Columns: true}, err
	}
	return nil, fmt.Errorf("%w: an answer without a value", errFrame)
}

func whole(rest []byte, err error) error {
	if err == nil && len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes too many", errFrame, len(rest))
	}
	return err
}

func unpackAll(list []named, body []byte, q *request) ([]serving.Output, error) {
	outputs := make([]serving.Output, len(list))
	for i := range list {
		if list[i].name == "" {
			return nil, fmt.Errorf("%w: an array without a name", errFrame)
		}
		outputs[i].Name = list[i].name
		var err error
		if body, err = list[i].unpack(&outputs[i], body, q); err != nil {
			return nil, err
		}
	}
	return outputs, whole(body, nil)
}

// wrongRows is an answer of the model that cannot belong to the request.
type rowsError struct{ got, want int }

func wrongRows(got, want int) error { return &rowsError{got, want} }

func (e *rowsError) Error() string {
	return fmt.Sprintf("the model answered %d rows with %d", e.want, e.got)
}

// widths are the bytes of a packed value.
var widths = map[string]int{"<f8": 8, "<i8": 8, "?": 1}

const (
	maxDimensions = 64      // numpy's
	maxEmpty      = 1 << 16 // arrays without values inside of one
)

// unpack reads the array from the beginning of the body and returns the rest.
func (p *packed) unpack(o *serving.Output, body []byte, q *request) ([]byte, error) {
	width, n := widths[p.code], 1
	if width == 0 || len(p.shape) == 0 || len(p.shape) > maxDimensions {
		return nil, fmt.Errorf("%w: an array of type %.20q with %d dimensions", errFrame, p.code, len(p.shape))
	}
	brackets := 1 // that it takes to write it, also where there are no values
	for _, size := range p.shape {
		if size < 0 || brackets > max(len(body)/width, maxEmpty)/max(size, 1) {
			return nil, fmt.Errorf("%w: an array that is larger than its values", errFrame)
		}
		n *= size
		brackets *= max(size, 1)
	}
	if n > len(body)/width {
		return nil, fmt.Errorf("%w: an array that is larger than its values", errFrame)
	}
	if p.shape[0] != q.rows && !q.free {
		return nil, wrongRows(p.shape[0], q.rows)
	}
	o.Shape = p.shape
	values := body[:n*width]
	switch p.code {
	case "<f8":
		o.Kind, o.Floats = serving.Float, make([]float64, n)
		for i := range o.Floats {
			o.Floats[i] = math.Float64frombits(binary.LittleEndian.Uint64(values[8*i:]))
		}
	case "<i8":
		o.Kind, o.Ints = serving.Int, make([]int64, n)
		for i := range o.Ints {
			o.Ints[i] = int64(binary.LittleEndian.Uint64(values[8*i:]))
		}
	default:
		o.Kind, o.Bools = serving.Bool, make([]bool, n)
		for i := range o.Bools {
			o.Bools[i] = values[i] != 0
		}
	}
	return body[n*width:], nil
}
