package pipeline

import (
	"fmt"
	"os"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// pair is one key of a mapping and its value.
type pair struct {
	key   string
	value any
}

// mapping is a YAML mapping in its order. Values are strings, mappings and
// lists ([]any); template expressions add booleans, numbers and nil.
type mapping []pair

func (m mapping) get(key string) (any, bool) {
	for _, p := range m {
		if p.key == key {
			return p.value, true
		}
	}
	return nil, false
}

// readTree reads a YAML file. Every scalar is a string as it is written, as
// Azure Pipelines takes it: 1.20 is no number and no no boolean.
func readTree(path string) (mapping, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Docs) != 1 {
		return nil, fmt.Errorf("%s: %d documents, want one", path, len(file.Docs))
	}
	tree, err := fromNode(file.Docs[0].Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	m, ok := tree.(mapping)
	if !ok {
		return nil, fmt.Errorf("%s: it is no mapping", path)
	}
	return m, nil
}

func fromNode(n ast.Node) (any, error) {
	switch n := n.(type) {
	case nil:
		return nil, fmt.Errorf("a value is missing")
	case *ast.MappingNode:
		return fromMapping(n.Values)
	case *ast.MappingValueNode:
		return fromMapping([]*ast.MappingValueNode{n})
	case *ast.SequenceNode:
		list := []any{}
		for _, item := range n.Values {
			v, err := fromNode(item)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	case *ast.NullNode:
		return "", nil
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, nil
	}
	return nil, fmt.Errorf("line %d: a %s is not understood", n.GetToken().Position.Line, n.Type())
}

func fromMapping(values []*ast.MappingValueNode) (any, error) {
	m := mapping{}
	for _, v := range values {
		key, err := fromNode(v.Key)
		if err != nil {
			return nil, err
		}
		value, err := fromNode(v.Value)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if _, twice := m.get(name); !ok || twice {
			return nil, fmt.Errorf("line %d: the key %v is no string, or there twice", v.Key.GetToken().Position.Line, key)
		}
		m = append(m, pair{name, value})
	}
	return m, nil
}
