package sklearn

import (
	"math"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/serving"
)

// A frame is what a step of a pipeline sees: the rows of one chunk of a
// request, column by column.
type frame struct {
	rows  int
	first int // number of the first row in the request, for messages
	cols  []column
	names []string // of a request's named columns; nil for an array and after the first step
	array bool     // the request is an array, not columns
}

// dtype is the type pandas or numpy would give a column. It decides what is
// rounded to float32 and how a category compares.
type dtype uint8

const (
	float64s dtype = iota
	float32s
	ints
	bools
	texts
)

// column holds the values of one column. Numbers and booleans are in floats,
// integers also in ints; a missing number is NaN.
type column struct {
	dtype   dtype
	floats  []float64
	ints    []int64
	texts   []string
	missing []bool // of texts; nil: none is
}

// slice returns the rows [from, to) of the column.
func (c *column) slice(from, to int) column {
	part := column{dtype: c.dtype}
	if c.floats != nil {
		part.floats = c.floats[from:to]
	}
	if c.ints != nil {
		part.ints = c.ints[from:to]
	}
	if c.texts != nil {
		part.texts = c.texts[from:to]
	}
	if c.missing != nil {
		part.missing = c.missing[from:to]
	}
	return part
}

// A matrix is a dense array in row-major order.
type matrix struct {
	rows, cols int
	data       []float64
	single     bool // the values are float32
}

func (m matrix) row(i int) []float64 { return m.data[i*m.cols : (i+1)*m.cols] }

// arena hands out slices that live until reset. What it hands out is not zeroed.
type arena[T any] struct {
	chunk []T
	used  int
}

// arenaKeep bounds what an arena keeps for the next request, in elements.
const arenaKeep = 1 << 18

func (a *arena[T]) take(n int) []T {
	if n > len(a.chunk)-a.used {
		a.chunk = make([]T, max(n, 2*len(a.chunk), 256))
		a.used = 0
	}
	a.used += n
	return a.chunk[a.used-n : a.used : a.used]
}

func (a *arena[T]) reset() {
	a.used = 0
	if len(a.chunk) > arenaKeep {
		a.chunk = nil
	}
}

// scratch is the working memory of one request, pooled.
type scratch struct {
	batch  frame // of the whole request
	floats arena[float64]
	ints   arena[int]
	cols   arena[column]
	flags  arena[bool]
}

func (s *scratch) reset() {
	s.batch = frame{cols: s.batch.cols[:0], names: s.batch.names[:0]}
	s.floats.reset()
	s.ints.reset()
	s.cols.reset()
	s.flags.reset()
}

// release lets the next chunk of a request use the memory of the last.
func (s *scratch) release() {
	s.floats.used, s.ints.used, s.cols.used, s.flags.used = 0, 0, 0, 0
}

const predicting = "predicting"

func refuse(format string, args ...any) error {
	return slipway.Errorf(slipway.Invalid, predicting, format, args...)
}

// read brings a batch into the scratch's frame.
func (s *scratch) read(b *serving.Batch) error {
	f := &s.batch
	*f = frame{rows: b.Rows, cols: f.cols[:0], names: f.names[:0]}
	if len(b.Tensors) > 0 {
		f.array = true
		return s.readTensor(b)
	}
	for i := range b.Columns {
		c, err := readColumn(&b.Columns[i], b.Rows)
		if err != nil {
			return err
		}
		f.cols = append(f.cols, c)
		if b.Columns[i].Name != "" {
			f.names = append(f.names, b.Columns[i].Name)
		}
	}
	if len(f.names) != len(f.cols) {
		f.names = f.names[:0]
	}
	return nil
}

func readColumn(c *serving.Column, rows int) (column, error) {
	switch c.Kind {
	case serving.Float, serving.Float32:
		out := column{dtype: float64s, floats: c.Floats}
		if c.Kind == serving.Float32 || c.Type == mlmodel.TypeFloat {
			out.dtype = float32s
		}
		return out, nil
	case serving.Int:
		out := column{dtype: ints, ints: c.Ints, floats: make([]float64, rows)}
		for i, v := range c.Ints {
			out.floats[i] = float64(v)
			if c.Missing != nil && c.Missing[i] {
				return column{}, refuse("row %d, column %q: a whole number is missing", i, c.Name)
			}
		}
		return out, nil
	case serving.Bool:
		out := column{dtype: bools, floats: make([]float64, rows)}
		for i, v := range c.Bools {
			if v {
				out.floats[i] = 1
			}
			if c.Missing != nil && c.Missing[i] {
				return column{}, refuse("row %d, column %q: a boolean is missing", i, c.Name)
			}
		}
		return out, nil
	case serving.String:
		return column{dtype: texts, texts: c.Strings, missing: c.Missing}, nil
	}
	return column{}, refuse("column %q holds no numbers, booleans or text", c.Name)
}

// tensorTypes are numpy's types that scikit-learn computes with here. Others
// would be computed at their own, lower precision.
var tensorTypes = map[string]dtype{
	"float64": float64s, "float32": float32s,
	"int64": ints, "int32": ints, "int16": ints, "int8": ints, "uint8": ints, "uint16": ints, "uint32": ints, "uint64": ints,
	"bool": bools, "str": texts, "object": texts,
}

func (s *scratch) readTensor(b *serving.Batch) error {
	t := &b.Tensors[0]
	if len(b.Tensors) > 1 || t.Name != "" {
		return refuse("a scikit-learn model takes one array, without a name")
	}
	kind, ok := tensorTypes[t.DType]
	if !ok || len(t.Shape) != 2 || t.Shape[0] != b.Rows {
		return refuse("a scikit-learn model takes an array of two dimensions, of float64, float32, integers, bool or text")
	}
	for j := range t.Shape[1] {
		s.batch.cols = append(s.batch.cols, tensorColumn(t, kind, j))
	}
	return nil
}

func tensorColumn(t *serving.Tensor, kind dtype, j int) column {
	rows, width := t.Shape[0], t.Shape[1]
	c := column{dtype: kind}
	if kind == texts {
		c.texts = make([]string, rows)
		for i := range c.texts {
			c.texts[i] = t.Strings[i*width+j]
			if t.DType == "str" { // numpy fills its texts up with these
				c.texts[i] = strings.TrimRight(c.texts[i], "\x00")
			}
		}
		return c
	}
	c.floats = make([]float64, rows)
	if kind == ints {
		c.ints = make([]int64, rows)
	}
	for i := range rows {
		switch {
		case t.Floats != nil:
			c.floats[i] = t.Floats[i*width+j]
		default:
			c.floats[i] = float64(t.Ints[i*width+j])
		}
		if kind == ints {
			c.ints[i] = t.Ints[i*width+j]
		}
	}
	return c
}

// chunk returns the rows [from, to) of the request.
func (s *scratch) chunk(from, to int) frame {
	f := &s.batch
	if from == 0 && to == f.rows {
		return *f
	}
	part := frame{rows: to - from, first: from, names: f.names, array: f.array, cols: s.cols.take(len(f.cols))}
	for i := range f.cols {
		part.cols[i] = f.cols[i].slice(from, to)
	}
	return part
}

// number returns the column's values as numbers, or refuses text.
func (f *frame) number(j int) ([]float64, error) {
	if f.cols[j].dtype == texts {
		return nil, refuse("%s holds text where the model takes numbers", f.columnName(j))
	}
	return f.cols[j].floats, nil
}

// finite refuses infinite values, and NaN too unless nan is true, as
// scikit-learn's check_array does.
func (f *frame) finite(j int, nan bool) error {
	for i, v := range f.cols[j].floats {
		switch {
		case v-v == 0:
		case math.IsNaN(v) && nan:
		case math.IsNaN(v):
			return refuse("row %d: %s is missing or NaN, which the model does not take", f.first+i, f.columnName(j))
		default:
			return refuse("row %d: %s is infinite, or too large for the model", f.first+i, f.columnName(j))
		}
	}
	return nil
}

func (f *frame) columnName(j int) string {
	if j < len(f.names) {
		return "column " + quote(f.names[j])
	}
	return "column " + itoa(j)
}

// all reports whether every column is of the type, so that numpy would hold the
// frame as it.
func (f *frame) all(d dtype) bool {
	for i := range f.cols {
		if f.cols[i].dtype != d {
			return false
		}
	}
	return len(f.cols) > 0
}

// matrix returns the frame as rows of numbers, and refuses text and what is not
// as finite as asked.
func (s *scratch) matrix(f *frame, taken finiteness) (matrix, error) {
	m := matrix{rows: f.rows, cols: len(f.cols), single: f.all(float32s), data: s.floats.take(f.rows * len(f.cols))}
	for j := range f.cols {
		values, err := f.number(j)
		if err != nil {
			return m, err
		}
		if taken != anything {
			if err := f.finite(j, taken == nanToo); err != nil {
				return m, err
			}
		}
		for i, v := range values {
			m.data[i*m.cols+j] = v
		}
	}
	return m, nil
}
