package serving

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"

	"github.com/slipway-dev/slipway/mlmodel"
)

// any reads one value as encoding/json would give it, but whole numbers of up
// to 64 bits as int64: a declared long must not lose digits. Bare NaN and
// infinities become floats.
func (r *reader) any() any {
	switch c := r.next(); {
	case c == '{':
		return r.anyObject()
	case c == '[':
		return r.anyList()
	case c == '"':
		return r.text()
	case c == '-' || c-'0' <= 9:
		return r.anyNumber()
	case r.literal("true"):
		return true
	case r.literal("false"):
		return false
	case r.literal("null"):
		return nil
	case r.literal("NaN"):
		return math.NaN()
	case r.literal("Infinity"):
		return math.Inf(1)
	}
	r.syntax("a value")
	return nil
}

func (r *reader) anyObject() any {
	m := map[string]any{}
	r.open('{', "an object")
	for n := 0; r.more('}', n); n++ {
		key := string(r.key())
		m[key] = r.any()
	}
	return m
}

func (r *reader) anyList() any {
	list := []any{}
	r.open('[', "an array")
	for n := 0; r.more(']', n); n++ {
		list = append(list, r.any())
	}
	return list
}

func (r *reader) anyNumber() any {
	if r.literal("-Infinity") {
		return math.Inf(-1)
	}
	token, whole := r.number()
	if token == nil {
		return nil
	}
	if whole {
		if i, err := strconv.ParseInt(string(token), 10, 64); err == nil {
			return i
		}
	}
	f, ok := parseFloat(token)
	if !ok && r.err == nil {
		r.fail(malformed("Invalid input. The number %s is beyond the range of a double.", short(string(token), 40)))
	}
	return f
}

// readValue reads arrays, objects, maps and any, and checks them against the
// declared type.
func readValue(d *decoder, f *field, b *columnBuffer) {
	if c := d.next(); c == 'n' && !f.Required && d.literal("null") {
		b.miss()
		return
	}
	v := d.any()
	if d.err != nil {
		return
	}
	v, problem := conform(f.Type, v, d.codec.lenient)
	if problem != "" {
		d.wrong(f, problem)
		return
	}
	b.value(v)
}

// conform returns the value in the declared type, or what is wrong with it.
// MLflow refuses whole numbers but 0 and 1 where doubles are declared inside
// another type; that bends nothing, so only its own mode does the same.
func conform(t mlmodel.Type, v any, lenient bool) (any, string) {
	switch t.Kind {
	case mlmodel.TypeAny, mlmodel.TypeSparkMLVector:
		return v, ""
	case mlmodel.TypeArray:
		return conformList(*t.Items, v, lenient)
	case mlmodel.TypeMap:
		return conformMap(t, v, lenient)
	case mlmodel.TypeObject:
		return conformObject(t, v, lenient)
	}
	return conformScalar(t.Kind, v, lenient)
}

func conformList(item mlmodel.Type, v any, lenient bool) (any, string) {
	list, ok := v.([]any)
	if !ok {
		return nil, "is no array"
	}
	for i := range list {
		var problem string
		if list[i], problem = conform(item, list[i], lenient); problem != "" {
			return nil, fmt.Sprintf("%s (element %d)", problem, i)
		}
	}
	return list, ""
}

func conformMap(t mlmodel.Type, v any, lenient bool) (any, string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, "is no map"
	}
	for key := range m {
		var problem string
		if m[key], problem = conform(*t.Values, m[key], lenient); problem != "" {
			return nil, fmt.Sprintf("%s (key %s)", problem, quoted(key))
		}
	}
	return m, ""
}

func conformObject(t mlmodel.Type, v any, lenient bool) (any, string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil, "is no object"
	}
	known := 0
	for _, p := range t.Properties {
		value, ok := m[p.Name]
		switch {
		case ok && value == nil && !p.Required:
			known++
			continue
		case ok:
			known++
		case p.Required:
			return nil, fmt.Sprintf("lacks the property %s", quoted(p.Name))
		default:
			continue
		}
		value, problem := conform(p.Type, value, lenient)
		if problem != "" {
			return nil, fmt.Sprintf("%s (property %s)", problem, quoted(p.Name))
		}
		m[p.Name] = value
	}
	if known < len(m) {
		return nil, "has a property that the signature does not declare"
	}
	return m, ""
}

func conformScalar(kind string, v any, lenient bool) (any, string) {
	switch value := v.(type) {
	case bool:
		if kind == mlmodel.TypeBoolean {
			return value, ""
		}
	case string:
		return conformText(kind, value)
	case int64:
		return conformWhole(kind, value, lenient)
	case float64:
		switch {
		case kind == mlmodel.TypeDouble:
			return value, ""
		case kind == mlmodel.TypeFloat && (math.IsInf(value, 0) || !math.IsInf(float64(float32(value)), 0)):
			return float64(float32(value)), ""
		}
	}
	return nil, "holds a value that is no " + kind
}

func conformText(kind, s string) (any, string) {
	switch kind {
	case mlmodel.TypeString:
		return s, ""
	case mlmodel.TypeDatetime:
		_, problem := parseTime(s)
		return s, problem
	case mlmodel.TypeBinary:
		if _, err := base64.StdEncoding.DecodeString(s); err != nil {
			return nil, "holds a value that is not base64"
		}
		return s, ""
	}
	return nil, "holds a text that is no " + kind
}

func conformWhole(kind string, i int64, lenient bool) (any, string) {
	switch kind {
	case mlmodel.TypeLong:
		return i, ""
	case mlmodel.TypeInteger:
		if i == int64(int32(i)) {
			return i, ""
		}
	case mlmodel.TypeDouble, mlmodel.TypeFloat:
		if lenient && i != 0 && i != 1 {
			return nil, "holds a whole number where doubles are declared; write it with a decimal point"
		}
		return float64(i), ""
	}
	return nil, fmt.Sprintf("holds a value that is no %s", kind)
}
