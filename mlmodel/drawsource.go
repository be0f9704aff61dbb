package mlmodel

import (
	"bytes"
	"encoding/json"
	"slices"
)

// maxDrawnRow bounds the values of one row: wider tensors are pictures and the
// like, of which none is drawn.
const maxDrawnRow = maxColumns

// drawSource returns what the model's rows are drawn from; nil: nothing.
func (m *Model) drawSource(examples []json.RawMessage) *drawSource {
	inputs := schemaOf(examples)
	if m.Signature != nil && m.Signature.Inputs != nil {
		inputs = m.Signature.Inputs
	}
	switch {
	case inputs == nil:
		return nil
	case len(inputs.Columns) > 0:
		return columnSource(inputs, examples)
	case len(inputs.Tensors) == 1:
		return tensorSource(inputs.Tensors[0], examples)
	}
	return nil // several tensors: no engine but the original's own takes them
}

func columnSource(inputs *Schema, examples []json.RawMessage) *drawSource {
	t := readTable(inputs, examples)
	s := &drawSource{write: writeList}
	single := !inputs.Named() && len(inputs.Columns) == 1
	if single {
		t.readInputs(examples)
	}
	for i, c := range inputs.Columns {
		s.columns = append(s.columns, newDrawColumn(c, t.values[i]))
	}
	switch {
	case single:
		s.write = func(values [][]byte) []byte { return values[0] }
		s.frame(`{"inputs":[`, "]", t.params)
	case inputs.Named():
		var names []json.RawMessage
		for _, c := range inputs.Columns {
			names = append(names, c.nameJSON())
		}
		s.frame(`{"dataframe_split":{"columns":`+string(encode(names))+`,"data":[`, "]}", t.params)
	default:
		s.frame(`{"dataframe_split":{"data":[`, "]}", t.params)
	}
	return s
}

// readInputs takes the values of a single column that has no name.
func (t *table) readInputs(requests []json.RawMessage) {
	for _, r := range requests {
		values, params := inputsOf(r)
		for _, v := range values {
			t.add(0, v)
		}
		t.params = params
	}
}

// inputsOf returns the list under "inputs" or "instances" of a request.
func inputsOf(r json.RawMessage) (values []json.RawMessage, params json.RawMessage) {
	var body struct {
		Inputs    json.RawMessage `json:"inputs"`
		Instances json.RawMessage `json:"instances"`
		Params    json.RawMessage `json:"params"`
	}
	if json.Unmarshal(r, &body) != nil {
		return nil, nil
	}
	if body.Inputs == nil {
		body.Inputs = body.Instances
	}
	_ = json.Unmarshal(body.Inputs, &values) // another form: no values
	return values, body.Params
}

// tensorSource draws rows of a tensor whose first dimension is of any length,
// each value from the example's values at its place.
func tensorSource(t Tensor, examples []json.RawMessage) *drawSource {
	if len(t.Shape) == 0 || t.Shape[0] != -1 || kindOfDType(t.DType) == "" {
		return nil
	}
	rows, params := tensorRows(t, examples)
	shape := rowShape(t.Shape[1:], rows)
	width := 1
	for _, n := range shape {
		if width *= n; width > maxDrawnRow {
			return nil
		}
	}
	s := &drawSource{write: func(values [][]byte) []byte {
		text, _ := writeTensor(values, shape)
		return text
	}}
	column := Column{Type: Type{Kind: kindOfTensor(t.DType)}, Required: true}
	for j := range width {
		var own []json.RawMessage
		for _, row := range rows {
			if flat := flatten(row, nil); len(flat) == width {
				own = append(own, flat[j])
			}
		}
		s.columns = append(s.columns, newDrawColumn(column, own))
	}
	if t.Name == "" {
		s.frame(`{"inputs":[`, "]", params)
	} else {
		s.frame(`{"inputs":{`+string(encode(t.Name))+`:[`, "]}", params)
	}
	return s
}

// kindOfTensor is kindOfDType but for the types whose range is not that of 64
// bits. Unsigned and short ones are drawn as if they were of 32 bits: what does
// not fit is refused by the schema.
func kindOfTensor(dtype string) string {
	switch dtype {
	case "float32", "float16":
		return TypeFloat
	case "int64":
		return TypeLong
	}
	if kind := kindOfDType(dtype); kind != TypeLong {
		return kind
	}
	return TypeInteger
}

// tensorRows returns the example's rows of the tensor.
func tensorRows(t Tensor, examples []json.RawMessage) (rows []json.RawMessage, params json.RawMessage) {
	for _, e := range examples {
		list, p := inputsOf(e)
		params = p
		var named struct {
			Inputs map[string][]json.RawMessage `json:"inputs"`
		}
		if list == nil && json.Unmarshal(e, &named) == nil {
			list = named.Inputs[t.Name]
		}
		rows = append(rows, list...)
	}
	return rows, params
}

// rowShape gives dimensions of any length that of the example, or 1.
func rowShape(shape []int, rows []json.RawMessage) []int {
	out := slices.Clone(shape)
	var at json.RawMessage
	if len(rows) > 0 {
		at = rows[0]
	}
	for i := range out {
		var list []json.RawMessage
		_ = json.Unmarshal(at, &list) // no list: the dimension is 1
		if out[i] < 1 {
			out[i] = max(len(list), 1)
		}
		if at = nil; len(list) > 0 {
			at = list[0]
		}
	}
	return out
}

func flatten(row json.RawMessage, into []json.RawMessage) []json.RawMessage {
	var list []json.RawMessage
	if first(bytes.TrimSpace(row)) != '[' || json.Unmarshal(row, &list) != nil {
		return append(into, row)
	}
	for _, item := range list {
		into = flatten(item, into)
	}
	return into
}

func writeTensor(values [][]byte, shape []int) (text []byte, rest [][]byte) {
	if len(shape) == 0 {
		return values[0], values[1:]
	}
	parts := make([][]byte, shape[0])
	for i := range parts {
		parts[i], values = writeTensor(values, shape[1:])
	}
	return writeList(parts), values
}
