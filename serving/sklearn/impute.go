package sklearn

import (
	"slices"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// missing tells which values stand for missing ones: NaN and missing text, or
// one number or text.
type missing struct {
	value any // nil: NaN, None and missing text; else float64 or string
}

// missingValue reads the parameter missing_values.
func (o *object) missingValue() missing {
	switch v := o.scalar("missing_values").(type) {
	case nil:
		return missing{}
	case string:
		return missing{v}
	case float64:
		if v == v {
			return missing{v}
		}
	case int64:
		return missing{float64(v)}
	default:
		o.fail("missing_values is not known")
	}
	return missing{}
}

// mark sets which of the column's values are missing. A value that is missing
// otherwise is refused, as scikit-learn does.
func (m missing) mark(f *frame, j int, flags []bool) error {
	col := &f.cols[j]
	if col.dtype != texts {
		if err := f.finite(j, m.value == nil); err != nil {
			return err
		}
		want, isNumber := m.value.(float64)
		for i, v := range col.floats {
			flags[i] = v != v || isNumber && v == want
		}
		return nil
	}
	want, isText := m.value.(string)
	for i, text := range col.texts {
		absent := col.missing != nil && col.missing[i]
		if absent && m.value != nil {
			return refuse("row %d: %s is missing, which the model does not take", f.first+i, f.columnName(j))
		}
		flags[i] = absent || isText && text == want
	}
	return nil
}

// imputer fills missing values in, and may add a column for each column that
// had some.
type imputer struct {
	check   checks
	missing missing
	columns []fill
	flags   []int // columns whose marks are added
}

// fill is what a kept column is filled with.
type fill struct {
	column int
	number float64
	text   string
	isText bool
}

func simpleImputer(o *object, in input) (transformer, output) {
	o.ignore("whether the input is changed in place", "copy")
	o.ignore("what fit was given; statistics_ holds what came of it", "fill_value")
	o.ignore("prints at fit", "verbose")
	if in.sparse {
		o.fail("filling in a sparse matrix is not known")
	}
	frame := o.outputConfig()
	t := &imputer{check: o.inputs(in), missing: o.missingValue()}
	strategy := o.choice("strategy", "mean", "median", "most_frequent", "constant")
	keep := o.flag("keep_empty_features") || strategy == "constant" && o.minor <= 7
	o.fitType(strategy)
	o.statistics(t, keep, o.fillType())
	if o.flag("add_indicator") {
		t.flags = o.indicatorOf(t)
	} else {
		o.none("indicator_")
	}
	return t, output{width: len(t.columns) + len(t.flags), frame: frame}
}

// fitType checks that the dtype of the fit is one the strategy can have: text
// has no mean.
func (o *object) fitType(strategy string) {
	name := o.dtypeName("_fit_dtype")
	if o.ok() && name == "|O" && (strategy == "mean" || strategy == "median") {
		o.fail("_fit_dtype is not known")
	}
}

// fillType tells what the statistics are rounded to, since scikit-learn 1.8.
func (o *object) fillType() dtype {
	if o.minor < 8 {
		return float64s
	}
	switch o.dtypeName("_fill_dtype") {
	case "<f4":
		return float32s
	case "<i8", "<i4":
		return ints
	}
	return float64s
}

// dtypeName returns numpy's name of a stored dtype; that of objects is "|O".
func (o *object) dtypeName(name string) string {
	n := o.node(name)
	if !o.ok() {
		return ""
	}
	if n.Kind != skops.DType {
		o.fail("attribute %q is no dtype", name)
		return ""
	}
	if n.Args.Items != nil {
		return "|O"
	}
	a, err := o.file.Array(n.Args)
	if err != nil {
		o.wrap(name, err)
		return ""
	}
	if !slices.Contains([]string{"<f8", "<f4", "<i8", "<i4"}, a.DType) {
		o.fail("%s %q is not known", name, a.DType)
	}
	return a.DType
}

// statistics reads what each column is filled with. A column without any
// (NaN) is dropped, unless keep.
func (o *object) statistics(t *imputer, keep bool, kind dtype) {
	values := o.array("statistics_")
	if o.ok() && (len(values.shape) != 1 || values.size != t.check.width) {
		o.fail("statistics_ is not one a column")
	}
	if !o.ok() {
		return
	}
	for j := range values.size {
		f := fill{column: j}
		switch v := values.at(j).(type) {
		case string:
			f.text, f.isText = v, true
		case nil:
			o.fail("statistics_ holds None")
		default:
			f.number = asFloat(v)
			if f.number != f.number && !keep {
				continue
			}
			if kind == ints {
				f.number = float64(int64(f.number))
			}
			f.number = round(f.number, kind)
		}
		t.columns = append(t.columns, f)
	}
}

func (t *imputer) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	if f.all(bools) {
		return frame{}, refuse("the model fills in no columns that all are boolean")
	}
	marks := s.flags.take(f.rows * len(f.cols))
	of := func(j int) []bool { return marks[j*f.rows : (j+1)*f.rows] }
	for j := range f.cols {
		if err := t.missing.mark(f, j, of(j)); err != nil {
			return frame{}, err
		}
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(len(t.columns) + len(t.flags))[:0]}
	for _, fill := range t.columns {
		c, err := fill.fillIn(s, f, of(fill.column))
		if err != nil {
			return frame{}, err
		}
		out.cols = append(out.cols, c)
	}
	for _, j := range t.flags {
		out.cols = append(out.cols, marked(s, of(j)))
	}
	return out, nil
}

// fillIn returns the column with the marked values filled in.
func (t *fill) fillIn(s *scratch, f *frame, marks []bool) (column, error) {
	in := f.cols[t.column]
	if !anyOf(marks) {
		in.missing = nil
		return in, nil
	}
	if t.isText != (in.dtype == texts) {
		return in, refuse("%s is not of the type the model was fitted on", f.columnName(t.column))
	}
	if t.isText {
		out := column{dtype: texts, texts: make([]string, f.rows)}
		for i, text := range in.texts {
			out.texts[i] = text
			if marks[i] {
				out.texts[i] = t.text
			}
		}
		return out, nil
	}
	out := s.numbers(in.dtype, f.rows)
	for i, v := range in.floats {
		out.floats[i] = v
		if marks[i] {
			out.floats[i] = round(t.number, out.dtype)
		}
	}
	return out, nil
}

func anyOf(flags []bool) bool {
	for _, flag := range flags {
		if flag {
			return true
		}
	}
	return false
}

// marked turns marks into a column of 0 and 1.
func marked(s *scratch, flags []bool) column {
	c := column{dtype: bools, floats: s.floats.take(len(flags))}
	for i, flag := range flags {
		c.floats[i] = 0
		if flag {
			c.floats[i] = 1
		}
	}
	return c
}

// indicator marks missing values.
type indicator struct {
	check   checks
	missing missing
	columns []int  // which columns are marked
	seen    []bool // columns that had missing values at fit; nil: any may have
}

// indicatorOf reads the MissingIndicator of an imputer.
func (o *object) indicatorOf(t *imputer) []int {
	n := o.node("indicator_")
	if !o.ok() || n.Name() != "sklearn.impute._base.MissingIndicator" {
		o.fail("indicator_ is not known")
		return nil
	}
	in := o.open(n, o.inside("indicator_"))
	inner := in.indicator(input{width: t.check.width})
	if in.ok() && (!in.flag("_precomputed") || inner.seen != nil || inner.missing != t.missing) {
		in.fail("it does not mark what its imputer fills in")
	}
	in.done()
	return inner.columns
}

func (o *object) indicator(in input) *indicator {
	o.ignore("between sparse and dense", "sparse")
	t := &indicator{check: o.inputs(in), missing: o.missingValue()}
	if width := o.int("_n_features"); o.ok() && width != t.check.width {
		o.fail("_n_features is not n_features_in_")
	}
	only := o.choice("features", "missing-only", "all") == "missing-only"
	strict := o.flag("error_on_new")
	features := o.array("features_")
	if !o.ok() || features.size > 0 && features.kind != kindInt || len(features.shape) != 1 {
		o.fail("features_ is not known")
		return t
	}
	seen := make([]bool, t.check.width)
	for _, j := range features.ints {
		if j < 0 || j >= int64(t.check.width) || seen[j] {
			o.fail("features_ is not known")
			return t
		}
		seen[j] = true
		t.columns = append(t.columns, int(j))
	}
	if !only && len(t.columns) != t.check.width {
		o.fail("features_ is not known")
	}
	if only && strict {
		t.seen = seen
	}
	return t
}

func missingIndicator(o *object, in input) (transformer, output) {
	if in.sparse {
		o.fail("marking a sparse matrix is not known")
	}
	frame := o.outputConfig()
	t := o.indicator(in)
	if o.flag("_precomputed") {
		o.fail("it was fitted on marks")
	}
	return t, output{width: len(t.columns), frame: frame}
}

func (t *indicator) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	marks := s.flags.take(f.rows * len(f.cols))
	of := func(j int) []bool { return marks[j*f.rows : (j+1)*f.rows] }
	for j := range f.cols {
		if err := t.missing.mark(f, j, of(j)); err != nil {
			return frame{}, err
		}
		if t.seen != nil && !t.seen[j] && anyOf(of(j)) {
			return frame{}, refuse("%s has missing values but had none when the model was fitted", f.columnName(j))
		}
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(len(t.columns))}
	for i, j := range t.columns {
		out.cols[i] = marked(s, of(j))
	}
	return out, nil
}
