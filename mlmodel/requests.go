package mlmodel

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// maxMadeValues bounds a request made from a tensor's shape.
const maxMadeValues = 1 << 20

// Requests returns up to n golden requests: the rows of the model's example,
// filled up with rows made from the signature. Made rows are the same every
// time; where there is an example they mix its values and change only numbers
// that are plainly measurements, so that no category is invented. None
// possible: an empty list.
func (m *Model) Requests(n int) ([]json.RawMessage, error) {
	requests, err := m.Examples()
	if err != nil {
		return nil, err
	}
	if len(requests) >= n {
		return requests[:n], nil
	}
	seen := map[string]bool{}
	for _, r := range requests {
		seen[string(r)] = true
	}
	made := m.maker(requests)
	for k := 0; k < 4*n && len(requests) < n; k++ {
		r := made(variation{k, k >= 2*n})
		if r != nil && !seen[string(r)] {
			seen[string(r)] = true
			requests = append(requests, r)
		}
	}
	return requests, nil
}

// variation is the number of a made request. A bold one, tried when all else
// is used up, changes whole numbers too, though they may be codes of categories.
type variation struct {
	k    int
	bold bool
}

// maker returns what makes a request; it gives nil where none can be made.
func (m *Model) maker(examples []json.RawMessage) func(variation) json.RawMessage {
	none := func(variation) json.RawMessage { return nil }
	if m.Signature == nil || m.Signature.Inputs == nil {
		return none
	}
	inputs := m.Signature.Inputs
	switch {
	case len(inputs.Columns) > 0:
		return columnMaker(inputs, readTable(inputs, examples))
	case len(inputs.Tensors) > 0 && len(examples) > 0:
		return func(v variation) json.RawMessage { return v.request(examples[v.k%len(examples)]) }
	case len(inputs.Tensors) > 0:
		return func(v variation) json.RawMessage { return madeTensors(inputs.Tensors, v.k) }
	}
	return none
}

// table is the values of the example's rows, by column.
type table struct {
	values [][]json.RawMessage
	params json.RawMessage
}

// readTable takes the rows of requests in any format that names its columns.
func readTable(inputs *Schema, requests []json.RawMessage) table {
	t := table{values: make([][]json.RawMessage, len(inputs.Columns))}
	for _, r := range requests {
		var body struct {
			Split struct {
				Columns []wireName          `json:"columns"`
				Data    [][]json.RawMessage `json:"data"`
			} `json:"dataframe_split"`
			Records []map[string]json.RawMessage `json:"dataframe_records"`
			Params  json.RawMessage              `json:"params"`
		}
		if json.Unmarshal(r, &body) != nil {
			continue // another format: rows are then made without it
		}
		t.params = body.Params
		for _, row := range body.Split.Data {
			t.addRow(inputs, body.Split.Columns, row)
		}
		for _, record := range body.Records {
			for i, c := range inputs.Columns {
				t.add(i, record[c.Name])
			}
		}
	}
	return t
}

func (t *table) addRow(inputs *Schema, names []wireName, row []json.RawMessage) {
	for j, value := range row {
		for i, c := range inputs.Columns {
			if names == nil && i == j || names != nil && j < len(names) && names[j].text == c.Name {
				t.add(i, value)
			}
		}
	}
}

func (t *table) add(column int, value json.RawMessage) {
	if value != nil {
		t.values[column] = append(t.values[column], value)
	}
}

func columnMaker(inputs *Schema, t table) func(variation) json.RawMessage {
	return func(v variation) json.RawMessage {
		row := make([]json.RawMessage, len(inputs.Columns))
		for i, c := range inputs.Columns {
			if row[i] = t.value(i, c.Type, v); row[i] == nil {
				return nil
			}
		}
		return columnRequest(inputs, row, t.params)
	}
}

// value takes a value of the example, another row's in each column, and moves
// a measurement a little; without an example it makes one up.
func (t *table) value(column int, typ Type, v variation) json.RawMessage {
	values := t.values[column]
	if len(values) == 0 {
		return madeValue(typ, v.k+column)
	}
	value := values[(v.k+column*(v.k/len(values)+1))%len(values)]
	switch {
	case (typ.Kind == TypeDouble || typ.Kind == TypeFloat) && measured(values), v.bold:
		return v.value(value)
	}
	return value
}

// measured reports whether some number has a fraction. Numbers without one may
// be codes of categories, which a model can refuse.
func measured(values []json.RawMessage) bool {
	for _, v := range values {
		f, err := strconv.ParseFloat(string(v), 64)
		if err == nil && f != math.Trunc(f) {
			return true
		}
	}
	return false
}

// request varies the rows of a whole request; its parameters stay.
func (v variation) request(request json.RawMessage) json.RawMessage {
	var body map[string]json.RawMessage
	if json.Unmarshal(request, &body) != nil {
		return nil
	}
	for format, rows := range body {
		if format != "params" {
			body[format] = v.value(rows)
		}
	}
	return encode(body)
}

// value changes every number with a fraction by a few per cent, more with each
// k. A bold variation adds a little to whole numbers, which stay whole.
func (v variation) value(raw json.RawMessage) json.RawMessage {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var value any
	if d.Decode(&value) != nil {
		return nil
	}
	return encode(v.any(value))
}

func (v variation) any(value any) any {
	switch value := value.(type) {
	case []any:
		for i := range value {
			value[i] = v.any(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = v.any(value[key])
		}
	case json.Number:
		return v.number(value)
	}
	return value
}

func (v variation) number(n json.Number) json.Number {
	step := v.k%7 + 1
	if i, err := strconv.ParseInt(n.String(), 10, 32); err == nil && v.bold {
		return json.Number(strconv.FormatInt(i+int64(step), 10))
	}
	f, err := strconv.ParseFloat(n.String(), 64)
	switch {
	case err == nil && f != math.Trunc(f):
		return decimal(f * (1 + 0.03*float64(step)))
	case err == nil && v.bold && math.Abs(f) < 1e6 && strings.Contains(n.String(), "."):
		return decimal(f + float64(step))
	}
	return n
}

// decimal writes a number with six digits and always with a point: MLflow
// refuses whole numbers for doubles inside arrays and objects.
func decimal(f float64) json.Number {
	text := strconv.FormatFloat(f, 'g', 6, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return json.Number(text)
}

// columnRequest writes one row. A single unnamed column travels as "inputs",
// the only format that models with type hints take.
func columnRequest(inputs *Schema, row []json.RawMessage, params json.RawMessage) json.RawMessage {
	if !inputs.Named() && len(row) == 1 {
		return request(formatInputs, encode(row), params)
	}
	split := struct {
		Columns []json.RawMessage   `json:"columns,omitempty"`
		Data    [][]json.RawMessage `json:"data"`
	}{Data: [][]json.RawMessage{row}}
	if inputs.Named() {
		for _, c := range inputs.Columns {
			split.Columns = append(split.Columns, c.nameJSON())
		}
	}
	return request(formatSplit, encode(split), params)
}

func (c Column) nameJSON() json.RawMessage {
	if c.Number {
		return json.RawMessage(c.Name)
	}
	return encode(c.Name)
}

// madeValue makes a value of the type up; nil where that is not possible.
func madeValue(t Type, k int) json.RawMessage {
	switch t.Kind {
	case TypeArray:
		return madeList(*t.Items, k)
	case TypeMap:
		if v := madeValue(*t.Values, k); v != nil {
			return encode(map[string]json.RawMessage{"key": v})
		}
		return nil
	case TypeObject:
		return madeObject(t.Properties, k)
	}
	v := madeScalar(t.Kind, k)
	if v == nil {
		return nil
	}
	return encode(v)
}

func madeScalar(kind string, k int) any {
	switch kind {
	case TypeBoolean:
		return k%2 == 0
	case TypeInteger, TypeLong:
		return k + 1
	case TypeFloat, TypeDouble, TypeAny:
		return decimal(0.5 + float64(k))
	case TypeString:
		return string(rune('a' + k%26))
	case TypeBinary:
		return base64.StdEncoding.EncodeToString([]byte{byte('a' + k%26)})
	case TypeDatetime:
		return fmt.Sprintf("2024-01-%02dT12:00:00", k%28+1)
	}
	return nil
}

func madeList(item Type, k int) json.RawMessage {
	a, b := madeValue(item, k), madeValue(item, k+1)
	if a == nil || b == nil {
		return nil
	}
	return encode([]json.RawMessage{a, b})
}

func madeObject(properties []Column, k int) json.RawMessage {
	m := map[string]json.RawMessage{}
	for i, p := range properties {
		if m[p.Name] = madeValue(p.Type, k+i); m[p.Name] == nil {
			return nil
		}
	}
	return encode(m)
}

// madeTensors makes one row for each tensor: dimensions of any length are 1.
func madeTensors(tensors []Tensor, k int) json.RawMessage {
	inputs := map[string]json.RawMessage{}
	for i, t := range tensors {
		total := 1
		for _, n := range t.Shape {
			if total *= max(n, 1); total > maxMadeValues {
				return nil
			}
		}
		raw := madeTensor(t.DType, t.Shape, k+i)
		if raw == nil {
			return nil
		}
		inputs[t.Name] = raw
	}
	if len(tensors) == 1 && tensors[0].Name == "" {
		return request(formatInputs, inputs[""], nil)
	}
	return request(formatInputs, encode(inputs), nil)
}

func madeTensor(dtype string, shape []int, k int) json.RawMessage {
	if len(shape) == 0 {
		kind := kindOfDType(dtype)
		if kind == "" {
			return nil
		}
		return encode(madeScalar(kind, k%5))
	}
	list := make([]json.RawMessage, max(shape[0], 1))
	for i := range list {
		if list[i] = madeTensor(dtype, shape[1:], k+i); list[i] == nil {
			return nil
		}
	}
	return encode(list)
}

// kindOfDType returns the column type nearest to a numpy type, or "".
func kindOfDType(dtype string) string {
	switch {
	case strings.HasPrefix(dtype, "float"):
		return TypeDouble
	case strings.HasPrefix(dtype, "int"), strings.HasPrefix(dtype, "uint"):
		return TypeLong
	case dtype == "bool":
		return TypeBoolean
	case dtype == "str", strings.HasPrefix(dtype, "<U"), dtype == "object":
		return TypeString
	}
	return ""
}
