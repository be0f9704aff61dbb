package sklearn

import (
	"math"
	"strconv"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// ordinal encodes each column as the code of its category.
type ordinal struct {
	encoder
	unknownValue float64
	missingValue float64
	missing      []bool // by column: a missing value has a code of its own
	dtype        dtype
}

func ordinalEncoder(o *object, in input) (transformer, output) {
	e, out := o.encoder(in)
	t := &ordinal{encoder: *e, dtype: o.numberType(), missing: make([]bool, len(e.columns))}
	t.unknown = o.choice("handle_unknown", "error", "use_encoded_value")
	t.missingValue = o.float("encoded_missing_value")
	value := o.node("unknown_value")
	if t.unknown == "use_encoded_value" && o.ok() {
		t.unknownValue = asFloat(o.scalarOf("unknown_value", value))
	} else if o.ok() && !isNone(value) {
		o.fail("unknown_value without handle_unknown=\"use_encoded_value\" is not known")
	}
	if t.dtype == ints && math.IsNaN(t.unknownValue) {
		o.fail("unknown_value is not a whole number")
	}
	o.missingCodes(t)
	return t, out
}

// missingCodes reads which columns have NaN as their last category.
func (o *object) missingCodes(t *ordinal) {
	n := o.node("_missing_indices")
	if !o.ok() {
		return
	}
	if n.Kind != skops.Dict {
		o.fail("_missing_indices is not known")
		return
	}
	for i := range n.Keys {
		j, err := strconv.Atoi(n.Keys[i])
		if err != nil || j < 0 || j >= len(t.columns) || o.scalarOf("_missing_indices", n.Items[i]) != int64(t.columns[j].nan) {
			o.fail("_missing_indices is not where its categories have NaN")
			return
		}
		t.missing[j] = true
	}
	for j := range t.columns {
		if (t.columns[j].nan >= 0) != t.missing[j] {
			o.fail("_missing_indices is not where its categories have NaN")
		}
	}
}

func (t *ordinal) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(len(f.cols))}
	for j := range f.cols {
		codes, err := t.codes(s, f, j)
		if err != nil {
			return frame{}, err
		}
		t.group(j, codes)
		out.cols[j] = s.numbers(t.dtype, f.rows)
		for i, code := range codes {
			out.cols[j].floats[i] = t.value(j, code)
		}
	}
	return out, nil
}

func (t *ordinal) value(j, code int) float64 {
	switch {
	case code < 0:
		return t.unknownValue
	case t.missing[j] && code == t.columns[j].nan:
		return t.missingValue
	}
	return float64(code)
}
