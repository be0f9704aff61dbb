package sklearn

import "math"

// affine is a scaler: each column is shifted, then multiplied or divided,
// operation by operation as scikit-learn does, because the result is compared
// bit by bit where a tree follows.
type affine struct {
	check    checks
	subtract []float64 // nil: nothing
	divide   []float64
	multiply []float64
	add      []float64
	clip     bool
	low      float64
	high     float64
	narrow   bool // parameters are rounded to float32 where the input is
}

func (t *affine) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(len(f.cols))}
	kind := float64s
	if f.all(float32s) {
		kind = float32s
	}
	for j := range f.cols {
		values, err := f.number(j)
		if err != nil {
			return frame{}, err
		}
		if err := f.finite(j, true); err != nil {
			return frame{}, err
		}
		out.cols[j] = s.numbers(kind, f.rows)
		t.column(j, values, out.cols[j])
	}
	return out, nil
}

func (t *affine) column(j int, values []float64, out column) {
	copy(out.floats, values)
	parameter := func(v []float64) float64 {
		if t.narrow {
			return round(v[j], out.dtype)
		}
		return v[j]
	}
	if t.subtract != nil {
		each(out, parameter(t.subtract), func(v, p float64) float64 { return v - p })
	}
	if t.multiply != nil {
		each(out, parameter(t.multiply), func(v, p float64) float64 { return v * p })
	}
	if t.add != nil {
		each(out, parameter(t.add), func(v, p float64) float64 { return v + p })
	}
	if t.divide != nil {
		each(out, parameter(t.divide), func(v, p float64) float64 { return v / p })
	}
	if t.clip {
		each(out, round(t.low, out.dtype), math.Max)
		each(out, round(t.high, out.dtype), math.Min)
	}
}

// each applies an operation with one parameter, rounding as numpy would.
func each(c column, parameter float64, operation func(v, p float64) float64) {
	for i, v := range c.floats {
		c.floats[i] = round(operation(v, parameter), c.dtype)
	}
}

func (o *object) scaler(in input) (*affine, output) {
	o.ignore("whether the input is changed in place", "copy")
	o.ignore("counted by fit", "n_samples_seen_")
	frame := o.outputConfig()
	t := &affine{check: o.inputs(in)}
	return t, output{width: t.check.width, sparse: in.sparse, frame: frame}
}

func standardScaler(o *object, in input) (transformer, output) {
	t, out := o.scaler(in)
	o.ignore("scale_ is made of it", "var_")
	t.narrow = o.minor >= 8
	withMean, withStd := o.flag("with_mean"), o.flag("with_std")
	mean, scale := o.node("mean_"), o.node("scale_")
	if withMean && o.ok() {
		if in.sparse {
			o.fail("it would center a sparse matrix")
		}
		t.subtract, _ = o.floatsOf("mean_", mean)
	}
	if withStd && o.ok() {
		values, _ := o.floatsOf("scale_", scale)
		o.divides(t, values, in)
	}
	o.lengths(t)
	return t, out
}

// divides divides by the scale; of a sparse matrix, scikit-learn multiplies by
// its inverse.
func (o *object) divides(t *affine, scale []float64, in input) {
	if !in.sparse {
		t.divide = scale
		return
	}
	for _, v := range scale {
		t.multiply = append(t.multiply, 1/v)
	}
}

// lengths refuses parameters that are not one a column.
func (o *object) lengths(t *affine) {
	for _, v := range [][]float64{t.subtract, t.divide, t.multiply, t.add} {
		if o.ok() && v != nil && len(v) != t.check.width {
			o.fail("it has %d parameters for %d columns", len(v), t.check.width)
		}
	}
}

func minMaxScaler(o *object, in input) (transformer, output) {
	t, out := o.scaler(in)
	o.ignore("scale_ and min_ are made of them", "data_min_", "data_max_", "data_range_")
	t.multiply, _ = o.floats("scale_")
	t.add, _ = o.floats("min_")
	t.clip = o.flag("clip")
	bounds := o.list("feature_range")
	if o.ok() && len(bounds) == 2 {
		t.low, t.high = asFloat(o.scalarOf("feature_range", bounds[0])), asFloat(o.scalarOf("feature_range", bounds[1]))
	}
	if o.ok() && !(t.low < t.high) || o.ok() && in.sparse {
		o.fail("feature_range is not known")
	}
	o.lengths(t)
	return t, out
}

func maxAbsScaler(o *object, in input) (transformer, output) {
	t, out := o.scaler(in)
	o.ignore("scale_ is made of it", "max_abs_")
	if o.minor >= 8 {
		t.clip, t.low, t.high = o.flag("clip"), -1, 1
	}
	values, _ := o.floats("scale_")
	o.divides(t, values, in)
	o.lengths(t)
	return t, out
}

func robustScaler(o *object, in input) (transformer, output) {
	t, out := o.scaler(in)
	o.ignore("center_ and scale_ are made with them", "quantile_range", "unit_variance")
	centering, scaling := o.flag("with_centering"), o.flag("with_scaling")
	center, scale := o.node("center_"), o.node("scale_")
	if centering && o.ok() {
		if in.sparse {
			o.fail("it would center a sparse matrix")
		}
		t.subtract, _ = o.floatsOf("center_", center)
	}
	if scaling && o.ok() {
		values, _ := o.floatsOf("scale_", scale)
		o.divides(t, values, in)
	}
	o.lengths(t)
	return t, out
}

// normalizer scales each row to norm 1. A row of norm 0 stays as it is.
type normalizer struct {
	check  checks
	norm   string
	sparse bool
}

func normalizerOf(o *object, in input) (transformer, output) {
	t, out := o.scaler(in)
	return &normalizer{check: t.check, norm: o.choice("norm", "l1", "l2", "max"), sparse: in.sparse}, out
}

func (t *normalizer) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	m, err := s.matrix(f, finite)
	if err != nil {
		return frame{}, err
	}
	if m.single && t.norm != "max" {
		return frame{}, refuse("norm %s of float32 depends on the machine; send float64", t.norm)
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(m.cols)}
	kind := float64s
	if m.single {
		kind = float32s
	}
	for j := range out.cols {
		out.cols[j] = s.numbers(kind, f.rows)
	}
	for i := range m.rows {
		row := m.row(i)
		norm := round(t.of(row), kind)
		if norm == 0 || !t.sparse && norm < 10*epsilon(kind) { // sklearn.preprocessing._data._handle_zeros_in_scale
			norm = 1
		}
		for j, v := range row {
			out.cols[j].floats[i] = round(v/norm, kind)
		}
	}
	return out, nil
}

// epsilon is numpy.finfo(dtype).eps.
func epsilon(d dtype) float64 {
	if d == float32s {
		return 0x1p-23
	}
	return 0x1p-52
}

func (t *normalizer) of(row []float64) float64 {
	var norm float64
	for _, v := range row {
		switch t.norm {
		case "l1":
			norm += math.Abs(v)
		case "l2":
			norm += v * v
		case "max":
			norm = max(norm, math.Abs(v))
		}
	}
	if t.norm == "l2" {
		return math.Sqrt(norm)
	}
	return norm
}
