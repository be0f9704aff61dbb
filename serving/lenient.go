package serving

import (
	"bytes"
	"encoding/base64"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
)

// lenientCells bend values as MLflow 3's scoring server does, which casts a
// DataFrame to the signature's types before it checks it (numpy's astype):
// fractions are cut off, 32-bit integers wrap around, texts are parsed, and
// any text but the empty one is true.
var lenientCells = map[string]func(*decoder, *field, *columnBuffer){
	mlmodel.TypeDouble:   bendDouble,
	mlmodel.TypeFloat:    bendFloat,
	mlmodel.TypeLong:     bendLong,
	mlmodel.TypeInteger:  bendInteger,
	mlmodel.TypeBoolean:  bendBoolean,
	mlmodel.TypeString:   bendString,
	mlmodel.TypeBinary:   bendBinary,
	mlmodel.TypeDatetime: bendDatetime,
}

func bendDouble(d *decoder, f *field, b *columnBuffer) {
	if v, ok := d.bentFloat(f); ok {
		b.float(v)
	} else {
		b.miss()
	}
}

func bendFloat(d *decoder, f *field, b *columnBuffer) {
	if v, ok := d.bentFloat(f); ok {
		b.float(float64(float32(v)))
	} else {
		b.miss()
	}
}

// bentFloat reads a number, a text that float() of Python reads, or a truth
// value. ok is false for a missing value.
func (d *decoder) bentFloat(f *field) (v float64, ok bool) {
	v, state := d.float()
	if state == isNumber || state == isHuge {
		return v, true
	}
	switch c := d.next(); {
	case state == isNull:
		return 0, false
	case c == '"':
		v, err := strconv.ParseFloat(strings.TrimSpace(d.text()), 64)
		if err != nil && !math.IsInf(v, 0) {
			d.wrong(f, "could not be converted to a number")
		}
		return v, true
	case d.literal("true"):
		return 1, true
	case d.literal("false"):
		return 0, true
	}
	d.wrong(f, "could not be converted to a number")
	return 0, false
}

func bendLong(d *decoder, f *field, b *columnBuffer)    { b.int(d.bentInt(f, 64)) }
func bendInteger(d *decoder, f *field, b *columnBuffer) { b.int(d.bentInt(f, 32)) }

// singly reports whether MLflow casts each value by itself (numpy.array, for
// "inputs" and "instances") and not a whole column (numpy.astype): then what
// does not fit is refused where a column wraps around.
func (d *decoder) singly() bool { return d.format == inputs || d.format == instances }

func (d *decoder) bentInt(f *field, bits int) int64 {
	switch c := d.next(); {
	case c-'0' <= 9 || c == '-':
		token, whole := d.number()
		if token == nil {
			return 0
		}
		if v, ok := d.bentNumber(token, whole, bits); ok {
			return v
		}
	case c == '"':
		if v, err := strconv.ParseInt(strings.TrimSpace(d.text()), 10, bits); err == nil {
			return v
		}
	case d.literal("true"):
		return 1
	case d.literal("false"):
		return 0
	}
	d.wrong(f, "could not be converted to a whole number")
	return 0
}

// bentNumber cuts fractions off and wraps whole numbers around. A fraction out
// of range becomes the least integer, as numpy has it on amd64.
func (d *decoder) bentNumber(token []byte, whole bool, bits int) (int64, bool) {
	least := int64(math.MinInt64) >> (64 - bits)
	v, fits := parseInt(token, whole, bits)
	switch {
	case fits:
		return v, true
	case !whole:
		f, _ := parseFloat(token)
		if f = math.Trunc(f); f >= float64(least) && f < -float64(least) {
			return int64(f), true
		}
		return least, !d.singly() && !math.IsInf(f, 0)
	case d.singly():
		return 0, false
	}
	u, err := strconv.ParseUint(string(token), 10, 64)
	if i, ok := parseInt(token, true, 64); ok {
		u, err = uint64(i), nil
	}
	if bits == 32 {
		return int64(int32(u)), err == nil
	}
	return int64(u), err == nil
}

// truncated cuts a fraction off.
func truncated(token []byte) (int64, bool) {
	v, ok := parseFloat(token)
	if !ok || math.Abs(v) >= 1<<63 {
		return 0, false
	}
	return int64(v), true
}

func bendBoolean(d *decoder, f *field, b *columnBuffer) {
	switch c := d.next(); {
	case d.literal("true"), d.literal("NaN"):
		b.bool(true)
	case d.literal("false"), d.literal("null"):
		b.bool(false)
	case c == '"':
		b.bool(d.text() != "")
	default:
		v, _ := d.bentFloat(f)
		b.bool(v != 0)
	}
}

// bendString keeps a number's or truth value's text. MLflow hands the number
// itself to the model, which knows it as little as its text.
func bendString(d *decoder, f *field, b *columnBuffer) {
	at := d.pos
	text, ok := d.pythonText()
	switch {
	case !ok:
		d.wrong(f, "")
	case d.buf[at] != '"' && !d.singly() && (text == "None" || text == "nan"):
		b.miss()
	case d.buf[at] != '"':
		b.token(text)
	default:
		b.string(text)
	}
}

// pythonText reads a single value as str() of Python writes it.
func (d *decoder) pythonText() (text string, ok bool) {
	switch c := d.next(); {
	case c == '"':
		return d.text(), true
	case d.literal("null"):
		return "None", true
	case d.literal("true"):
		return "True", true
	case d.literal("false"):
		return "False", true
	case d.literal("NaN"):
		return "nan", true
	case d.literal("Infinity"):
		return "inf", true
	case d.literal("-Infinity"):
		return "-inf", true
	case c-'0' <= 9 || c == '-':
		return d.pythonNumber(), true
	}
	return "", false
}

func (d *decoder) pythonNumber() string {
	token, whole := d.number()
	if whole || token == nil {
		return string(token)
	}
	f, _ := parseFloat(token)
	switch {
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	return string(appendFloat(nil, f, 64, bare))
}

// bendBinary decodes base64 as Python's base64.decodebytes, which passes over
// what is not of the alphabet. In "inputs" and "instances" the text itself is
// the bytes.
func bendBinary(d *decoder, f *field, b *columnBuffer) {
	if d.singly() {
		text, ok := d.pythonText()
		if !ok || strings.ContainsFunc(text, func(c rune) bool { return c > 127 }) {
			d.wrong(f, "is not ASCII")
			return
		}
		b.string(text)
		return
	}
	if d.next() != '"' {
		d.wrong(f, "is no text")
		return
	}
	text := strings.Map(base64Only, d.text())
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		d.wrong(f, "has incorrect padding")
		return
	}
	b.string(string(data))
}

func base64Only(c rune) rune {
	switch {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/', c == '=':
		return c
	}
	return -1
}

// bendDatetime takes numbers as nanoseconds since 1970; an empty text is a
// missing time. What lies beyond the range is missing too.
func bendDatetime(d *decoder, f *field, b *columnBuffer) {
	switch c := d.next(); {
	case c == '"':
		d.bendTimeText(f, b)
	case d.literal("null"):
		b.miss()
	case d.singly() && d.literal("true"):
		b.int(1)
	case d.singly() && d.literal("false"):
		b.int(0)
	default:
		d.bendTimeNumber(f, b)
	}
}

func (d *decoder) bendTimeText(f *field, b *columnBuffer) {
	text := d.text()
	if text == "" || text == "nan" && !d.singly() {
		b.miss()
		return
	}
	ns, problem := parseTime(text)
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil && d.singly() {
		ns, problem = t.UnixNano(), ""
	}
	if problem != "" {
		d.wrong(f, problem)
		return
	}
	b.int(ns)
}

func (d *decoder) bendTimeNumber(f *field, b *columnBuffer) {
	start := d.pos
	v, state := d.float()
	token := d.buf[start:d.pos]
	written := state == isNumber && !bytes.ContainsAny(token, ".eEI") // as a whole number
	switch {
	case d.err != nil:
	case state == isOther, d.singly() && !written:
		d.wrong(f, "")
	case written:
		ns, fits := parseInt(token, true, 64)
		if !fits {
			d.wrong(f, "")
		}
		b.int(ns)
	case state == isNumber && math.Abs(v) < 1<<63:
		b.int(int64(v))
	default:
		b.miss()
	}
}
