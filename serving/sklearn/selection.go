package sklearn

import (
	"slices"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// selection returns which columns a transformer takes: the positions stored by
// fit, which must be those its own specification names.
func (o *object) selection(b *branches, name string, spec, stored *skops.Node, in input) []int {
	if !o.ok() {
		return nil
	}
	if stored == nil {
		o.fail("the columns of %q are missing", name)
		return nil
	}
	var columns []int
	for _, item := range o.listOf("_transformer_to_input_indices", stored) {
		j, ok := o.scalarOf("_transformer_to_input_indices", item).(int64)
		if !ok || j < 0 || j >= int64(b.check.width) {
			o.fail("a column of %q is not there", name)
			return nil
		}
		columns = append(columns, int(j))
	}
	named, byName := o.resolve(name, spec, b.check, in)
	b.byName = b.byName || byName
	if o.ok() && !slices.Equal(columns, named) {
		o.fail("the columns of %q are %v by position but %v by its specification", name, columns, named)
	}
	return columns
}

// resolve turns a specification of columns into positions: a list of names,
// positions or booleans, or a slice of names or positions.
func (o *object) resolve(name string, spec *skops.Node, c checks, in input) (columns []int, byName bool) {
	if spec.Kind == skops.Object && spec.Class == "_RemainderColsList" { // scikit-learn 1.5 and 1.6: a list that warns
		list := o.openPlain(spec, o.inside(name))
		list.ignore("only says when to warn", "warning_was_emitted", "warning_enabled", "future_dtype")
		spec = list.node("data")
		list.done()
	}
	switch {
	case spec != nil && spec.Kind == skops.Slice:
		_, start := spec.Bounds[0].(string)
		_, stop := spec.Bounds[1].(string)
		return o.slice(name, spec.Bounds, c, in), start || stop
	case spec == nil || spec.Kind != skops.List && spec.Kind != skops.Tuple && spec.Kind != skops.NDArray:
		o.fail("%q does not take a list or slice of columns", name)
		return nil, false
	}
	a := o.arrayOf("transformers_", spec)
	if !o.ok() || len(a.shape) != 1 {
		o.fail("the columns of %q are no list", name)
		return nil, false
	}
	switch a.kind {
	case kindText:
		return o.byName(name, a.texts, c, in), true
	case kindInt:
		return o.byPosition(name, a.ints, c), false
	case kindBool:
		return o.byMask(name, a, c), false
	}
	if a.size > 0 {
		o.fail("the columns of %q are neither names, positions nor booleans", name)
	}
	return nil, false
}

func (o *object) byName(name string, wanted []string, c checks, in input) []int {
	if !in.top && !in.frame {
		o.fail("%q takes columns by name from an array, which has none", name)
		return nil
	}
	var columns []int
	for _, w := range wanted {
		at := slices.Index(c.names, w)
		if at < 0 || slices.Contains(c.names[at+1:], w) {
			o.fail("%q takes the column %q, which is not there exactly once", name, w)
			return nil
		}
		columns = append(columns, at)
	}
	o.spend(len(wanted) * len(c.names) / 16)
	return columns
}

func (o *object) byPosition(name string, wanted []int64, c checks) []int {
	var columns []int
	for _, j := range wanted {
		if j < 0 {
			j += int64(c.width)
		}
		if j < 0 || j >= int64(c.width) {
			o.fail("%q takes a column that is not there", name)
			return nil
		}
		columns = append(columns, int(j))
	}
	return columns
}

func (o *object) byMask(name string, mask *array, c checks) []int {
	if mask.size != c.width {
		o.fail("the booleans of %q are not one a column", name)
		return nil
	}
	var columns []int
	for j := range mask.size {
		if asFloat(mask.at(j)) != 0 {
			columns = append(columns, j)
		}
	}
	return columns
}

// slice resolves a slice of positions as Python does, or one of names, whose
// last one belongs to it.
func (o *object) slice(name string, bounds [3]any, c checks, in input) []int {
	if bounds[2] != nil && bounds[2] != int64(1) {
		o.fail("%q takes a slice with steps", name)
		return nil
	}
	start, stop := o.bound(name, bounds[0], 0, c, in), o.bound(name, bounds[1], c.width, c, in)
	if _, named := bounds[1].(string); named {
		stop++
	}
	var columns []int
	for j := start; j < stop; j++ {
		columns = append(columns, j)
	}
	return columns
}

func (o *object) bound(name string, bound any, none int, c checks, in input) int {
	switch v := bound.(type) {
	case int64:
		if v < 0 {
			v = max(v+int64(c.width), 0)
		}
		return int(min(v, int64(c.width)))
	case string:
		if at := o.byName(name, []string{v}, c, in); len(at) == 1 {
			return at[0]
		}
	}
	return none
}
