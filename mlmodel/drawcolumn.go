package mlmodel

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
)

// drawColumn is what values of one column are drawn from.
type drawColumn struct {
	typ      Type
	own      [][]byte  // the example's, as they are written; made up where there are none
	numbers  []float64 // of own, finite
	whole    bool      // numbers has none with a fraction
	nullable bool      // a missing value may be drawn
	edge     [][]byte  // see edges
	gentle   [][]byte  // see mild
}

func newDrawColumn(c Column, values []json.RawMessage) drawColumn {
	d := drawColumn{typ: c.Type, whole: true}
	missing := slices.ContainsFunc(values, isMissing)
	d.nullable = d.floating() || (missing || !c.Required) && !d.integral()
	for _, v := range values {
		if d.nullable || !isMissing(v) {
			d.own = append(d.own, v)
		}
	}
	for k := 0; len(d.own) == 0 || len(d.own) < madeOwn && len(values) == 0; k++ {
		v := d.made(k)
		if v == nil {
			break
		}
		d.own = append(d.own, v)
	}
	d.readNumbers()
	return d
}

func isMissing(v json.RawMessage) bool { return first(v) == 'n' }

// madeOwn is how many values stand for an example where there is none.
const madeOwn = 9

func (d *drawColumn) made(k int) []byte {
	if d.floating() {
		numbers := [madeOwn]float64{0.5, -1.5, 2, 3.75, 0, 10, -20, 150, 1000}
		return d.float(numbers[k%madeOwn])
	}
	return madeValue(d.typ, k)
}

func (d *drawColumn) readNumbers() {
	if !d.floating() && !d.integral() {
		return
	}
	for _, v := range d.own {
		f, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			continue
		}
		d.numbers = append(d.numbers, f)
		d.whole = d.whole && f == math.Trunc(f)
	}
	slices.Sort(d.numbers)
}

func (d *drawColumn) floating() bool {
	return d.typ.Kind == TypeDouble || d.typ.Kind == TypeFloat
}

func (d *drawColumn) integral() bool {
	return d.typ.Kind == TypeLong || d.typ.Kind == TypeInteger
}

// calm returns a value of the example or, for numbers, one around them.
func (d *drawColumn) calm(r *rand.Rand, bold boldness) []byte {
	switch {
	case d.typ.Kind == TypeBoolean && r.IntN(2) == 0:
		return []byte(strconv.FormatBool(r.IntN(2) == 0))
	case len(d.own) == 0:
		return []byte("null")
	case len(d.numbers) == 0, bold == mixed, bold == near && d.whole, r.IntN(4) == 0:
		return d.own[r.IntN(len(d.own))]
	case d.integral():
		return d.int(d.around(r))
	}
	return d.float(d.around(r))
}

// around returns a number around the example's. Every operation is rounded by
// itself, so that all machines draw the same.
func (d *drawColumn) around(r *rand.Rand) float64 {
	v := d.numbers[r.IntN(len(d.numbers))]
	low, high := d.numbers[0], d.numbers[len(d.numbers)-1]
	span := high - low
	if span == 0 || math.IsInf(span, 0) {
		span = max(math.Abs(v), 1)
	}
	u := r.Float64()
	switch r.IntN(8) {
	case 0, 1, 2: // anywhere near the range
		return low - span/2 + float64(2*span*u)
	case 3: // close by
		return float64(v * (0.9 + float64(u*0.2)))
	case 4: // in another order of magnitude
		return float64(v * scales[r.IntN(len(scales))] * (0.5 + u))
	case 5: // whole
		return math.Round(v) + float64(r.IntN(7)-3)
	case 6: // a half, as thresholds between whole numbers are
		return math.Floor(v) + float64(r.IntN(7)-3) + 0.5
	}
	return besideFloat32(low-span/2+float64(2*span*u), r.IntN(5))
}

var scales = []float64{-10, -1, -0.1, 0.001, 0.01, 0.1, 1, 10, 100, 1000}

// besideFloat32 returns one of the numbers beside a float32 near v that engines
// confuse: itself, its neighbours in float64, and what is halfway to the next
// float32 or a little more, which is rounded elsewhere.
func besideFloat32(v float64, which int) float64 {
	single := float32(v)
	exact := float64(single)
	next := float64(math.Nextafter32(single, math.MaxFloat32))
	half := exact + (next-exact)/2
	switch which {
	case 0:
		return exact
	case 1:
		return math.Nextafter(exact, math.Inf(1))
	case 2:
		return math.Nextafter(exact, math.Inf(-1))
	case 3:
		return half
	}
	return math.Nextafter(half, math.Inf(1))
}

// float writes a number as the column's type holds it, always with a point or
// an exponent: without a signature that is what tells it from a whole number.
func (d *drawColumn) float(f float64) []byte {
	if d.typ.Kind == TypeFloat {
		f = float64(float32(f))
	}
	if math.IsNaN(f) {
		return []byte("null")
	}
	text := strconv.FormatFloat(f, 'g', -1, 64)
	switch {
	case math.IsInf(f, 1):
		return []byte("Infinity")
	case math.IsInf(f, -1):
		return []byte("-Infinity")
	case f == math.Trunc(f) && math.Abs(f) < 1e15:
		text = strconv.FormatFloat(f, 'f', 1, 64)
	}
	return []byte(text)
}

// int writes a number as a whole one within the column's type.
func (d *drawColumn) int(f float64) []byte {
	low, high := d.intRange()
	switch {
	case f <= float64(low):
		return strconv.AppendInt(nil, low, 10)
	case f >= float64(high):
		return strconv.AppendInt(nil, high, 10)
	}
	return strconv.AppendInt(nil, int64(f), 10)
}

func (d *drawColumn) intRange() (low, high int64) {
	if d.typ.Kind == TypeInteger {
		return math.MinInt32, math.MaxInt32
	}
	return math.MinInt64, math.MaxInt64
}
