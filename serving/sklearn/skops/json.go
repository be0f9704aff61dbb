package skops

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// A value is one value of schema.json (RFC 8259). encoding/json is not used:
// the schema of a forest holds a hundred thousand small objects, and this
// reader is several times faster, keeps the order of keys, refuses a key given
// twice and bounds the depth.
type value struct {
	kind    byte   // 'o' object, 'a' array, 's' string, 'l' literal (number, true, false, null)
	text    string // of 's' and 'l'
	keys    []string
	members []value // of 'o', beside keys, and of 'a'
}

// get returns the member of that name, or nil.
func (v *value) get(key string) *value {
	for i, k := range v.keys {
		if k == key {
			return &v.members[i]
		}
	}
	return nil
}

// str returns the string member of that name; anything else gives "".
func (v *value) str(key string) string {
	if m := v.get(key); m != nil && m.kind == 's' {
		return m.text
	}
	return ""
}

type jsonReader struct {
	text  string
	at    int
	depth int
}

// maxDepth bounds how deep schema.json may nest; a pipeline in a pipeline
// needs a few dozen levels.
const maxDepth = 400

func parseJSON(text string) (*value, error) {
	r := &jsonReader{text: text}
	var v value
	if err := r.value(&v); err != nil {
		return nil, err
	}
	r.space()
	if r.at != len(r.text) {
		return nil, r.bad("text after the end")
	}
	return &v, nil
}

func (r *jsonReader) bad(what string) error {
	return fmt.Errorf("byte %d: %s", r.at, what)
}

func (r *jsonReader) space() {
	for r.at < len(r.text) {
		switch r.text[r.at] {
		case ' ', '\n', '\t', '\r':
			r.at++
		default:
			return
		}
	}
}

// next skips white space and returns the byte that follows, 0 at the end.
func (r *jsonReader) next() byte {
	r.space()
	if r.at == len(r.text) {
		return 0
	}
	return r.text[r.at]
}

func (r *jsonReader) value(v *value) error {
	switch c := r.next(); c {
	case '{', '[':
		r.depth++
		defer func() { r.depth-- }()
		if r.depth > maxDepth {
			return r.bad("nested too deeply")
		}
		if c == '{' {
			return r.object(v)
		}
		return r.array(v)
	case '"':
		s, err := r.string()
		v.kind, v.text = 's', s
		return err
	case 0:
		return r.bad("the text ends early")
	}
	return r.literal(v)
}

func (r *jsonReader) object(v *value) error {
	v.kind = 'o'
	for r.at++; ; r.at++ {
		if r.next() == '}' && len(v.keys) == 0 {
			break
		}
		if r.next() != '"' {
			return r.bad("a key was expected")
		}
		key, err := r.string()
		if err != nil {
			return err
		}
		if r.next() != ':' {
			return r.bad("':' was expected")
		}
		r.at++
		if v.keys == nil { // most objects are nodes of 6 keys
			v.keys, v.members = make([]string, 0, 6), make([]value, 0, 6)
		}
		v.keys = append(v.keys, key)
		v.members = append(v.members, value{})
		if err := r.value(&v.members[len(v.members)-1]); err != nil {
			return err
		}
		if c := r.next(); c == '}' {
			break
		} else if c != ',' {
			return r.bad("',' or '}' was expected")
		}
	}
	r.at++
	return r.unique(v.keys)
}

func (r *jsonReader) array(v *value) error {
	v.kind = 'a'
	for r.at++; ; r.at++ {
		if r.next() == ']' && len(v.members) == 0 {
			break
		}
		v.members = append(v.members, value{})
		if err := r.value(&v.members[len(v.members)-1]); err != nil {
			return err
		}
		if c := r.next(); c == ']' {
			break
		} else if c != ',' {
			return r.bad("',' or ']' was expected")
		}
	}
	r.at++
	return nil
}

// unique refuses a key given twice: readers differ in which one they take.
func (r *jsonReader) unique(keys []string) error {
	if len(keys) <= 16 {
		for i, k := range keys {
			for _, earlier := range keys[:i] {
				if k == earlier {
					return r.bad(fmt.Sprintf("key %.80q is there twice", k))
				}
			}
		}
		return nil
	}
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if seen[k] {
			return r.bad(fmt.Sprintf("key %.80q is there twice", k))
		}
		seen[k] = true
	}
	return nil
}

// string reads a string. One without escapes shares the text's memory.
func (r *jsonReader) string() (string, error) {
	start := r.at + 1
	for i := start; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == '"':
			r.at = i + 1
			return r.text[start:i], nil
		case c == '\\':
			return r.escaped(start)
		case c < ' ':
			return "", r.bad("a control character in a string")
		}
	}
	return "", r.bad("a string does not end")
}

func (r *jsonReader) escaped(start int) (string, error) {
	for i := start; i < len(r.text); i++ {
		switch r.text[i] {
		case '\\':
			i++
		case '"':
			r.at = i + 1
			return unquote(r.text[start:i])
		}
	}
	return "", r.bad("a string does not end")
}

var escapes = map[byte]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unquote resolves the escapes of RFC 8259 §7. A lone surrogate is refused:
// it is no text.
func unquote(s string) (string, error) {
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' {
			return "", fmt.Errorf("a control character in a string")
		}
		if s[i] != '\\' {
			out = append(out, s[i])
			continue
		}
		i++
		if c, ok := escapes[s[i]]; ok {
			out = append(out, c)
			continue
		}
		char, size := unicodeEscape(s[i:])
		if size == 0 {
			return "", fmt.Errorf("a bad escape in the string %.40q", s)
		}
		out = utf8.AppendRune(out, char)
		i += size - 1
	}
	return string(out), nil
}

// unicodeEscape reads uXXXX, or two of them as a surrogate pair, and returns
// how many bytes it took; 0: it is none.
func unicodeEscape(s string) (rune, int) {
	high, ok := hex4(s)
	if !ok {
		return 0, 0
	}
	if high < 0xD800 || high > 0xDFFF {
		return high, 5
	}
	if len(s) < 11 || s[5] != '\\' || high > 0xDBFF {
		return 0, 0
	}
	low, ok := hex4(s[6:])
	if !ok || low < 0xDC00 || low > 0xDFFF {
		return 0, 0
	}
	return 0x10000 + (high-0xD800)<<10 + (low - 0xDC00), 11
}

func hex4(s string) (rune, bool) {
	if len(s) < 5 || s[0] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(s[1:5], 16, 16)
	return rune(n), err == nil
}

// literal reads a number, true, false or null, and Python's NaN and Infinity.
func (r *jsonReader) literal(v *value) error {
	start := r.at
	for r.at < len(r.text) && isLiteral(r.text[r.at]) {
		r.at++
	}
	v.kind, v.text = 'l', r.text[start:r.at]
	if _, err := parseScalar(v.text); err != nil {
		r.at = start
		return r.bad(err.Error())
	}
	return nil
}

func isLiteral(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '+' || c == '.'
}

// Number is a whole number beyond the range of int64, in decimal.
type Number string

// parseScalar returns nil, a bool, an int64, a float64 or a Number.
func parseScalar(text string) (any, error) {
	switch text {
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	case "":
		return nil, fmt.Errorf("a value was expected")
	}
	whole, ok := numeral(text)
	if !ok && text != "NaN" && text != "Infinity" && text != "-Infinity" {
		return nil, fmt.Errorf("%.40q is no value", text)
	}
	if whole {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, nil
		}
		return Number(text), nil
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil && !math.IsInf(f, 0) {
		return nil, fmt.Errorf("%.40q is no value", text)
	}
	return f, nil
}

// numeral reports whether text is a number by RFC 8259 §6, and a whole one.
func numeral(text string) (whole, ok bool) {
	rest := strings.TrimPrefix(text, "-")
	digits := func() int {
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		rest = rest[n:]
		return n
	}
	zero := strings.HasPrefix(rest, "0")
	if n := digits(); n == 0 || zero && n > 1 {
		return false, false
	}
	whole = rest == ""
	if strings.HasPrefix(rest, ".") {
		rest = rest[1:]
		if digits() == 0 {
			return false, false
		}
	}
	if rest != "" && (rest[0] == 'e' || rest[0] == 'E') {
		rest = rest[1:]
		if rest != "" && (rest[0] == '+' || rest[0] == '-') {
			rest = rest[1:]
		}
		if digits() == 0 {
			return false, false
		}
	}
	return whole, rest == ""
}
