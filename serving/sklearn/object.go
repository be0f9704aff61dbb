package sklearn

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

func quote(s string) string { return strconv.Quote(s) }
func itoa(n int) string     { return strconv.Itoa(n) }

func formatFloat(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// An object is one stored estimator that is being read. Every attribute must
// be read, or ignored for a stated reason; done refuses the others by name.
// The first error sticks to the compiler and turns later reads into zeros.
type object struct {
	*compiler
	name  string // full name of the class
	path  string // of the object in the model, for messages
	attrs *skops.Node
	read  []bool // beside attrs.Keys
}

// done refuses attributes nothing has read.
func (o *object) done() {
	for i, read := range o.read {
		if !read {
			o.fail("attribute %q is not known", o.attrs.Keys[i])
			return
		}
	}
}

// fail records that the object cannot be served exactly.
func (o *object) fail(format string, args ...any) {
	if o.err == nil {
		o.err = slipway.Errorf(slipway.Invalid, checking, "%s: %s", o.path, fmt.Sprintf(format, args...)).
			WithHint("this engine serves only what it is known to answer exactly as scikit-learn does; use another estimator or option")
	}
}

// wrap records an error of the file format.
func (o *object) wrap(name string, err error) {
	if o.err == nil && err != nil {
		o.err = &slipway.Error{Op: checking, Code: codeOf(err), Message: o.path + ": attribute " + quote(name), Err: err}
	}
}

func codeOf(err error) slipway.Code {
	if slipway.CodeOf(err) == slipway.Exhausted {
		return slipway.Exhausted
	}
	return slipway.Invalid
}

// ignore passes over attributes that have no influence on an answer.
func (o *object) ignore(reason string, names ...string) {
	for _, name := range names {
		if i := slices.Index(o.attrs.Keys, name); i >= 0 {
			o.read[i] = true
			if o.onIgnore != nil {
				o.onIgnore(o.name, name, reason)
			}
		}
	}
}

// has reports whether the attribute is stored, without reading it.
func (o *object) has(name string) bool { return o.attrs.Get(name) != nil }

// optional returns the attribute's node, or nil.
func (o *object) optional(name string) *skops.Node {
	i := slices.Index(o.attrs.Keys, name)
	if i < 0 {
		return nil
	}
	o.read[i] = true
	return o.attrs.Items[i]
}

// node returns the attribute's node; it must be there.
func (o *object) node(name string) *skops.Node {
	n := o.optional(name)
	if n == nil {
		o.fail("attribute %q is missing", name)
		return &skops.Node{}
	}
	return n
}

// scalar returns a Python scalar or a numpy scalar: nil, bool, int64, float64
// or string. Anything else fails.
func (o *object) scalar(name string) any {
	return o.scalarOf(name, o.node(name))
}

func (o *object) scalarOf(name string, n *skops.Node) any {
	if o.err != nil {
		return nil
	}
	switch n.Kind {
	case skops.Scalar:
		return n.Value
	case skops.NDArray:
		if n.Items != nil {
			break
		}
		if a := o.arrayOf(name, n); o.err == nil && a.size == 1 && len(a.shape) == 0 {
			return a.at(0)
		}
	}
	o.fail("attribute %q is no single value", name)
	return nil
}

func (o *object) text(name string) string {
	s, ok := o.scalar(name).(string)
	if !ok {
		o.fail("attribute %q is no text", name)
	}
	return s
}

// choice returns a text that must be one of those known.
func (o *object) choice(name string, known ...string) string {
	s := o.text(name)
	if !slices.Contains(known, s) {
		o.fail("%s=%q is not known", name, s)
	}
	return s
}

func (o *object) flag(name string) bool {
	switch v := o.scalar(name).(type) {
	case bool:
		return v
	case int64:
		if v == 0 || v == 1 {
			return v == 1
		}
	}
	o.fail("attribute %q is neither true nor false", name)
	return false
}

func (o *object) int(name string) int {
	v, ok := o.scalar(name).(int64)
	if !ok || v < math.MinInt32 || v > math.MaxInt32 {
		o.fail("attribute %q is no whole number in range", name)
		return 0
	}
	return int(v)
}

func (o *object) float(name string) float64 {
	switch v := o.scalar(name).(type) {
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
	o.fail("attribute %q is no number", name)
	return 0
}

// isNone reports whether the attribute is stored and None.
func isNone(n *skops.Node) bool {
	return n != nil && n.Kind == skops.Scalar && n.Value == nil
}

// none reads an attribute that must be None: another value would change the
// answer in a way that is not known.
func (o *object) none(name string) {
	if n := o.node(name); o.ok() && !isNone(n) {
		o.fail("%s other than None is not known", name)
	}
}

// list returns the items of a list or tuple.
func (o *object) list(name string) []*skops.Node {
	return o.listOf(name, o.node(name))
}

func (o *object) listOf(name string, n *skops.Node) []*skops.Node {
	switch {
	case o.err != nil:
	case n.Kind == skops.List, n.Kind == skops.Tuple, n.Kind == skops.NDArray && n.Items != nil && len(n.Shape) == 1:
		return n.Items
	default:
		o.fail("attribute %q is no list", name)
	}
	return nil
}

// floats returns an array of numbers in row-major order and its shape.
func (o *object) floats(name string) ([]float64, []int) {
	return o.floatsOf(name, o.node(name))
}

func (o *object) floatsOf(name string, n *skops.Node) ([]float64, []int) {
	a := o.arrayOf(name, n)
	if o.err != nil {
		return nil, nil
	}
	if a.kind == kindText || a.kind == kindObject {
		o.fail("attribute %q holds no numbers", name)
		return nil, nil
	}
	return a.floats, a.shape
}

// vector returns an array of exactly n numbers in one dimension.
func (o *object) vector(name string, n int) []float64 {
	v, shape := o.floats(name)
	if o.err == nil && (len(shape) != 1 || shape[0] != n) {
		o.fail("attribute %q has shape %v instead of [%d]", name, shape, n)
	}
	if o.err != nil {
		return nil
	}
	return v
}

// grid returns an array of rows × cols numbers.
func (o *object) grid(name string, rows, cols int) []float64 {
	v, shape := o.floats(name)
	if o.err == nil && (len(shape) != 2 || shape[0] != rows || shape[1] != cols) {
		o.fail("attribute %q has shape %v instead of [%d %d]", name, shape, rows, cols)
	}
	if o.err != nil {
		return nil
	}
	return v
}

// names returns an array or list of texts; nil when absent.
func (o *object) names(name string) []string {
	n := o.optional(name)
	if n == nil || o.err != nil {
		return nil
	}
	a := o.arrayOf(name, n)
	if o.err != nil {
		return nil
	}
	out := make([]string, a.size)
	for i := range out {
		text, ok := a.at(i).(string)
		if !ok {
			o.fail("attribute %q does not hold text alone", name)
			return nil
		}
		out[i] = text
	}
	return out
}

// ok reports whether everything so far was well.
func (o *object) ok() bool { return o.err == nil }
