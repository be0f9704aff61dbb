package mlmodel

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// mildest bounds what is no extreme number.
const mildest = 1e9

// edges returns the values at the column's edges, once computed.
func (d *drawColumn) edges() [][]byte {
	if d.edge == nil {
		d.edge, d.gentle = d.findEdges()
	}
	return d.edge
}

// mild returns the edges of which several may stand in one row.
func (d *drawColumn) mild() [][]byte {
	d.edges()
	return d.gentle
}

func (d *drawColumn) findEdges() (all, mild [][]byte) {
	all = [][]byte{}
	if d.nullable {
		all, mild = append(all, []byte("null")), append(mild, []byte("null"))
	}
	switch {
	case d.floating():
		for _, f := range d.floatEdges() {
			text := d.float(f)
			all = append(all, text)
			if math.Abs(f) <= mildest && (f == 0 || math.Abs(f) >= 1/mildest) {
				mild = append(mild, text)
			}
		}
		return all, mild
	case d.integral():
		for _, i := range d.intEdges() {
			text := strconv.AppendInt(nil, i, 10)
			all = append(all, text)
			if float64(i) <= mildest && float64(i) >= -mildest {
				mild = append(mild, text)
			}
		}
		return all, mild
	}
	others := d.otherEdges()
	return append(all, others...), append(mild, others...)
}

// greatest32 is the least number that is infinite as a float32.
const greatest32 = 3.4028235677973366e38

var plainEdges = []float64{
	0, math.Copysign(0, -1), 1, -1, 0.5, 1e-9, -1e-9, 255, 256, 257, 1e6, -1e6,
	16777216, 16777217, -16777217, 9007199254740993, 1e15, -1e15, 1e30, -1e30,
	math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, math.SmallestNonzeroFloat32, 1e-46, 1e-300,
	math.MaxFloat32, -math.MaxFloat32, math.Inf(1), math.Inf(-1),
}

// wideEdges are beyond a float of 32 bits.
var wideEdges = []float64{greatest32, -greatest32, 1e39, 1e300, -1e300, math.MaxFloat64, -math.MaxFloat64}

func (d *drawColumn) floatEdges() []float64 {
	edges := slices.Clone(plainEdges)
	if d.typ.Kind == TypeDouble {
		edges = append(edges, wideEdges...)
	}
	for _, f := range d.ends() {
		edges = append(edges, f, -f, math.Nextafter(f, math.Inf(1)), math.Nextafter(f, math.Inf(-1)), f-1, f+1)
		for which := range 5 {
			edges = append(edges, besideFloat32(f, which))
		}
	}
	return edges
}

// ends returns the least and greatest number of the example.
func (d *drawColumn) ends() []float64 {
	if len(d.numbers) == 0 {
		return nil
	}
	return slices.Compact([]float64{d.numbers[0], d.numbers[len(d.numbers)-1]})
}

func (d *drawColumn) intEdges() []int64 {
	low, high := d.intRange()
	edges := []int64{0, 1, -1, 2, 100, 255, 256, 16777217, low, low + 1, high, high - 1}
	if d.typ.Kind == TypeLong {
		edges = append(edges, 1<<31, -1<<31-1, 1<<53+1)
	}
	for _, f := range d.ends() {
		for _, step := range []float64{-1, 0, 1} {
			if f+step >= float64(low) && f+step < float64(high) {
				edges = append(edges, int64(f+step))
			}
		}
	}
	return edges
}

func (d *drawColumn) otherEdges() [][]byte {
	var values []any
	switch d.typ.Kind {
	case TypeString:
		for _, s := range d.textEdges() {
			values = append(values, s)
		}
	case TypeDatetime:
		values = []any{"1970-01-01T00:00:00", "1969-12-31T23:59:59.999999", "1700-01-01", "2024-02-29T12:30:00", "2261-12-31T23:59:59"}
	case TypeBinary:
		values = []any{"", "AA==", "/////w=="}
	}
	out := make([][]byte, len(values))
	for i, v := range values {
		out[i] = encode(v)
	}
	return out
}

// longText is longer than any category.
const longText = 10_000

// textEdges are texts that are no category, or hardly are. None has a
// character that a JSON reader may turn into another.
func (d *drawColumn) textEdges() []string {
	edges := []string{
		"", " ", "\t\n", "no such category", "1", "-1.5", "1e5", "0x10", "true", "False", "nan", "NaN", "None", "null", "inf", "<NA>",
		"\"quoted\" \\ 'text'", "日本", "é", "e\u0301", "\u00a0", "\ufeff", "🚢", strings.Repeat("x", longText), strings.Repeat("語", longText/3),
	}
	for i, own := range d.texts() {
		if i == 3 {
			break
		}
		edges = append(edges, own, own+" ", " "+own, own+"\x00", own+own, strings.ToUpper(own), strings.ToLower(own))
		if runes := []rune(own); len(runes) > 1 {
			edges = append(edges, string(runes[:len(runes)-1]), string(runes[1:]))
		}
	}
	return edges
}

// texts are the example's different texts, sorted.
func (d *drawColumn) texts() []string {
	var texts []string
	for _, v := range d.own {
		var text string
		if json.Unmarshal(v, &text) == nil {
			texts = append(texts, text)
		}
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}
