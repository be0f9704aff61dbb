package serving

import (
	"fmt"
	"math"
	"strings"

	"github.com/slipway-dev/slipway/mlmodel"
)

// tensorRows reads the rows of a model that takes tensors: an array, a mapping
// of arrays, or a list of mappings, each with one row of every tensor.
func (d *decoder) tensorRows() {
	switch c := d.next(); {
	case d.format == split:
		d.tensorSplit()
	case c == '[' && d.element() == '{':
		d.tensorRecords()
	case c == '{':
		d.tensorColumns()
	case len(d.codec.tensors) == 1:
		d.whole(0)
	default:
		d.skip()
		d.missingTensors()
	}
}

// whole reads an entire tensor.
func (d *decoder) whole(i int) {
	if t := &d.tensors[i]; t.values() > 0 || t.fixed {
		d.fail(unfit("The input %s is given twice.", quoted(t.Name)))
		return
	}
	d.next()
	d.at = d.pos
	d.array(&d.tensors[i], 0)
}

// row1 reads one row of a tensor: the first dimension is counted by rows.
func (d *decoder) tensorRow(i int) {
	t := &d.tensors[i]
	if len(t.Shape) == 0 {
		t.Shape = append(t.Shape, 0)
	}
	d.next()
	d.at = d.pos
	d.array(t, 1)
	t.Shape[0]++
}

func (d *decoder) tensorRecords() {
	d.open('[', "an array")
	for n := 0; d.more(']', n); n++ {
		d.open('{', "a record")
		for k := 0; d.more('}', k); k++ {
			i, known := d.codec.index[string(d.key())]
			if !known || !d.codec.named {
				d.skip()
				continue
			}
			d.tensorRow(i)
		}
		d.row++
	}
}

func (d *decoder) tensorColumns() {
	d.open('{', "an object")
	for n := 0; d.more('}', n); n++ {
		i, known := d.codec.index[string(d.key())]
		if !known || !d.codec.named {
			d.skip()
			continue
		}
		d.whole(i)
	}
}

// tensorSplit reads dataframe_split: for an unnamed tensor the data as it is,
// else one column a tensor.
func (d *decoder) tensorSplit() {
	if d.next() != '{' {
		d.notA("Dataframe split format must be a dictionary.")
		return
	}
	data := -1
	d.open('{', "an object")
	for n := 0; d.more('}', n); n++ {
		switch string(d.key()) {
		case "columns":
			d.header()
		case "data":
			data = d.pos
			d.skip()
		default:
			d.skip()
		}
	}
	if data < 0 || d.err != nil {
		d.fail(malformed("Invalid input. Dataframe split format must have 'data' field and optionally 'columns' and 'index' fields."))
		return
	}
	after := d.pos
	d.pos = data
	if d.codec.named {
		d.tensorData()
	} else {
		d.whole(0)
	}
	d.pos = max(d.pos, after)
}

func (d *decoder) tensorData() {
	d.open('[', "an array of rows")
	for n := 0; d.more(']', n); n++ {
		d.open('[', "an array of values")
		for k := 0; d.more(']', k); k++ {
			if k >= len(d.order) || d.order[k] < 0 {
				d.skip()
				continue
			}
			d.tensorRow(d.order[k])
		}
	}
}

// array reads what lies at the given depth of a tensor and checks that it is
// as long as its neighbours.
func (d *decoder) array(t *tensorBuffer, depth int) {
	if d.next() != '[' {
		d.leaf(t, depth)
		return
	}
	if t.fixed && depth >= len(t.Shape) {
		d.ragged(t)
		return
	}
	first := depth >= len(t.Shape)
	if first {
		t.Shape = append(t.Shape, -1)
	}
	d.open('[', "an array")
	n := 0
	for ; d.more(']', n); n++ {
		d.array(t, depth+1)
	}
	if n == 0 {
		t.fixed = true
	}
	switch {
	case d.err != nil:
	case first:
		t.Shape[depth] = n
	case t.Shape[depth] != n:
		d.ragged(t)
	}
}

func (d *decoder) ragged(t *tensorBuffer) {
	d.fail(unfit("The input %sis ragged: its rows are not equally long.", named(t.Name)))
}

func named(name string) string {
	if name == "" {
		return ""
	}
	return quoted(name) + " "
}

// leaf reads one value.
func (d *decoder) leaf(t *tensorBuffer, depth int) {
	if t.fixed && depth != len(t.Shape) {
		d.ragged(t)
		return
	}
	t.fixed = true
	d.next()
	d.at = d.pos
	switch dtype := t.DType; {
	case strings.HasPrefix(dtype, "float"):
		d.leafFloat(t)
	case dtype == "bool":
		d.leafBool(t)
	case strings.HasPrefix(dtype, "int"), strings.HasPrefix(dtype, "uint"):
		d.leafInt(t)
	case d.next() == '"':
		t.Strings = append(t.Strings, d.text())
	default:
		d.wrongValue(t)
	}
}

func (d *decoder) leafFloat(t *tensorBuffer) {
	v, state := d.float()
	if state == isNull {
		v = math.NaN()
	}
	narrow := t.DType != "float64"
	small := float64(float32(v))
	if state == isOther || !d.codec.lenient && (state == isHuge || narrow && math.IsInf(small, 0) && !math.IsInf(v, 0)) {
		d.wrongValue(t)
		return
	}
	if narrow {
		v = small
	}
	t.Floats = append(t.Floats, v)
}

func (d *decoder) leafBool(t *tensorBuffer) {
	switch {
	case d.literal("true"):
		t.Ints = append(t.Ints, 1)
	case d.literal("false"):
		t.Ints = append(t.Ints, 0)
	default:
		d.wrongValue(t)
	}
}

// intRanges are the bounds of numpy's integers. uint64 is held as int64: what
// lies above is refused.
var intRanges = map[string][2]int64{
	"int8": {math.MinInt8, math.MaxInt8}, "int16": {math.MinInt16, math.MaxInt16},
	"int32": {math.MinInt32, math.MaxInt32}, "int64": {math.MinInt64, math.MaxInt64},
	"uint8": {0, math.MaxUint8}, "uint16": {0, math.MaxUint16}, "uint32": {0, math.MaxUint32}, "uint64": {0, math.MaxInt64},
}

func (d *decoder) leafInt(t *tensorBuffer) {
	bounds, known := intRanges[t.DType]
	if c := d.next(); !known || c-'0' > 9 && c != '-' {
		d.wrongValue(t)
		return
	}
	token, whole := d.number()
	if token == nil {
		return
	}
	v, ok := parseInt(token, whole, 64)
	if !ok && d.codec.lenient {
		v, ok = truncated(token)
	}
	if !ok || v < bounds[0] || v > bounds[1] {
		d.wrongValue(t)
		return
	}
	t.Ints = append(t.Ints, v)
}

func (d *decoder) wrongValue(t *tensorBuffer) {
	if d.err != nil {
		return
	}
	if value := d.snippet(); d.err == nil {
		d.fail(unfit("The input %sholds %s, which is not %s.", named(t.Name), value, article(t.DType)))
	}
}

func (d *decoder) missingTensors() {
	if d.err != nil {
		return
	}
	var names []string
	for _, t := range d.codec.tensors {
		names = append(names, t.Name)
	}
	d.fail(unfit("Model is missing inputs %s.", short(pythonList(names), 300)))
}

// finishTensors checks every tensor against its declaration.
func (d *decoder) finishTensors() {
	for i, declared := range d.codec.tensors {
		t := &d.tensors[i]
		if d.err != nil {
			return
		}
		if !t.fixed {
			d.missingTensors()
			return
		}
		if !fits(t.Shape, declared) {
			d.fail(unfit("Shape of input %s%s does not match expected shape %s.", named(t.Name), pythonShape(t.Shape), pythonShape(declared.Shape)))
			return
		}
		rows := 1
		if len(t.Shape) > 0 {
			rows = t.Shape[0]
		}
		d.batch.Rows = rows
		d.batch.Tensors = append(d.batch.Tensors, t.tensor())
	}
}

func fits(shape []int, declared mlmodel.Tensor) bool {
	if len(shape) != len(declared.Shape) {
		return false
	}
	for i, n := range declared.Shape {
		if n >= 0 && shape[i] != n {
			return false
		}
	}
	return true
}

// pythonShape writes a shape as Python does: (1, 2), (-1,).
func pythonShape(shape []int) string {
	if len(shape) == 1 {
		return fmt.Sprintf("(%d,)", shape[0])
	}
	return "(" + strings.Trim(strings.ReplaceAll(fmt.Sprint(shape), " ", ", "), "[]") + ")"
}
