package mlmodel

import (
	"encoding/json"
	"math"
	"slices"
)

// CompareRows is Compare for the answer to many rows that have nothing to do
// with each other. One row of huge numbers says nothing of what is left of
// terms that cancel out in another: the bound below which differences are none
// is taken from the greatest number of the same row, or from typical, whichever
// is greater. typical is Typical of an answer to ordinary rows; 0: unknown.
//
// largest is the greatest relative difference of two numbers that count as
// equal, at most the tolerance; where that bound is greater than both, it is
// relative to it.
func CompareRows(want, got json.RawMessage, g Golden, typical float64) (largest float64, d *Difference) {
	w, errWant := decodeAnswer(want)
	v, errGot := decodeAnswer(got)
	if errWant != nil || errGot != nil {
		return 0, &Difference{Want: brief(want), Got: brief(got)}
	}
	c := comparison{tolerance: g.Tolerance, loose: g.Nondeterministic, largest: &largest}
	if c.tolerance == 0 {
		c.tolerance = ToleranceFloat64
	}
	c.share = cancelled(c.tolerance)
	c.floor = c.tolerance * c.share * typical
	d = c.values("", w, v)
	return largest, d
}

// Typical returns the median magnitude of the finite numbers in an answer; 0:
// it has none.
func Typical(answer json.RawMessage) float64 {
	v, err := decodeAnswer(answer)
	if err != nil {
		return 0
	}
	return median(magnitudes(v, nil))
}

// cancelled is the share of the tolerance below which a difference is none:
// thousands of float64's steps of the number it is taken from, or eight of
// float32's.
func cancelled(tolerance float64) float64 {
	if tolerance >= ToleranceFloat32 {
		return 0.1
	}
	return 1e-3
}

// row returns the comparison of one row: a list that holds no lists.
func (c comparison) row(list []any) comparison {
	if c.share == 0 {
		return c
	}
	for _, item := range list {
		if _, ok := item.([]any); ok {
			return c
		}
	}
	c.floor = max(c.floor, c.tolerance*c.share*greatest(list))
	return c
}

// note remembers how far two numbers that count as equal are apart.
func (c comparison) note(want, got float64) {
	if c.largest == nil || want == got {
		return
	}
	scale := max(math.Abs(want), math.Abs(got), c.floor/c.tolerance)
	*c.largest = max(*c.largest, math.Abs(want-got)/scale)
}

// magnitudes appends those of the finite numbers in an answer.
func magnitudes(v any, into []float64) []float64 {
	switch v := v.(type) {
	case []any:
		for _, item := range v {
			into = magnitudes(item, into)
		}
	case map[string]any:
		for _, item := range v {
			into = magnitudes(item, into)
		}
	default:
		if n, ok := asNumber(v); ok && !math.IsNaN(n.value) && !math.IsInf(n.value, 0) {
			into = append(into, math.Abs(n.value))
		}
	}
	return into
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
