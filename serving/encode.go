package serving

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"
	"unicode/utf8"
)

// spelling is how the numbers that JSON lacks are written.
type spelling uint8

const (
	bare     spelling = iota // NaN, Infinity: what MLflow's server writes and its clients read
	asNull                   // null: JSON that every client reads
	asQuoted                 // "NaN", "Infinity": golden predictions
)

// appendOutput writes an answer as the value of "predictions": an array, an
// array of arrays, an object of named arrays, or a list of records.
func appendOutput(b []byte, o *Output, s spelling) []byte {
	switch {
	case o.JSON != nil:
		return appendJSON(b, o.JSON, s)
	case o.Columns:
		return appendRecords(b, o.List, s)
	case o.List != nil && o.List[0].Name != "":
		return appendNamed(b, o.List, s)
	case o.List != nil:
		b = append(b, '[')
		for i := range o.List {
			b = appendOutput(appendComma(b, i), &o.List[i], s)
		}
		return append(b, ']')
	case len(o.Shape) < 2:
		return appendValues(b, o, 0, o.values(), s)
	}
	return appendArrays(b, o, s)
}

// appendArrays writes a tensor of two or more dimensions.
func appendArrays(b []byte, o *Output, s spelling) []byte {
	width := 1
	for _, n := range o.Shape[1:] {
		width *= n
	}
	row := Output{Shape: o.Shape[1:], Kind: o.Kind}
	b = append(b, '[')
	for i := range o.Shape[0] {
		b = appendComma(b, i)
		if len(row.Shape) == 1 {
			b = appendValues(b, o, i*width, (i+1)*width, s)
			continue
		}
		part := o.part(i*width, (i+1)*width)
		part.Shape = row.Shape
		b = appendArrays(b, &part, s)
	}
	return append(b, ']')
}

// part returns the values from one index to another.
func (o *Output) part(from, to int) Output {
	p := Output{Kind: o.Kind}
	switch o.Kind {
	case Float, Float32:
		p.Floats = o.Floats[from:to]
	case Int, Time:
		p.Ints = o.Ints[from:to]
	case Bool:
		p.Bools = o.Bools[from:to]
	case String, Bytes:
		p.Strings = o.Strings[from:to]
	}
	return p
}

// values is how many values of the output's kind there are.
func (o *Output) values() int {
	switch o.Kind {
	case Float, Float32:
		return len(o.Floats)
	case Int, Time:
		return len(o.Ints)
	case Bool:
		return len(o.Bools)
	case String, Bytes:
		return len(o.Strings)
	}
	return 0
}

// answers reports whether the output is an answer to so many rows, with as
// many values as its shape says.
func (o *Output) answers(rows int) bool {
	if o.JSON != nil {
		return isJSON(o.JSON)
	}
	if o.List != nil || o.Columns {
		for i := range o.List {
			if o.List[i].Free = o.List[i].Free || o.Free; !o.List[i].answers(rows) {
				return false
			}
		}
		return len(o.List) > 0
	}
	if len(o.Shape) == 0 || o.Shape[0] != rows && !o.Free {
		return false
	}
	total := 1
	for _, n := range o.Shape {
		total *= n
	}
	return total == o.values()
}

func appendNamed(b []byte, list []Output, s spelling) []byte {
	b = append(b, '{')
	for i := range list {
		b = appendText(appendComma(b, i), list[i].Name)
		b = appendOutput(append(b, ": "...), &list[i], s)
	}
	return append(b, '}')
}

func appendRecords(b []byte, columns []Output, s spelling) []byte {
	rows := 0
	if len(columns) > 0 {
		rows = columns[0].values()
	}
	b = append(b, '[')
	for row := range rows {
		b = append(appendComma(b, row), '{')
		for i := range columns {
			b = appendText(appendComma(b, i), columns[i].Name)
			b = appendValue(append(b, ": "...), &columns[i], row, s)
		}
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendComma(b []byte, i int) []byte {
	if i > 0 {
		return append(b, ", "...)
	}
	return b
}

func appendValues(b []byte, o *Output, from, to int, s spelling) []byte {
	b = append(b, '[')
	for i := from; i < to; i++ {
		if i > from {
			b = append(b, ", "...)
		}
		b = appendValue(b, o, i, s)
	}
	return append(b, ']')
}

func appendValue(b []byte, o *Output, i int, s spelling) []byte {
	switch o.Kind {
	case Float:
		return appendFloat(b, o.Floats[i], 64, s)
	case Float32:
		return appendFloat(b, o.Floats[i], 32, s)
	case Int:
		return strconv.AppendInt(b, o.Ints[i], 10)
	case Bool:
		return strconv.AppendBool(b, o.Bools[i])
	case String:
		return appendText(b, o.Strings[i])
	case Time:
		return appendTime(b, o.Ints[i])
	case Bytes:
		b = append(b, '"')
		b = base64.StdEncoding.AppendEncode(b, []byte(o.Strings[i]))
		return append(b, '"')
	}
	return append(b, "null"...)
}

// appendTime writes nanoseconds since 1970 as pandas does: without a zone, and
// with no, six or nine digits of a second.
func appendTime(b []byte, ns int64) []byte {
	layout := `"2006-01-02T15:04:05"`
	switch {
	case ns%1000 != 0:
		layout = `"2006-01-02T15:04:05.000000000"`
	case ns%1_000_000_000 != 0:
		layout = `"2006-01-02T15:04:05.000000"`
	}
	return time.Unix(0, ns).UTC().AppendFormat(b, layout)
}

// appendFloat writes the shortest digits that give the number back, in
// Python's form: always with a point or an exponent, and an exponent outside
// 1e-4 to 1e16.
func appendFloat(b []byte, f float64, bits int, s spelling) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return appendNotFinite(b, f, s)
	}
	if size := math.Abs(f); size != 0 && (size < 1e-4 || size >= 1e16) {
		return strconv.AppendFloat(b, f, 'e', -1, bits)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'f', -1, bits)
	for _, c := range b[start:] {
		if c == '.' {
			return b
		}
	}
	return append(b, ".0"...)
}

func appendNotFinite(b []byte, f float64, s spelling) []byte {
	text := "NaN"
	switch {
	case s == asNull:
		return append(b, "null"...)
	case math.IsInf(f, 1):
		text = "Infinity"
	case math.IsInf(f, -1):
		text = "-Infinity"
	}
	if s == asQuoted {
		return append(append(append(b, '"'), text...), '"')
	}
	return append(b, text...)
}

const hexDigits = "0123456789abcdef"

// appendText writes a JSON string. Bytes that are not UTF-8 become U+FFFD.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf && c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if c >= utf8.RuneSelf && (r != utf8.RuneError || n > 1) {
			i += n
			continue
		}
		b = append(b, s[from:i]...)
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c == '\n':
			b = append(b, `\n`...)
		case c < ' ':
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		default:
			b = append(b, "\uFFFD"...)
		}
		i += n
		from = i
	}
	return append(append(b, s[from:]...), '"')
}
