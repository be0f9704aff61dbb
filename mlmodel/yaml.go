package mlmodel

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/slipway-dev/slipway"
)

// Bounds on a YAML document. Aliases are what MLflow's own writer makes when a
// value occurs twice, so they are allowed, and counted as often as they stand
// for something: a document of a few lines cannot grow into gigabytes.
const (
	maxYAMLNodes = 1 << 20
	maxYAMLDepth = 200
	maxYAMLLines = 1 << 14 // the parser's time grows with the square of a mapping's keys
)

// parseYAML returns the document's top mapping as plain values: nil, bool,
// string, json.Number (so that 3.10 stays 3.10), []any and map[string]any.
func parseYAML(op string, data []byte) (top map[string]any, err error) {
	if err := boundShape(op, data); err != nil {
		return nil, err
	}
	defer func() {
		if r := recover(); r != nil { // the parser's, on input its own fuzzing missed
			err = slipway.Errorf(slipway.Invalid, op, "it is not valid YAML: %.200s", fmt.Sprint(r))
		}
	}()
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, notYAML(op, err)
	}
	if len(file.Docs) != 1 {
		return nil, slipway.Errorf(slipway.Invalid, op, "it holds %d YAML documents instead of one", len(file.Docs))
	}
	t := yamlTree{op: op, anchors: map[string]anchored{}}
	value, err := t.value(file.Docs[0].Body, 0)
	if err != nil {
		return nil, err
	}
	top, ok := value.(map[string]any)
	if !ok {
		return nil, slipway.Errorf(slipway.Invalid, op, "its top level is %s instead of a mapping", describe(value))
	}
	return top, nil
}

// notYAML takes message and place out of the parser's error, whose own text
// draws the whole document.
func notYAML(op string, err error) error {
	var e yaml.Error
	if !errors.As(err, &e) || e.GetToken() == nil {
		return slipway.Errorf(slipway.Invalid, op, "it is not valid YAML")
	}
	at := e.GetToken().Position
	return slipway.Errorf(slipway.Invalid, op, "it is not valid YAML: line %d, column %d: %.200s", at.Line, at.Column, e.GetMessage())
}

// boundShape refuses, before the recursive parser runs, what would take it too
// long or too deep: it counts everything that can open a level within one line.
// Text counts too; real files stay far below.
func boundShape(op string, data []byte) error {
	if bytes.Count(data, []byte{'\n'}) > maxYAMLLines {
		return slipway.Errorf(slipway.Exhausted, op, "it has more than %d lines", maxYAMLLines)
	}
	flow, dashes := 0, 0
	for i, c := range data {
		switch c {
		case '[', '{':
			flow++
		case ']', '}':
			flow = max(flow-1, 0)
		case '-', '?', '!', '&':
			if i+1 < len(data) && (data[i+1] == ' ' || c == '!' || c == '&') {
				dashes++
			}
		case '\n':
			dashes = 0
		}
		if flow > maxYAMLDepth || dashes > 64*maxYAMLDepth {
			return slipway.Errorf(slipway.Invalid, op, "it is nested too deeply")
		}
	}
	return nil
}

type yamlTree struct {
	op      string
	nodes   int
	anchors map[string]anchored
}

type anchored struct {
	value any
	nodes int
}

func (t *yamlTree) value(n ast.Node, depth int) (any, error) {
	if t.nodes++; t.nodes > maxYAMLNodes || depth > maxYAMLDepth {
		return nil, slipway.Errorf(slipway.Exhausted, t.op, "it holds too many values or is nested too deeply")
	}
	switch n := n.(type) {
	case nil, *ast.NullNode:
		return nil, nil
	case *ast.BoolNode:
		return n.Value, nil
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.IntegerNode:
		return number(n.Token.Value), nil
	case *ast.FloatNode:
		return number(n.Token.Value), nil
	case *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, nil
	case *ast.TagNode:
		return t.value(n.Value, depth+1)
	case *ast.AnchorNode:
		return t.anchor(n, depth)
	case *ast.AliasNode:
		return t.alias(n)
	case *ast.SequenceNode:
		return t.list(n, depth)
	case ast.MapNode:
		return t.mapping(n, depth)
	}
	return nil, t.unknown(n)
}

func (t *yamlTree) unknown(n ast.Node) error {
	return slipway.Errorf(slipway.Invalid, t.op, "line %d: %s is not used in MLflow's files", n.GetToken().Position.Line, n.Type())
}

// number keeps a number as it is written, and a number that JSON cannot write
// (0x1f, .5, 1_000) as text.
func number(text string) any {
	if json.Valid([]byte(text)) {
		return json.Number(text)
	}
	return text
}

func (t *yamlTree) anchor(n *ast.AnchorNode, depth int) (any, error) {
	before := t.nodes
	v, err := t.value(n.Value, depth+1)
	t.anchors[n.Name.GetToken().Value] = anchored{v, t.nodes - before}
	return v, err
}

func (t *yamlTree) alias(n *ast.AliasNode) (any, error) {
	a, ok := t.anchors[n.Value.GetToken().Value]
	if !ok {
		return nil, slipway.Errorf(slipway.Invalid, t.op, "line %d: an alias without its anchor", n.GetToken().Position.Line)
	}
	if t.nodes += a.nodes; t.nodes > maxYAMLNodes {
		return nil, slipway.Errorf(slipway.Exhausted, t.op, "its aliases stand for too many values")
	}
	return a.value, nil
}

func (t *yamlTree) list(n *ast.SequenceNode, depth int) (any, error) {
	list := make([]any, 0, len(n.Values))
	for _, item := range n.Values {
		v, err := t.value(item, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

func (t *yamlTree) mapping(n ast.MapNode, depth int) (any, error) {
	m := map[string]any{}
	for it := n.MapRange(); it.Next(); {
		key, err := t.key(it.Key())
		if err != nil {
			return nil, err
		}
		if m[key], err = t.value(it.Value(), depth+1); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (t *yamlTree) key(n ast.MapKeyNode) (string, error) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode:
		return n.GetToken().Value, nil
	}
	return "", t.unknown(n)
}

// describe names the kind of a plain value for an error.
func describe(v any) string {
	switch v.(type) {
	case nil:
		return "nothing"
	case bool:
		return "true or false"
	case json.Number, float64:
		return "a number"
	case string:
		return "text"
	case []any:
		return "a list"
	}
	return "a mapping"
}
