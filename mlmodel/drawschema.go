package mlmodel

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// schemaOf guesses the columns of a model without a signature from its example
// as the model server does; nil: there is none, or of no form that is read.
func schemaOf(examples []json.RawMessage) *Schema {
	if len(examples) == 0 {
		return nil
	}
	var body struct {
		Split *struct {
			Columns []wireName        `json:"columns"`
			Data    []json.RawMessage `json:"data"`
		} `json:"dataframe_split"`
		Records []map[string]json.RawMessage `json:"dataframe_records"`
	}
	if json.Unmarshal(examples[0], &body) != nil {
		return nil
	}
	s := &Schema{}
	switch {
	case body.Split != nil && body.Split.Columns != nil:
		for _, name := range body.Split.Columns {
			s.Columns = append(s.Columns, Column{Name: name.text, Number: name.number, Required: true})
		}
	case len(body.Records) > 0:
		for _, name := range slices.Sorted(maps.Keys(body.Records[0])) {
			s.Columns = append(s.Columns, Column{Name: name, Required: true})
		}
	default:
		return tensorOf(examples)
	}
	t := readTable(s, examples)
	for i := range s.Columns {
		s.Columns[i].Type.Kind = kindOfValues(t.values[i])
	}
	return s
}

// tensorOf is the array of numbers that the example is.
func tensorOf(examples []json.RawMessage) *Schema {
	values, _ := inputsOf(examples[0])
	if len(values) == 0 || first(values[0]) != '[' {
		return nil
	}
	shape := []int{-1}
	for at := values[0]; first(at) == '['; {
		var list []json.RawMessage
		if json.Unmarshal(at, &list) != nil || len(list) == 0 {
			return nil
		}
		shape, at = append(shape, len(list)), list[0]
	}
	return &Schema{Tensors: []Tensor{{DType: "float64", Shape: shape}}}
}

// kindOfValues is the type that holds all values. A missing number makes the
// whole ones numbers with a fraction, as in pandas.
func kindOfValues(values []json.RawMessage) string {
	kinds := map[string]bool{}
	for _, v := range values {
		kinds[kindOfValue(v)] = true
	}
	missing := kinds[""]
	delete(kinds, "")
	switch {
	case kinds[TypeString] && len(kinds) == 1:
		return TypeString
	case kinds[TypeBoolean] && len(kinds) == 1 && !missing:
		return TypeBoolean
	case kinds[TypeLong] && len(kinds) == 1 && !missing:
		return TypeLong
	case kinds[TypeAny] || kinds[TypeString] || kinds[TypeBoolean] || len(kinds) == 0:
		return TypeAny
	}
	return TypeDouble
}

// kindOfValue is the type of one value; "": it is missing.
func kindOfValue(v json.RawMessage) string {
	switch first(v) {
	case 'n':
		return ""
	case '"':
		return TypeString
	case 't', 'f':
		return TypeBoolean
	case '[', '{':
		return TypeAny
	}
	if strings.ContainsAny(string(v), ".eE") {
		return TypeDouble
	}
	return TypeLong
}
