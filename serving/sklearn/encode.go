package sklearn

import (
	"slices"

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
