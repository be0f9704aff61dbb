package skops

import (
	"fmt"
	"strings"
)

// Kind says what a Node describes.
type Kind uint8

// The kinds of nodes, after skops' loaders.
const (
	Scalar   Kind = iota // JsonNode: Value
	Object               // Attrs
	Dict                 // Keys, Items
	List                 // Items
	Tuple                // Items
	Set                  // Items
	NDArray              // File.Array, or with dtype object Items and Shape
	Type                 // a class: Module and Class
	DType                // a numpy dtype: Args is an empty array of it
	Slice                // Bounds
	Function             // Module and Class
	Partial              // functools.partial: Func, Args, Keywords
	Reduced              // Tree, Loss, ConstructorFromReduce: Args of the constructor, Attrs
	Opaque               // RandomState, Generator, bytes, …: content unread
)

// Node describes one Python object. Nodes that skops marked as one object are
// one pointer. There are no cycles.
type Node struct {
	Kind   Kind
	Module string // of the object's class
	Class  string

	Value    any      // Scalar: nil, bool, int64, float64, string or Number
	Items    []*Node  // List, Tuple, Set, Dict, object NDArray (never nil there)
	Keys     []string // Dict, beside Items; integer keys in decimal
	KeyTypes []string // Dict, beside Items: "str", "int"
	Shape    []int    // object NDArray
	Bounds   [3]any   // Slice: start, stop, step; nil, an int64 or a string
	Attrs    *Node    // Object, Reduced: what __setstate__ receives; nil: nothing
	Args     *Node    // Reduced, Partial: a Tuple; DType: an NDArray
	Func     *Node    // Partial
	Keywords *Node    // Partial: a Dict

	file string // NDArray: the archive's entry
}

// Name returns the class with its module: "sklearn.pipeline.Pipeline".
func (n *Node) Name() string { return n.Module + "." + n.Class }

// Get returns the item of a Dict with that key, or nil.
func (n *Node) Get(key string) *Node {
	for i, k := range n.Keys {
		if k == key {
			return n.Items[i]
		}
	}
	return nil
}

// builder makes nodes of values. As in skops, the first node with an id stands
// for every later one; while it is being built its place is nil.
type builder struct {
	memo map[string]*Node
}

func (b *builder) node(v *value) (*Node, error) {
	if v == nil || v.kind != 'o' {
		return nil, fmt.Errorf("a node was expected")
	}
	id := ""
	if m := v.get("__id__"); m != nil {
		id = string(m.kind) + m.text
		if known, ok := b.memo[id]; ok {
			if known == nil {
				return nil, fmt.Errorf("node %.40q holds itself", id[1:])
			}
			return known, nil
		}
		b.memo[id] = nil
	}
	n := &Node{Module: v.str("__module__"), Class: v.str("__class__")}
	if err := b.fill(n, v); err != nil {
		return nil, err
	}
	if id != "" {
		b.memo[id] = n
	}
	return n, nil
}

func (b *builder) fill(n *Node, v *value) (err error) {
	content := v.get("content")
	switch loader := v.str("__loader__"); loader {
	case "JsonNode":
		n.Value, err = scalar(content)
	case "DictNode":
		n.Kind = Dict
		err = b.dict(n, v)
	case "ListNode", "TupleNode", "SetNode":
		n.Kind = map[string]Kind{"ListNode": List, "TupleNode": Tuple, "SetNode": Set}[loader]
		err = b.items(n, content)
	case "ObjectNode":
		n.Kind = Object
		if content != nil && !(content.kind == 'l' && content.text == "null") {
			n.Attrs, err = b.node(content)
		}
	case "NdArrayNode":
		n.Kind = NDArray
		err = b.array(n, v)
	case "TreeNode", "LossNode", "SGDNode": // SGDNode until skops 0.11
		n.Kind = Reduced
		if reduce := v.get("__reduce__"); reduce != nil {
			n.Args, err = b.kind(reduce.get("args"), Tuple)
		}
		if err == nil {
			n.Attrs, err = b.node(content)
		}
	case "ConstructorFromReduceNode":
		n.Kind = Reduced
		n.Args, err = b.kind(content, Tuple)
	case "TypeNode":
		n.Kind = Type
	case "DTypeNode":
		n.Kind = DType
		n.Args, err = b.kind(content, NDArray)
	case "SliceNode":
		n.Kind = Slice
		err = slice(n, content)
	case "FunctionNode":
		n.Kind = Function
	case "PartialNode":
		n.Kind = Partial
		err = b.partial(n, content)
	case "RandomStateNode", "RandomGeneratorNode", "BytesNode", "BytearrayNode", "DefaultDictNode", "MaskedArrayNode", "MethodNode", "OperatorFuncNode":
		n.Kind = Opaque
	default:
		err = fmt.Errorf("loader %.60q is not known", loader)
	}
	return err
}

// kind builds a node that must be of the kind.
func (b *builder) kind(v *value, k Kind) (*Node, error) {
	n, err := b.node(v)
	if err == nil && n.Kind != k {
		err = fmt.Errorf("node %.80q is not of the expected kind", n.Name())
	}
	return n, err
}

// scalar reads the JSON text in a JsonNode's content.
func scalar(content *value) (any, error) {
	if content == nil || content.kind != 's' || content.text == "" {
		return nil, fmt.Errorf("a JsonNode without text")
	}
	if content.text[0] != '"' {
		return parseScalar(content.text)
	}
	v, err := parseJSON(content.text)
	if err != nil {
		return nil, err
	}
	return v.text, nil
}

func (b *builder) items(n *Node, content *value) error {
	if content == nil || content.kind != 'a' {
		return fmt.Errorf("node %.80q has no items", n.Name())
	}
	n.Items = make([]*Node, len(content.members))
	for i := range content.members {
		item, err := b.node(&content.members[i])
		if err != nil {
			return err
		}
		n.Items[i] = item
	}
	return nil
}

func (b *builder) dict(n *Node, v *value) error {
	content := v.get("content")
	if content == nil || content.kind != 'o' {
		return fmt.Errorf("a DictNode without content")
	}
	types, err := b.kind(v.get("key_types"), List)
	if err != nil {
		return err
	}
	if len(types.Items) != len(content.keys) {
		return fmt.Errorf("a DictNode with %d keys and %d types of keys", len(content.keys), len(types.Items))
	}
	n.Keys = content.keys
	for i := range content.keys {
		item, err := b.node(&content.members[i])
		if err != nil {
			return fmt.Errorf("%.60s: %w", content.keys[i], err)
		}
		n.Items = append(n.Items, item)
		n.KeyTypes = append(n.KeyTypes, types.Items[i].Class)
	}
	return nil
}

func (b *builder) array(n *Node, v *value) error {
	switch kind := v.str("type"); kind {
	case "numpy":
		n.file = v.str("file")
		if !strings.HasSuffix(n.file, ".npy") {
			return fmt.Errorf("an array without a file")
		}
		return nil
	case "json":
		shape, err := b.kind(v.get("shape"), Tuple)
		if err != nil {
			return err
		}
		for _, d := range shape.Items {
			size, ok := d.Value.(int64)
			if !ok || size < 0 || size > maxElements {
				return fmt.Errorf("an array with an impossible shape")
			}
			n.Shape = append(n.Shape, int(size))
		}
		if err := b.items(n, v.get("content")); err != nil {
			return err
		}
		if len(n.Shape) == 0 || n.Shape[0] != len(n.Items) {
			return fmt.Errorf("an array of %d items with shape %v", len(n.Items), n.Shape)
		}
		return nil
	default:
		return fmt.Errorf("an array of type %.40q", kind)
	}
}

func slice(n *Node, content *value) error {
	for i, name := range []string{"start", "stop", "step"} {
		if content == nil {
			return fmt.Errorf("a SliceNode without content")
		}
		bound := content.get(name)
		switch {
		case bound == nil || bound.kind == 'o' || bound.kind == 'a':
			return fmt.Errorf("a SliceNode without %s", name)
		case bound.kind == 's':
			n.Bounds[i] = bound.text
			continue
		}
		switch v, _ := parseScalar(bound.text); v.(type) {
		case nil, int64:
			n.Bounds[i] = v
		default:
			return fmt.Errorf("a SliceNode whose %s is %.40q", name, bound.text)
		}
	}
	return nil
}

func (b *builder) partial(n *Node, content *value) (err error) {
	if content == nil {
		return fmt.Errorf("a PartialNode without content")
	}
	if n.Func, err = b.node(content.get("func")); err != nil {
		return err
	}
	if n.Args, err = b.kind(content.get("args"), Tuple); err != nil {
		return err
	}
	n.Keywords, err = b.kind(content.get("kwds"), Dict)
	return err
}
