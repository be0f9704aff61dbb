package sklearn

import (
	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// oneHot encodes each column as one column of 0 and 1 a category.
type oneHot struct {
	encoder
	drop   []int // by column: the code that gets no column; -1: none
	widths []int // by column: how many columns come out
	width  int
	dtype  dtype
}

func oneHotEncoder(o *object, in input) (transformer, output) {
	o.ignore("only names the outputs", "feature_name_combiner")
	o.ignore("the old name of sparse_output, which fit sets from it", "sparse")
	o.ignore("what fit was given; _drop_idx_after_grouping holds what came of it", "drop", "drop_idx_")
	e, out := o.encoder(in)
	t := &oneHot{encoder: *e, dtype: o.numberType()}
	t.unknown = o.choice("handle_unknown", "error", "ignore", "infrequent_if_exist", "warn")
	if t.unknown == "warn" && o.minor <= 7 { // a defect of 1.6 and 1.7: the warning says otherwise
		t.unknown = "ignore"
	}
	out.sparse = o.flag("sparse_output")
	if out.sparse && out.frame {
		o.fail("a sparse matrix cannot be a DataFrame")
	}
	t.drop = o.dropped(len(t.columns))
	widths := o.list("_n_features_outs")
	for j := range t.columns {
		if !o.ok() {
			break
		}
		width := t.outputs(j)
		if j >= len(widths) || o.scalarOf("_n_features_outs", widths[j]) != int64(width) {
			o.fail("_n_features_outs is not what its categories make")
		}
		t.widths = append(t.widths, width)
		t.width += width
	}
	if o.ok() && len(widths) != len(t.columns) {
		o.fail("_n_features_outs is not what its categories make")
	}
	out.width = t.width
	return t, out
}

// outputs returns how many columns column j becomes.
func (t *oneHot) outputs(j int) int {
	n := t.columns[j].count
	if t.regroup[j] != nil {
		n = t.other[j] + 1
	}
	if t.drop[j] >= 0 {
		n--
	}
	return n
}

// dropped reads the codes that get no column.
func (o *object) dropped(columns int) []int {
	drop := make([]int, columns)
	for j := range drop {
		drop[j] = -1
	}
	n := o.node("_drop_idx_after_grouping")
	if !o.ok() || isNone(n) {
		return drop
	}
	items := o.arrayOf("_drop_idx_after_grouping", n)
	if o.ok() && items.size != columns {
		o.fail("_drop_idx_after_grouping is not one a column")
	}
	for j := range drop {
		if !o.ok() {
			return drop
		}
		switch v := items.at(j).(type) {
		case nil:
		case int64:
			if v < 0 || v > maxColumns {
				o.fail("_drop_idx_after_grouping is out of range")
			}
			drop[j] = int(v)
		default:
			o.fail("_drop_idx_after_grouping is not known")
		}
	}
	return drop
}

// numberType reads the dtype of an encoder's output: any that holds its codes
// exactly.
func (o *object) numberType() dtype {
	n := o.node("dtype")
	name := n.Name()
	if n.Kind == skops.DType && n.Args != nil && o.ok() {
		a, err := o.file.Array(n.Args)
		if err != nil {
			o.wrap("dtype", err)
			return float64s
		}
		name = a.DType
	}
	switch name {
	case "numpy.float64", "<f8", "builtins.float":
		return float64s
	case "numpy.float32", "<f4":
		return float32s
	case "numpy.int64", "<i8", "numpy.int32", "<i4", "builtins.int":
		return ints
	}
	o.fail("dtype %q is not known", name)
	return float64s
}

func (t *oneHot) transform(s *scratch, f *frame) (frame, error) {
	if err := t.check.run(f); err != nil {
		return frame{}, err
	}
	out := frame{rows: f.rows, first: f.first, cols: s.cols.take(t.width)}
	block := s.floats.take(t.width * f.rows)
	clear(block)
	for j := range out.cols {
		out.cols[j] = column{dtype: t.dtype, floats: block[j*f.rows : (j+1)*f.rows]}
	}
	at := 0
	for j := range t.columns {
		codes, err := t.codes(s, f, j)
		if err != nil {
			return frame{}, err
		}
		t.group(j, codes)
		t.mark(j, codes, out.cols[at:at+t.widths[j]])
		at += t.widths[j]
	}
	return out, nil
}

func (t *oneHot) mark(j int, codes []int, out []column) {
	drop := t.drop[j]
	for i, code := range codes {
		if code < 0 || code == drop {
			continue
		}
		if drop >= 0 && code > drop {
			code--
		}
		out[code].floats[i] = 1
	}
}
