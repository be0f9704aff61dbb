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
	return out, b.stack(&out)
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
func (b *branches) stack(f *frame) error {
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
