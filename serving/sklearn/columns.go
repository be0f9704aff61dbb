package sklearn

import (
	"slices"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// A branch of a ColumnTransformer or FeatureUnion.
type branch struct {
	columns []int       // which columns of the input; nil: all
	step    transformer // nil: passthrough
	weight  float64     // multiplies the output; 1: nothing
}

// branches stacks what its branches make of their columns side by side.
type branches struct {
	check    checks
	names    []string // of the fit; nil: fitted without
	branches []branch
	needed   []bool // columns a request must hold, beside names
	byName   bool   // some columns are selected by name
	frame    bool   // the output is a DataFrame: columns keep their types
	sparse   bool   // the output is a sparse matrix: numbers alone
	width    int
}

func (b *branches) transform(s *scratch, f *frame) (frame, error) {
	in := *f
	if err := b.arrange(s, &in); err != nil {
		return frame{}, err
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(b.width)[:0]}
	for i := range b.branches {
		part, err := b.branches[i].run(s, &in)
		if err != nil {
			return frame{}, err
		}
		out.cols = append(out.cols, part.cols...)
	}
	return out, b.stack(s, &out)
}

// arrange puts the columns of a request into the order of the fit: by name
// where request and fit have names, as scikit-learn does.
func (b *branches) arrange(s *scratch, f *frame) error {
	switch {
	case b.check.off || b.names == nil:
		return b.check.run(f)
	case len(f.names) == 0 && (b.byName || !f.array):
		return refuse("the model takes columns by name, and the request names none")
	case len(f.names) == 0:
		return b.check.run(f)
	}
	if slices.Equal(f.names, b.names) {
		return nil
	}
	cols, names := s.cols.take(len(b.names)), b.names
	for i, name := range b.names {
		at := slices.Index(f.names, name)
		switch {
		case at >= 0 && slices.Contains(f.names[at+1:], name):
			return refuse("column %q is there twice", name)
		case at >= 0:
			cols[i] = f.cols[at]
		case b.needed[i]:
			return refuse("column %q is missing", name)
		default: // dropped by every branch
			cols[i] = column{dtype: texts}
		}
	}
	f.cols, f.names = cols, names
	return nil
}

func (b *branch) run(s *scratch, f *frame) (frame, error) {
	part := *f
	if b.columns != nil {
		part.names = nil
		part.cols = s.cols.take(len(b.columns))
		for i, j := range b.columns {
			part.cols[i] = f.cols[j]
		}
	}
	if b.step != nil {
		var err error
		if part, err = b.step.transform(s, &part); err != nil {
			return frame{}, err
		}
	}
	if b.weight != 1 {
		return scaled(s, &part, b.weight)
	}
	return part, nil
}

func scaled(s *scratch, f *frame, weight float64) (frame, error) {
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(len(f.cols))}
	for j := range f.cols {
		values, err := f.number(j)
		if err != nil {
			return frame{}, err
		}
		out.cols[j] = s.numbers(f.cols[j].dtype, f.rows)
		for i, v := range values {
			out.cols[j].floats[i] = round(v*weight, out.cols[j].dtype)
		}
	}
	return out, nil
}

// numbers returns a column for computed numbers: float32 if they come of
// float32, else float64.
func (s *scratch) numbers(from dtype, rows int) column {
	c := column{dtype: float64s, floats: s.floats.take(rows)}
	if from == float32s {
		c.dtype = float32s
	}
	return c
}

// round rounds to float32 where the column is of it.
func round(v float64, d dtype) float64 {
	if d == float32s {
		return float64(float32(v))
	}
	return v
}

// stack gives the columns the one type numpy's hstack would, unless they stay
// columns of a DataFrame. Text makes an array of objects, which keep theirs.
func (b *branches) stack(s *scratch, f *frame) error {
	same, text := true, false
	for j := range f.cols {
		same = same && f.cols[j].dtype == f.cols[0].dtype
		text = text || f.cols[j].dtype == texts
	}
	if text && b.sparse {
		return refuse("text cannot be put into the model's sparse matrix")
	}
	if same || text || b.frame {
		return nil
	}
	for j := range f.cols {
		f.cols[j].dtype, f.cols[j].ints = float64s, nil
	}
	return nil
}

func columnTransformer(o *object, in input) (transformer, output) {
	o.ignore("decides between sparse and dense at fit; sparse_output_ holds which", "sparse_threshold")
	o.ignore("how many processes fit", "n_jobs")
	o.ignore("prints the time of fit", "verbose")
	o.ignore("only names the outputs", "verbose_feature_names_out", "_transformers_feature_names_out")
	o.ignore("where each transformer's outputs are; the widths are known", "output_indices_")
	o.ignore("what fit was given; transformers_ and _transformer_to_input_indices hold what came of it",
		"transformers", "remainder", "_columns", "_remainder", "force_int_remainder_cols", "_n_features")
	o.ignore("transformers that pass their input on", "_name_to_fitted_passthrough")
	b := &branches{frame: o.outputConfig(), sparse: o.flag("sparse_output_")}
	b.check = o.inputs(input{width: in.width, top: in.top, names: in.names})
	b.names = b.check.names
	weights := o.weights("transformer_weights")
	indices := o.node("_transformer_to_input_indices")
	for _, item := range o.tuples("transformers_", 3) {
		name := o.nameOf(item[0])
		columns := o.selection(b, name, item[2], indices.Get(name), in)
		if !o.ok() {
			return nil, output{}
		}
		if item[1].Value == "drop" {
			continue
		}
		b.need(columns)
		if len(columns) == 0 {
			continue
		}
		part := input{width: len(columns), names: pick(b.names, columns), frame: in.frame}
		o.branch(b, name, item[1], part, columns, weights)
	}
	if b.needed == nil {
		b.needed = make([]bool, b.check.width)
	}
	return b, output{width: b.width, sparse: b.sparse, frame: b.frame}
}

// need marks columns a request must hold.
func (b *branches) need(columns []int) {
	if b.needed == nil {
		b.needed = make([]bool, b.check.width)
	}
	for _, j := range columns {
		b.needed[j] = true
	}
}

// pick returns the names at the positions; nil of nil.
func pick(names []string, at []int) []string {
	if names == nil {
		return nil
	}
	out := make([]string, len(at))
	for i, j := range at {
		out[i] = names[j]
	}
	return out
}

// branch compiles one transformer of a composite and adds it.
func (o *object) branch(b *branches, name string, n *skops.Node, in input, columns []int, weights map[string]float64) {
	one := branch{columns: columns, weight: 1}
	out := output{width: in.width, sparse: in.sparse}
	if weight, ok := weights[name]; ok {
		one.weight = weight
	}
	if !passes(n) || isNone(n) {
		one.step, out = o.transformer(n, in, o.inside(name))
	}
	b.branches = append(b.branches, one)
	b.width += out.width
	if b.width > maxColumns {
		o.fail("its %d columns are too many", b.width)
	}
	b.sparse = b.sparse || out.sparse && o.name == "sklearn.pipeline.FeatureUnion"
}

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

// weights reads a dict of factors by transformer; None is empty.
func (o *object) weights(name string) map[string]float64 {
	n := o.node(name)
	if !o.ok() || isNone(n) {
		return nil
	}
	if n.Kind != skops.Dict {
		o.fail("attribute %q is not known", name)
		return nil
	}
	weights := map[string]float64{}
	for i, key := range n.Keys {
		weights[key] = asFloat(o.scalarOf(name, n.Items[i]))
		if weights[key] != weights[key] {
			o.fail("attribute %q is not known", name)
		}
	}
	return weights
}

func featureUnion(o *object, in input) (transformer, output) {
	o.ignore("how many processes fit", "n_jobs")
	o.ignore("prints the time of fit", "verbose")
	o.ignore("only names the outputs", "verbose_feature_names_out")
	b := &branches{frame: o.outputConfig(), check: checks{off: true}}
	weights := o.weights("transformer_weights")
	for _, item := range o.tuples("transformer_list", 2) {
		if item[1].Value == "drop" || !o.ok() {
			continue
		}
		o.branch(b, o.nameOf(item[0]), item[1], in, nil, weights)
	}
	if o.ok() && (in.width == 0 && b.width == 0) {
		o.fail("it makes no columns")
	}
	return b, output{width: b.width, sparse: b.sparse, frame: b.frame}
}

// identity hands its input on.
type identity struct{ check checks }

func (t identity) transform(_ *scratch, f *frame) (frame, error) {
	return *f, t.check.run(f)
}

// functionTransformer knows the one without a function, which hands its input
// on. Any other would run the model's code.
func functionTransformer(o *object, in input) (transformer, output) {
	o.ignore("used by inverse_transform", "inverse_func", "check_inverse", "inv_kw_args")
	o.ignore("only names the outputs", "feature_names_out")
	o.ignore("what is taken is known at load", "accept_sparse")
	if n := o.node("func"); o.ok() && !isNone(n) && !o.checksArray(n) {
		o.fail("func=%s would run code", n.Name())
	}
	o.none("kw_args")
	if o.flag("validate") {
		o.fail("validate=True is not known")
	}
	frame := o.outputConfig()
	t := identity{check: checks{off: true}}
	if o.has("n_features_in_") {
		t.check = o.inputs(in)
	}
	if in.width == 0 {
		in.width = t.check.width
	}
	out := output{width: in.width, sparse: in.sparse, frame: in.frame || frame, names: in.names}
	if out.names == nil {
		out.names = t.check.names
	}
	return t, out
}

// checksArray reports whether the function is the check_array that histogram
// gradient boosting puts before its columns of numbers, which changes nothing
// but refuses text.
func (o *object) checksArray(n *skops.Node) bool {
	if n.Kind != skops.Partial || n.Func.Name() != "sklearn.utils.validation.check_array" || len(n.Args.Items) != 0 || len(n.Keywords.Keys) != 2 {
		return false
	}
	dtype, all := n.Keywords.Get("dtype"), n.Keywords.Get("force_all_finite")
	if all == nil {
		all = n.Keywords.Get("ensure_all_finite")
	}
	return dtype != nil && dtype.Kind == skops.List && len(dtype.Items) == 1 && isFloat64(o, dtype.Items[0]) && all != nil && all.Value == false
}

// isFloat64 reports whether the node is numpy.float64 as a class or a dtype.
func isFloat64(o *object, n *skops.Node) bool {
	if n.Kind == skops.DType && n.Args.Items == nil {
		a, err := o.file.Array(n.Args)
		return err == nil && a.DType == "<f8"
	}
	return n.Kind == skops.Type && n.Name() == "numpy.float64"
}
