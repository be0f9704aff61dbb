package serving

import (
	"encoding/base64"
	"math"
	"strconv"
	"strings"

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

func bendLong(d *decoder, f *field, b *columnBuffer) { b.int(d.bentInt(f)) }

// bendInteger wraps around at 32 bits.
func bendInteger(d *decoder, f *field, b *columnBuffer) { b.int(int64(int32(d.bentInt(f)))) }

func (d *decoder) bentInt(f *field) int64 {
	switch c := d.next(); {
	case c-'0' <= 9 || c == '-':
		token, whole := d.number()
		if token == nil {
			return 0
		}
		if v, ok := parseInt(token, whole, 64); ok {
			return v
		}
		if v, ok := truncated(token); ok && !whole {
			return v
		}
	case c == '"':
		if v, err := strconv.ParseInt(strings.TrimSpace(d.text()), 10, 64); err == nil {
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
	case d.literal("true"):
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
	switch c := d.next(); {
	case c == '"':
		b.string(d.text())
	case d.literal("null"), d.literal("NaN"):
		b.miss()
	case d.literal("true"):
		b.string("True")
	case d.literal("false"):
		b.string("False")
	case c-'0' <= 9 || c == '-':
		token, _ := d.number()
		b.string(string(token))
	default:
		d.wrong(f, "")
	}
}

// bendBinary decodes as Python's base64.decodebytes, which passes over what is
// not of the alphabet.
func bendBinary(d *decoder, f *field, b *columnBuffer) {
	if d.next() != '"' {
		d.wrong(f, "is no text")
		return
	}
	text := strings.Map(func(c rune) rune {
		if c < 128 && (c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/' || c == '=') {
			return c
		}
		return -1
	}, d.text())
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		d.wrong(f, "has incorrect padding")
		return
	}
	b.string(string(data))
}

// bendDatetime takes whole numbers as nanoseconds since 1970.
func bendDatetime(d *decoder, f *field, b *columnBuffer) {
	if c := d.next(); c-'0' <= 9 || c == '-' {
		token, whole := d.number()
		if v, ok := parseInt(token, whole, 64); ok && d.err == nil {
			b.int(v)
			return
		}
		d.wrong(f, "")
		return
	}
	readDatetime(d, f, b)
}
