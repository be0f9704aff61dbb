package serving

import (
	"math"
	"slices"
)

// columnBuffer collects the values of one column. Its slices are used again by
// later requests.
type columnBuffer struct {
	Column
	n       int // values so far
	missing []bool
	literal []bool
}

func (b *columnBuffer) reset(name string, kind Kind) {
	b.Column = Column{Name: name, Kind: kind, Floats: b.Floats[:0], Ints: b.Ints[:0], Bools: b.Bools[:0], Strings: b.Strings[:0], Values: b.Values[:0]}
	b.n, b.missing, b.literal = 0, b.missing[:0], b.literal[:0]
}

func (b *columnBuffer) float(f float64) { b.Floats = append(b.Floats, f); b.n++ }
func (b *columnBuffer) int(i int64)     { b.Ints = append(b.Ints, i); b.n++ }
func (b *columnBuffer) bool(v bool)     { b.Bools = append(b.Bools, v); b.n++ }
func (b *columnBuffer) string(s string) { b.Strings = append(b.Strings, s); b.n++ }
func (b *columnBuffer) value(v any)     { b.Values = append(b.Values, v); b.n++ }

// miss adds a missing value: a marked zero, NaN for floats.
func (b *columnBuffer) miss() {
	for len(b.missing) < b.n {
		b.missing = append(b.missing, false)
	}
	b.missing = append(b.missing, true)
	switch b.Kind {
	case Float, Float32:
		b.float(math.NaN())
	case Int, Time:
		b.int(0)
	case Bool:
		b.bool(false)
	case String, Bytes:
		b.string("")
	case Any:
		b.value(nil)
	}
}

// token adds the text of a number or truth value.
func (b *columnBuffer) token(s string) {
	for len(b.literal) < b.n {
		b.literal = append(b.literal, false)
	}
	b.literal = append(b.literal, true)
	b.string(s)
}

// grow makes room for n more values.
func (b *columnBuffer) grow(n int) {
	switch b.Kind {
	case Float, Float32:
		b.Floats = slices.Grow(b.Floats, n)
	case Int, Time:
		b.Ints = slices.Grow(b.Ints, n)
	case Bool:
		b.Bools = slices.Grow(b.Bools, n)
	case String, Bytes:
		b.Strings = slices.Grow(b.Strings, n)
	case Any:
		b.Values = slices.Grow(b.Values, n)
	}
}

// drop takes the last value back.
func (b *columnBuffer) drop() {
	b.n--
	b.literal = b.literal[:min(len(b.literal), b.n)]
	b.missing = b.missing[:min(len(b.missing), b.n)]
	switch b.Kind {
	case Float, Float32:
		b.Floats = b.Floats[:b.n]
	case Int, Time:
		b.Ints = b.Ints[:b.n]
	case Bool:
		b.Bools = b.Bools[:b.n]
	case String, Bytes:
		b.Strings = b.Strings[:b.n]
	case Any:
		b.Values = b.Values[:b.n]
	}
}

// column returns the finished column.
func (b *columnBuffer) column() Column {
	c := b.Column
	if len(b.missing) > 0 {
		for len(b.missing) < b.n {
			b.missing = append(b.missing, false)
		}
		c.Missing = b.missing
	}
	if len(b.literal) > 0 {
		for len(b.literal) < b.n {
			b.literal = append(b.literal, false)
		}
		c.Literal = b.literal
	}
	return c
}

// release forgets what a finished request left, and what a big one grew.
func (b *columnBuffer) release() {
	clear(b.Strings[:cap(b.Strings)])
	clear(b.Values[:cap(b.Values)])
	const keep = 4096
	if cap(b.Floats) > keep || cap(b.Ints) > keep || cap(b.Bools) > keep || cap(b.Strings) > keep || cap(b.Values) > keep || cap(b.missing) > keep {
		*b = columnBuffer{}
	}
}

// tensorBuffer collects the values of one tensor.
type tensorBuffer struct {
	Tensor
	fixed bool // a first row was read: Shape is known
}

func (t *tensorBuffer) reset(name, dtype string) {
	t.Tensor = Tensor{Name: name, DType: dtype, Shape: t.Shape[:0], Floats: t.Floats[:0], Ints: t.Ints[:0], Strings: t.Strings[:0]}
	t.fixed = false
}

func (t *tensorBuffer) release() {
	clear(t.Strings[:cap(t.Strings)])
	const keep = 1 << 16
	if cap(t.Floats) > keep || cap(t.Ints) > keep || cap(t.Strings) > keep {
		*t = tensorBuffer{}
	}
}

// values is how many values the tensor holds so far.
func (t *tensorBuffer) values() int { return len(t.Floats) + len(t.Ints) + len(t.Strings) }

func (t *tensorBuffer) tensor() Tensor {
	c := t.Tensor
	c.Shape = slices.Clone(t.Shape)
	return c
}
