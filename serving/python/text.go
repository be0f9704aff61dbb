package python

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/slipway-dev/slipway/serving"
)

// appendList writes a column as a JSON list.
func appendList(b []byte, c *serving.Column, missing func(int) bool) []byte {
	n := max(len(c.Strings), len(c.Values), len(c.Bools))
	b = append(b, '[')
	for i := range n {
		b = comma(b, i)
		switch {
		case missing(i):
			b = append(b, "null"...)
		case c.Kind == serving.Bool:
			b = strconv.AppendBool(b, c.Bools[i])
		case c.Kind == serving.Any:
			b = appendAny(b, c.Values[i])
		case c.Kind == serving.Bytes:
			b = append(b, '"')
			b = append(base64.StdEncoding.AppendEncode(b, []byte(c.Strings[i])), '"')
		case c.Literal != nil && c.Literal[i]:
			b = append(b, literal(c.Strings[i])...)
		default:
			b = appendText(b, c.Strings[i])
		}
	}
	return append(b, ']')
}

// literal is Python's text of a number or truth value as JSON.
func literal(text string) string {
	switch text {
	case "True":
		return "true"
	case "False":
		return "false"
	case "None":
		return "null"
	case "nan":
		return "NaN"
	case "inf":
		return "Infinity"
	case "-inf":
		return "-Infinity"
	}
	return text
}

// appendAny writes a value as Python reads it back: floats keep their point,
// and NaN and Infinity stand bare.
func appendAny(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, "null"...)
	case bool:
		return strconv.AppendBool(b, v)
	case int64:
		return strconv.AppendInt(b, v, 10)
	case float64:
		return appendFloat(b, v)
	case string:
		return appendText(b, v)
	case []any:
		b = append(b, '[')
		for i := range v {
			b = appendAny(comma(b, i), v[i])
		}
		return append(b, ']')
	case map[string]any:
		return appendMap(b, v)
	}
	return append(b, "null"...) // serving makes no other
}

func appendMap(b []byte, m map[string]any) []byte {
	b = append(b, '{')
	for i, key := range slices.Sorted(maps.Keys(m)) {
		b = append(appendText(comma(b, i), key), ':')
		b = appendAny(b, m[key])
	}
	return append(b, '}')
}

func appendFloat(b []byte, f float64) []byte {
	switch {
	case math.IsNaN(f):
		return append(b, "NaN"...)
	case math.IsInf(f, 1):
		return append(b, "Infinity"...)
	case math.IsInf(f, -1):
		return append(b, "-Infinity"...)
	}
	start := len(b)
	b = strconv.AppendFloat(b, f, 'g', -1, 64)
	for _, c := range b[start:] {
		if c == '.' || c == 'e' {
			return b
		}
	}
	return append(b, ".0"...)
}

// appendText writes a JSON string.
func appendText(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = fmt.Appendf(b, `\u%04x`, r)
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	return append(b, '"')
}
