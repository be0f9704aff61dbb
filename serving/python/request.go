package python

import (
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// request is a batch in the form it is sent in.
type request struct {
	message []byte
	rows    int    // of the batch
	free    bool   // the answer may have another number of rows
	kind    string // columns, types and parameters: requests of one kind may be answered together; "": never
}

// encoder makes requests of one model's batches.
type encoder struct {
	labels   map[string][]byte // columns by name, as JSON: a number where the signature has one
	params   []string          // names in the signature's order, which the model sees
	loose    bool              // rows are not counted: the signature declares none
	together bool              // the signature allows to answer requests together: they are rows
}

func newEncoder(m *mlmodel.Model) *encoder {
	e := &encoder{labels: map[string][]byte{"": []byte("null")}, loose: true}
	if m.Signature != nil {
		for _, p := range m.Signature.Params {
			e.params = append(e.params, p.Name)
		}
	}
	if m.Signature == nil || m.Signature.Inputs == nil {
		return e
	}
	for _, c := range m.Signature.Inputs.Columns {
		if c.Name != "" {
			e.labels[c.Name] = label(c)
		}
	}
	e.loose, e.together = false, true
	for _, t := range m.Signature.Inputs.Tensors {
		if len(t.Shape) == 0 || t.Shape[0] != -1 {
			e.loose, e.together = true, false
		}
	}
	return e
}

func label(c mlmodel.Column) []byte {
	if c.Number {
		return []byte(c.Name)
	}
	return appendText(nil, c.Name)
}

// encode writes a batch. It keeps no part of it.
func (e *encoder) encode(b *serving.Batch) *request {
	var kind, about, body []byte
	var sizes []int
	switch {
	case b.Format != "":
		about, body = appendText([]byte(`"format":`), b.Format), b.Body
	case len(b.Tensors) > 0:
		kind, about, body, sizes = tensors(b.Tensors)
	default:
		about, body, sizes = e.columns(b.Columns)
		kind = about
	}
	about = e.appendParams(about, b.Params)
	r := &request{message: write(about, sizes, b.Rows, body), rows: b.Rows, free: e.loose}
	if e.together && b.Format == "" {
		r.kind = string(e.appendParams(kind, b.Params))
	}
	return r
}

// write puts the message together.
func write(kind []byte, sizes []int, rows int, body []byte) []byte {
	m := beginMessage(make([]byte, 0, 64+len(kind)+8*len(sizes)+len(body)))
	m = strconv.AppendInt(append(m, `{"rows":`...), int64(rows), 10)
	m = append(append(m, ','), kind...)
	if len(sizes) > 0 {
		m = append(m, `,"sizes":[`...)
		for i, n := range sizes {
			m = strconv.AppendInt(comma(m, i), int64(n), 10)
		}
		m = append(m, ']')
	}
	m = append(m, '}')
	m, at := endHead(m)
	m = append(m, body...)
	endBody(m, at)
	return m
}

func comma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ',')
	}
	return b
}

func (e *encoder) columns(columns []serving.Column) (about, body []byte, sizes []int) {
	about, body = append(make([]byte, 0, 128), `"columns":[`...), make([]byte, 0, 128)
	for i := range columns {
		c := &columns[i]
		name, ok := e.labels[c.Name]
		if !ok {
			name = appendText(nil, c.Name)
		}
		code, at := typeOf(c), len(body)
		body = appendColumn(body, c, code)
		about = append(append(append(comma(about, i), '['), name...), ',', '"', code, '"', ']')
		sizes = append(sizes, len(body)-at)
	}
	return append(about, ']'), body, sizes
}

// tensors describes tensors for the worker, and without their first dimension
// for what may be asked together.
func tensors(list []serving.Tensor) (kind, about, body []byte, sizes []int) {
	about = append(about, `"tensors":[`...)
	for i := range list {
		t := &list[i]
		at := len(body)
		body = appendTensor(body, t)
		about = append(comma(about, i), '[')
		kind = append(kind, '[')
		if t.Name == "" {
			about = append(about, "null"...)
		} else {
			about = appendText(about, t.Name)
			kind = appendText(kind, t.Name)
		}
		about = appendText(append(about, ','), t.DType)
		about = appendShape(append(about, ','), t.Shape)
		kind = appendText(kind, t.DType)
		kind = appendShape(kind, t.Shape[min(1, len(t.Shape)):])
		about = append(about, ']')
		sizes = append(sizes, len(body)-at)
	}
	return kind, append(about, ']'), body, sizes
}

func appendShape(b []byte, shape []int) []byte {
	b = append(b, '[')
	for i, n := range shape {
		b = strconv.AppendInt(comma(b, i), int64(n), 10)
	}
	return append(b, ']')
}

// typeOf is the protocol's type of a column: what MLflow's schema makes of the
// declared one. Whole numbers with missing ones are float64, as in pandas.
func typeOf(c *serving.Column) byte {
	missing := slices.Contains(c.Missing, true)
	switch c.Kind {
	case serving.Float, serving.Float32:
		if c.Kind == serving.Float32 || c.Type == mlmodel.TypeFloat {
			return 'f'
		}
		return 'd'
	case serving.Int:
		switch {
		case missing:
			return 'd'
		case c.Type == mlmodel.TypeInteger:
			return 'i'
		}
		return 'l'
	case serving.Bool:
		if missing {
			return 'o'
		}
		return 'b'
	case serving.Time:
		return 't'
	case serving.String:
		return 's'
	case serving.Bytes:
		return 'x'
	}
	return 'o'
}

// notATime is numpy's NaT.
const notATime = math.MinInt64

func appendColumn(b []byte, c *serving.Column, code byte) []byte {
	missing := func(i int) bool { return c.Missing != nil && c.Missing[i] }
	switch {
	case code == 'd' && c.Kind == serving.Int:
		for i, v := range c.Ints {
			f := float64(v)
			if missing(i) {
				f = math.NaN()
			}
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(f))
		}
		return b
	case code == 't':
		for i, v := range c.Ints {
			if missing(i) {
				v = notATime
			}
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		}
		return b
	case code == 's', code == 'x', code == 'o':
		return appendList(b, c, missing)
	}
	return appendPacked(b, c, code)
}

// appendParams writes the parameters in one order, so that equal ones are
// equal bytes.
func (e *encoder) appendParams(b []byte, params map[string]any) []byte {
	if params == nil {
		return b
	}
	b = append(b, `,"params":{`...)
	for i, name := range e.params {
		b = append(appendText(comma(b, i), name), ':')
		b = appendAny(b, params[name])
	}
	return append(b, '}')
}
