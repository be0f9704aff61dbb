package sklearn

import (
	"math"
	"slices"
	"strconv"

	"github.com/slipway-dev/slipway/serving/sklearn/skops"
)

// categories are the known values of one column.
type categories struct {
	text    bool // the categories are text, with or without missing ones
	texts   map[string]int
	numbers map[float64]int
	ints    map[int64]int // nil: not all are integers
	nan     int           // the code of NaN; -1: there is none
	none    int           // the code of None; -1: there is none
	count   int
}

// encoder is what one-hot and ordinal encoders share: per column the known
// categories and which code each gets after infrequent ones are grouped.
type encoder struct {
	check   checks
	columns []categories
	unknown string  // handle_unknown
	regroup [][]int // by column: code → code after grouping; nil: none
	other   []int   // by column: the group of infrequent categories; -1: none
}

// codes returns the category of each value of the column; -1 is unknown.
func (e *encoder) codes(s *scratch, f *frame, j int) ([]int, error) {
	col, known := &f.cols[j], &e.columns[j]
	codes := s.ints.take(f.rows)
	if col.dtype == texts {
		if col.missing != nil && known.nan >= 0 && known.none >= 0 {
			return nil, refuse("%s has missing values, and the model tells None from NaN", f.columnName(j))
		}
		known.ofTexts(col, codes)
	} else {
		if err := f.finite(j, true); err != nil {
			return nil, err
		}
		if known.text {
			return nil, refuse("%s holds numbers where the model takes text", f.columnName(j))
		}
		known.ofNumbers(col, codes)
	}
	for i, code := range codes {
		if code < 0 && e.unknown == "error" {
			return nil, refuse("row %d: %s is %s, a category the model does not know", f.first+i, f.columnName(j), col.show(i))
		}
	}
	return codes, nil
}

func (c *column) show(i int) string {
	switch {
	case c.dtype != texts:
		return formatFloat(c.floats[i])
	case c.missing != nil && c.missing[i]:
		return "missing"
	case len(c.texts[i]) > 80:
		return quote(c.texts[i][:80]) + "…"
	}
	return quote(c.texts[i])
}

// missingText is the code of a missing text. MLflow hands on None or NaN by the
// version of pandas and by what the other rows hold, so it is taken for the one
// that the model knows.
func (k *categories) missingText() int { return max(k.nan, k.none) }

func (k *categories) ofTexts(col *column, codes []int) {
	for i, text := range col.texts {
		code, ok := k.texts[text]
		switch {
		case col.missing != nil && col.missing[i]:
			code = k.missingText()
		case !ok:
			code = -1
		}
		codes[i] = code
	}
}

func (k *categories) ofNumbers(col *column, codes []int) {
	for i, v := range col.floats {
		var code int
		ok := true
		switch {
		case v != v:
			code = k.nan
		case k.ints != nil && col.ints != nil:
			code, ok = k.ints[col.ints[i]]
		default:
			code, ok = k.numbers[v]
		}
		if !ok {
			code = -1
		}
		codes[i] = code
	}
}

// group maps codes of unknown and infrequent categories as fit grouped them.
func (e *encoder) group(j int, codes []int) {
	regroup := e.regroup[j]
	if regroup == nil {
		return
	}
	for i, code := range codes {
		switch {
		case code < 0 && (e.unknown == "infrequent_if_exist" || e.unknown == "warn"):
			codes[i] = e.other[j]
		case code >= 0:
			codes[i] = regroup[code]
		}
	}
}

func (o *object) encoder(in input) (*encoder, output) {
	o.ignore("what fit was given; categories_ holds what came of it", "categories")
	o.ignore("read at fit; the groups are stored", "min_frequency", "max_categories")
	e := &encoder{}
	frame := o.outputConfig()
	e.check = o.inputs(in)
	stored := o.list("categories_")
	if o.ok() && len(stored) != e.check.width {
		o.fail("categories_ has %d columns instead of %d", len(stored), e.check.width)
	}
	for _, n := range stored {
		if a := o.arrayOf("categories_", n); o.ok() {
			e.columns = append(e.columns, o.categories(a))
		}
	}
	o.groups(e)
	return e, output{width: e.check.width, frame: frame}
}

// categories indexes the values of one column, which must differ. None and NaN
// stand last, None before NaN, as scikit-learn sorts them.
func (o *object) categories(a *array) categories {
	k := categories{nan: -1, none: -1, count: a.size, texts: map[string]int{}, numbers: map[float64]int{}}
	k.text = a.kind == kindText
	if a.kind == kindInt {
		k.ints = map[int64]int{}
	}
	for i := range a.size {
		switch v := a.at(i).(type) {
		case string:
			k.text = true
			k.texts[v] = i
		case nil:
			k.none = i
		default:
			if number := asFloat(v); number == number {
				k.numbers[number] = i
				if n, ok := v.(int64); ok && k.ints != nil {
					k.ints[n] = i
				}
			} else {
				k.nan = i
			}
		}
	}
	if len(a.shape) != 1 || a.size == 0 {
		o.fail("categories_ is not known")
	}
	if known := len(k.texts) + max(len(k.numbers), len(k.ints)); known < a.size-2 || k.text && len(k.numbers) > 0 {
		o.fail("categories_ has a value twice, or text beside numbers")
	}
	return k
}

// groups reads which infrequent categories share a code.
func (o *object) groups(e *encoder) {
	n := len(e.columns)
	e.regroup, e.other = make([][]int, n), make([]int, n)
	if !o.flag("_infrequent_enabled") || !o.ok() {
		return
	}
	indices, mappings := o.list("_infrequent_indices"), o.list("_default_to_infrequent_mappings")
	if o.ok() && (len(indices) != n || len(mappings) != n) {
		o.fail("its infrequent categories are not one list a column")
	}
	for j := range n {
		if !o.ok() || isNone(indices[j]) != isNone(mappings[j]) {
			o.fail("its infrequent categories are not known")
			return
		}
		if !isNone(mappings[j]) {
			o.groupColumn(e, j, indices[j], mappings[j])
		}
	}
}

func (o *object) groupColumn(e *encoder, j int, indices, mapping *skops.Node) {
	infrequent, group := o.arrayOf("_infrequent_indices", indices), o.arrayOf("_default_to_infrequent_mappings", mapping)
	if o.ok() && (infrequent.kind != kindInt || group.kind != kindInt || infrequent.size == 0) {
		o.fail("its infrequent categories are not known")
	}
	if !o.ok() {
		return
	}
	for code := range e.columns[j].count {
		switch {
		case code < group.size && group.ints[code] >= 0 && group.ints[code] < int64(group.size):
			e.regroup[j] = append(e.regroup[j], int(group.ints[code]))
		case code == group.size && code == e.columns[j].nan: // an ordinal encoder's missing value is in no group
			e.regroup[j] = append(e.regroup[j], code)
		default:
			o.fail("its infrequent categories are not known")
			return
		}
	}
	last := slices.Max(group.ints)
	var grouped []int64
	for code, to := range group.ints {
		if to == last {
			grouped = append(grouped, int64(code))
		}
	}
	if !slices.Equal(grouped, infrequent.ints) {
		o.fail("_infrequent_indices and _default_to_infrequent_mappings differ")
	}
	e.other[j] = int(last)
}

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
