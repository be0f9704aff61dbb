package serving

import (
	"encoding/base64"
	"math"
	"strconv"
	"time"

	"github.com/slipway-dev/slipway/mlmodel"
)

// field is one column of the signature, and how its values are read.
type field struct {
	mlmodel.Column
	kind Kind
	read func(*decoder, *field, *columnBuffer)
}

// strictCells read values of exactly the declared type. A null is a missing
// value where the type can hold one (a number with a fraction, a text, a
// time) or where the column is optional.
var strictCells = map[string]func(*decoder, *field, *columnBuffer){
	mlmodel.TypeDouble:   readDouble,
	mlmodel.TypeFloat:    readFloat,
	mlmodel.TypeLong:     readLong,
	mlmodel.TypeInteger:  readInteger,
	mlmodel.TypeBoolean:  readBoolean,
	mlmodel.TypeString:   readString,
	mlmodel.TypeBinary:   readBinary,
	mlmodel.TypeDatetime: readDatetime,
}

// kinds of a batch's columns by the signature's types. Floats of 32 bits are
// rounded when they are read and travel as Float.
var kinds = map[string]Kind{
	mlmodel.TypeDouble: Float, mlmodel.TypeFloat: Float, mlmodel.TypeLong: Int, mlmodel.TypeInteger: Int,
	mlmodel.TypeBoolean: Bool, mlmodel.TypeString: String, mlmodel.TypeBinary: Bytes, mlmodel.TypeDatetime: Time,
}

func readDouble(d *decoder, f *field, b *columnBuffer) {
	v, state := d.float()
	switch state {
	case isNumber:
		b.float(v)
	case isNull:
		b.miss()
	case isHuge:
		d.wrong(f, "is beyond the range of a double")
	default:
		d.wrong(f, "")
	}
}

func readFloat(d *decoder, f *field, b *columnBuffer) {
	v, state := d.float()
	small := float64(float32(v))
	switch {
	case state == isNull:
		b.miss()
	case state == isHuge || state == isNumber && math.IsInf(small, 0) && !math.IsInf(v, 0):
		d.wrong(f, "is beyond the range of a float of 32 bits")
	case state == isNumber:
		b.float(small)
	default:
		d.wrong(f, "")
	}
}

// What float found.
type found uint8

const (
	isOther found = iota
	isNumber
	isNull
	isHuge
)

// float reads a number, null, or one of Python's tokens: NaN is a missing
// value like null. Anything else it does not pass.
func (d *decoder) float() (float64, found) {
	switch c := d.next(); {
	case c-'0' <= 9 || c == '-':
		if c == '-' && d.literal("-Infinity") {
			return math.Inf(-1), isNumber
		}
		token, _ := d.number()
		if token == nil {
			return 0, isNull // the failure is noted
		}
		v, ok := parseFloat(token)
		if !ok {
			return v, isHuge
		}
		return v, isNumber
	case d.literal("null"), d.literal("NaN"):
		return 0, isNull
	case d.literal("Infinity"):
		return math.Inf(1), isNumber
	}
	return 0, isOther
}

func readLong(d *decoder, f *field, b *columnBuffer)    { readInt(d, f, b, 64) }
func readInteger(d *decoder, f *field, b *columnBuffer) { readInt(d, f, b, 32) }

// readInt takes whole numbers, also written 2.0. Null is refused even in an
// optional column, as by MLflow: pandas has no missing integers, so the model
// was not trained with them.
func readInt(d *decoder, f *field, b *columnBuffer, bits int) {
	start := d.next()
	if start-'0' > 9 && start != '-' {
		d.wrong(f, "")
		return
	}
	token, whole := d.number()
	if token == nil {
		return
	}
	v, ok := parseInt(token, whole, bits)
	if !ok {
		d.wrong(f, "")
		return
	}
	b.int(v)
}

// parseInt reads up to 18 digits itself, leaving the rest to strconv.
func parseInt(token []byte, whole bool, bits int) (int64, bool) {
	if !whole {
		v, ok := parseFloat(token)
		const exact = 1 << 53
		fits := ok && v == math.Trunc(v) && math.Abs(v) <= exact && (bits == 64 || v >= math.MinInt32 && v <= math.MaxInt32)
		return int64(v), fits
	}
	v, err := strconv.ParseInt(string(token), 10, bits)
	return v, err == nil
}

func readBoolean(d *decoder, f *field, b *columnBuffer) {
	switch d.next(); {
	case d.literal("true"):
		b.bool(true)
	case d.literal("false"):
		b.bool(false)
	case !f.Required && d.literal("null"):
		b.miss()
	default:
		d.wrong(f, "")
	}
}

func readString(d *decoder, f *field, b *columnBuffer) {
	switch c := d.next(); {
	case c == '"':
		b.string(d.text())
	case d.literal("null"), d.literal("NaN"):
		b.miss()
	default:
		d.wrong(f, "")
	}
}

func readBinary(d *decoder, f *field, b *columnBuffer) {
	switch c := d.next(); {
	case c == '"':
		data, err := base64.StdEncoding.DecodeString(d.text())
		if err != nil && d.err == nil {
			d.wrong(f, "is not base64")
			return
		}
		b.string(string(data))
	case !f.Required && d.literal("null"):
		b.miss()
	default:
		d.wrong(f, "")
	}
}

func readDatetime(d *decoder, f *field, b *columnBuffer) {
	switch c := d.next(); {
	case c == '"':
		ns, problem := parseTime(d.text())
		if problem != "" && d.err == nil {
			d.wrong(f, problem)
			return
		}
		b.int(ns)
	case d.literal("null"), d.literal("NaN"):
		b.miss()
	default:
		d.wrong(f, "")
	}
}

// timeLayouts are the ISO 8601 forms without a zone. Go reads a fraction of
// the seconds after any of them.
var timeLayouts = []string{"2006-01-02", "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04"}

const zoned = "has a time zone; send times without one, as the model was trained"

// parseTime reads a time without a zone as nanoseconds since 1970 UTC. pandas
// holds times between 1677 and 2262 only.
func parseTime(s string) (ns int64, problem string) {
	for _, layout := range timeLayouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if t.Year() < 1678 || t.Year() > 2261 {
			return 0, "is outside the years 1678 to 2261"
		}
		return t.UnixNano(), ""
	}
	if _, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return 0, zoned
	}
	return 0, `is not a time like "2024-05-01T12:30:00"`
}
