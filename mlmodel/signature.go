package mlmodel

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Signature is what a model takes and gives (MLflow, "Model Signatures").
type Signature struct {
	Inputs  *Schema // nil: not declared
	Outputs *Schema // nil: not declared
	Params  []Param
}

// Schema is columns or tensors, never both.
type Schema struct {
	Columns []Column
	Tensors []Tensor
}

// Column is one column of a schema, or one property of an object.
type Column struct {
	Name     string // "" where the schema names no columns
	Number   bool   // the name is a number: of a DataFrame made of an array
	Type     Type
	Required bool
}

// Type is a column's type. Kind is one of MLflow's names.
type Type struct {
	Kind       string
	Items      *Type    // of an array
	Values     *Type    // of a map, whose keys are strings
	Properties []Column // of an object
}

// The kinds of a Type, in MLflow's spelling.
const (
	TypeBoolean       = "boolean"
	TypeInteger       = "integer" // 32 bits
	TypeLong          = "long"    // 64 bits
	TypeFloat         = "float"   // 32 bits
	TypeDouble        = "double"
	TypeString        = "string"
	TypeBinary        = "binary"
	TypeDatetime      = "datetime"
	TypeArray         = "array"
	TypeObject        = "object"
	TypeMap           = "map"
	TypeAny           = "any"
	TypeSparkMLVector = "sparkml_vector"
)

var scalarKinds = []string{TypeBoolean, TypeInteger, TypeLong, TypeFloat, TypeDouble, TypeString, TypeBinary, TypeDatetime}

// Scalar reports whether values of the type are single values.
func (t Type) Scalar() bool { return slices.Contains(scalarKinds, t.Kind) }

// String returns the type as MLflow's messages write it: "double", "Array(long)".
func (t Type) String() string {
	switch t.Kind {
	case TypeArray:
		return "Array(" + t.Items.String() + ")"
	case TypeMap:
		return "Map(str -> " + t.Values.String() + ")"
	case TypeAny:
		return "Any"
	case TypeObject:
		parts := make([]string, len(t.Properties))
		for i, p := range t.Properties {
			parts[i] = p.String()
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return t.Kind
}

// String returns the column as MLflow's messages write it, without quotes.
func (c Column) String() string {
	need := "optional"
	if c.Required {
		need = "required"
	}
	if c.Name == "" {
		return fmt.Sprintf("%s (%s)", c.Type, need)
	}
	return fmt.Sprintf("%s: %s (%s)", c.Name, c.Type, need)
}

// Tensor is one tensor of a schema.
type Tensor struct {
	Name  string // "" where there is only one
	DType string // numpy's name: "float32", "str"
	Shape []int  // -1: any length
}

// Param is an inference parameter.
type Param struct {
	Name    string
	Type    string          // a scalar kind, or "object"
	Default json.RawMessage // "null": none
	List    bool            // shape [-1]
}

// Named reports whether the schema names its columns or tensors.
func (s *Schema) Named() bool {
	return len(s.Columns) > 0 && s.Columns[0].Name != "" || len(s.Tensors) > 0 && s.Tensors[0].Name != ""
}

// Bounds on a signature.
const (
	maxColumns   = 100_000
	maxTypeDepth = 32
	maxRank      = 32
)

// ParseSignature reads the three JSON texts of MLmodel's signature. Each may
// be empty.
func ParseSignature(inputs, outputs, params string) (*Signature, error) {
	s := &Signature{}
	var err error
	if s.Inputs, err = parseSchema("inputs", inputs); err != nil {
		return nil, err
	}
	if s.Outputs, err = parseSchema("outputs", outputs); err != nil {
		return nil, err
	}
	s.Params, err = parseParams(params)
	return s, err
}

// wireType is every form of a schema's element.
type wireType struct {
	Type       string               `json:"type"`
	Name       *wireName            `json:"name"`
	Required   *bool                `json:"required"`
	Items      *wireType            `json:"items"`
	Values     *wireType            `json:"values"`
	Properties map[string]*wireType `json:"properties"`
	Tensor     *wireTensor          `json:"tensor-spec"`
}

type wireTensor struct {
	DType string `json:"dtype"`
	Shape []int  `json:"shape"`
}

// wireName is a column's name. DataFrames may have numbers for names.
type wireName struct {
	text   string
	number bool
}

func (n *wireName) UnmarshalJSON(data []byte) error {
	if data[0] == '"' {
		return json.Unmarshal(data, &n.text)
	}
	n.text, n.number = string(data), true
	return nil
}

func parseSchema(part, text string) (*Schema, error) {
	if text == "" || text == "null" {
		return nil, nil
	}
	op := "reading the signature's " + part
	var wire []*wireType
	if err := json.Unmarshal([]byte(text), &wire); err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	if len(wire) > maxColumns {
		return nil, slipway.Errorf(slipway.Exhausted, op, "it has %d columns", len(wire))
	}
	s := &Schema{}
	for i, w := range wire {
		if err := s.add(w); err != nil {
			return nil, slipway.Errorf(slipway.Invalid, op, "element %d: %s", i, err)
		}
	}
	if err := s.check(); err != nil {
		return nil, slipway.Errorf(slipway.Invalid, op, "%s", err)
	}
	return s, nil
}

func (s *Schema) add(w *wireType) error {
	if w == nil {
		return fmt.Errorf("it is null")
	}
	if w.Type == "tensor" {
		t, err := w.tensor()
		s.Tensors = append(s.Tensors, t)
		return err
	}
	t, err := w.columnType(0)
	c := Column{Name: w.name(), Type: t, Required: w.required()}
	c.Number = c.Name != "" && w.Name.number
	s.Columns = append(s.Columns, c)
	return err
}

// check refuses what MLflow's Schema refuses: columns beside tensors, names
// for some and not for others, and the same name twice.
func (s *Schema) check() error {
	if len(s.Columns) > 0 && len(s.Tensors) > 0 {
		return fmt.Errorf("it mixes columns and tensors")
	}
	seen := map[string]bool{}
	for _, c := range s.Columns {
		if seen[c.Name] && c.Name != "" {
			return fmt.Errorf("it names %.80q twice", c.Name)
		}
		if seen[c.Name] = true; (c.Name != "") != s.Named() {
			return fmt.Errorf("it names some columns and not others")
		}
	}
	for _, t := range s.Tensors {
		if seen[t.Name] || len(s.Tensors) > 1 && t.Name == "" {
			return fmt.Errorf("it names %.80q twice", t.Name)
		}
		seen[t.Name] = true
	}
	return nil
}

func (w *wireType) name() string {
	if w.Name == nil {
		return ""
	}
	return w.Name.text
}

func (w *wireType) required() bool { return w.Required == nil || *w.Required }

func (w *wireType) tensor() (Tensor, error) {
	if w.Tensor == nil || w.Tensor.DType == "" {
		return Tensor{}, fmt.Errorf("a tensor without tensor-spec")
	}
	if len(w.Tensor.Shape) > maxRank {
		return Tensor{}, fmt.Errorf("a tensor of %d dimensions", len(w.Tensor.Shape))
	}
	for _, n := range w.Tensor.Shape {
		if n < -1 || n > 1<<31 {
			return Tensor{}, fmt.Errorf("a tensor with a dimension of %d", n)
		}
	}
	return Tensor{Name: w.name(), DType: w.Tensor.DType, Shape: w.Tensor.Shape}, nil
}

func (w *wireType) columnType(depth int) (Type, error) {
	if depth > maxTypeDepth {
		return Type{}, fmt.Errorf("its type is nested too deeply")
	}
	t := Type{Kind: w.Type}
	var err error
	switch {
	case t.Scalar() || t.Kind == TypeAny || t.Kind == TypeSparkMLVector:
	case t.Kind == TypeArray:
		t.Items, err = inner(w.Items, "items", depth)
	case t.Kind == TypeMap:
		t.Values, err = inner(w.Values, "values", depth)
	case t.Kind == TypeObject:
		t.Properties, err = w.properties(depth)
	default:
		err = fmt.Errorf("type %.80q is not known", w.Type)
	}
	return t, err
}

func inner(w *wireType, what string, depth int) (*Type, error) {
	if w == nil {
		return nil, fmt.Errorf("its type lacks %q", what)
	}
	t, err := w.columnType(depth + 1)
	return &t, err
}

// properties are sorted by name, as MLflow keeps them.
func (w *wireType) properties(depth int) ([]Column, error) {
	var list []Column
	for name, p := range w.Properties {
		if p == nil {
			return nil, fmt.Errorf("property %.80q is null", name)
		}
		t, err := p.columnType(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, Column{Name: name, Type: t, Required: p.required()})
	}
	slices.SortFunc(list, func(a, b Column) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

type wireParam struct {
	Name    string          `json:"name"`
	Type    string          `json:"type"`
	Default json.RawMessage `json:"default"`
	Shape   []int           `json:"shape"`
}

func parseParams(text string) ([]Param, error) {
	if text == "" || text == "null" {
		return nil, nil
	}
	const op = "reading the signature's params"
	var wire []wireParam
	if err := json.Unmarshal([]byte(text), &wire); err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	var params []Param
	for _, w := range wire {
		if !slices.Contains(scalarKinds, w.Type) && w.Type != TypeObject {
			return nil, slipway.Errorf(slipway.Invalid, op, "%.80q is of the unknown type %.80q", w.Name, w.Type)
		}
		if len(w.Default) == 0 {
			w.Default = json.RawMessage("null")
		}
		params = append(params, Param{Name: w.Name, Type: w.Type, Default: bytes.Clone(w.Default), List: len(w.Shape) > 0})
	}
	return params, nil
}
