package sklearn

import (
	"math"
	"strings"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// kind is the type of the elements of a stored array.
type kind uint8

const (
	kindFloat  kind = iota
	kindSingle      // float32
	kindInt
	kindBool
	kindText
	kindObject // Python objects of several types
)

// array is a stored array. floats is set for numbers and booleans, ints for
// integers, texts for text and objects for mixed ones.
type array struct {
	kind    kind
	shape   []int
	size    int
	floats  []float64
	ints    []int64
	texts   []string
	objects []any // nil, bool, int64, float64 or string
	dtype   string
}

// at returns the element as nil, bool, int64, float64 or string.
func (a *array) at(i int) any {
	switch a.kind {
	case kindInt:
		return a.ints[i]
	case kindBool:
		return a.floats[i] != 0
	case kindText:
		return a.texts[i]
	case kindObject:
		return a.objects[i]
	}
	return a.floats[i]
}

func (o *object) array(name string) *array { return o.arrayOf(name, o.node(name)) }

// arrayOf reads an array, or a list of scalars as numpy.asarray would.
func (o *object) arrayOf(name string, n *skops.Node) *array {
	a := &array{}
	if o.err != nil {
		return a
	}
	switch {
	case n.Kind == skops.NDArray && n.Items != nil:
		a.shape = n.Shape
		o.objects(name, a, n)
	case n.Kind == skops.NDArray:
		o.stored(name, a, n)
	case n.Kind == skops.List || n.Kind == skops.Tuple:
		a.shape = []int{len(n.Items)}
		o.objects(name, a, n)
	default:
		o.fail("attribute %q is no array", name)
	}
	return a
}

func (o *object) stored(name string, a *array, n *skops.Node) {
	o.spend(1)
	file, err := o.file.Array(n)
	if err != nil {
		o.wrap(name, err)
		return
	}
	a.shape, a.size, a.dtype = file.Shape, file.Size, file.DType
	switch {
	case strings.HasPrefix(file.DType, "<U"):
		a.kind = kindText
		a.texts, err = file.Strings()
	case strings.HasSuffix(file.DType, "f8"), strings.HasSuffix(file.DType, "f4"):
		if file.DType == "<f4" {
			a.kind = kindSingle
		}
		a.floats, err = file.Floats()
	default:
		a.kind = kindInt
		if file.DType == "|b1" {
			a.kind = kindBool
		}
		if a.ints, err = file.Ints(); err == nil {
			a.floats, err = file.Floats()
		}
	}
	o.wrap(name, err)
}

// objects reads the elements of an object array, whose type is that of all its
// elements where they agree.
func (o *object) objects(name string, a *array, n *skops.Node) {
	if len(a.shape) != 1 {
		o.fail("attribute %q is an array of objects with %d dimensions", name, len(a.shape))
		return
	}
	a.kind, a.size = kindObject, len(n.Items)
	o.spend(len(n.Items))
	for _, item := range n.Items {
		a.objects = append(a.objects, o.scalarOf(name, item))
	}
	if o.err != nil {
		return
	}
	switch {
	case all[string](a.objects):
		a.kind = kindText
		a.texts = gather(a.objects, func(v any) string { return v.(string) })
	case all[int64](a.objects):
		a.kind = kindInt
		a.ints = gather(a.objects, func(v any) int64 { return v.(int64) })
		a.floats = gather(a.objects, func(v any) float64 { return float64(v.(int64)) })
	case all[bool](a.objects):
		a.kind = kindBool
		a.floats = gather(a.objects, func(v any) float64 { return asFloat(v) })
	case all[float64](a.objects):
		a.kind = kindFloat
		a.floats = gather(a.objects, func(v any) float64 { return v.(float64) })
	}
}

func all[T any](items []any) bool {
	for _, v := range items {
		if _, ok := v.(T); !ok {
			return false
		}
	}
	return len(items) > 0
}

func gather[T any](items []any, get func(any) T) []T {
	out := make([]T, len(items))
	for i, v := range items {
		out[i] = get(v)
	}
	return out
}

// asFloat returns a scalar as a number; text and None are NaN.
func asFloat(v any) float64 {
	switch v := v.(type) {
	case float64:
		return v
	case int64:
		return float64(v)
	case bool:
		if v {
			return 1
		}
		return 0
	}
	return math.NaN()
}
