package serving

import (
	"math"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// maxNesting is how deep arrays and objects may lie in each other.
const maxNesting = 128

// reader reads JSON (RFC 8259) in one pass, straight into what the caller
// makes of it. It reads exactly what encoding/json reads (a fuzz test compares
// the two), but for nesting beyond maxNesting, invalid UTF-8, which it
// refuses, and, where a caller asks for them, Python's tokens NaN and Infinity.
//
// The first failure stays in err and moves the position to the end, so that
// loops end by themselves and need no check at each step.
type reader struct {
	buf   []byte
	pos   int
	depth int
	copy  string // buf as a string, made when the first text is read: texts are parts of it
	err   *refusal
}

func (r *reader) reset(body []byte) {
	*r = reader{buf: body}
	if !utf8.Valid(body) {
		r.fail(malformed("The body is not valid UTF-8."))
	}
}

func (r *reader) fail(err *refusal) {
	if r.err == nil {
		r.err = err
	}
	r.pos = len(r.buf)
}

// syntax refuses the body at the present position.
func (r *reader) syntax(want string) {
	if r.err != nil {
		return
	}
	line, column := 1, 1
	for _, c := range r.buf[:r.pos] {
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	found := "the body ends"
	if r.pos < len(r.buf) {
		c, _ := utf8.DecodeRune(r.buf[r.pos:])
		found = "there is " + strconv.QuoteRune(c)
	}
	r.fail(malformed("Invalid input. Ensure that input is a valid JSON formatted string. Line %d, column %d: %s where %s should be.", line, column, found, want))
}

// next skips white space and returns the byte that follows, 0 at the end.
func (r *reader) next() byte {
	for r.pos < len(r.buf) {
		switch c := r.buf[r.pos]; c {
		case ' ', '\n', '\t', '\r':
			r.pos++
		default:
			return c
		}
	}
	return 0
}

// open enters an array or object.
func (r *reader) open(bracket byte, what string) {
	if r.next() != bracket {
		r.syntax(what)
		return
	}
	r.pos++
	if r.depth++; r.depth > maxNesting {
		r.fail(malformed("Invalid input. The JSON is nested deeper than %d levels.", maxNesting))
	}
}

// more reports whether an element follows, n of which were read, and passes
// the comma before it or the closing bracket.
func (r *reader) more(bracket byte, n int) bool {
	c := r.next()
	if c == bracket {
		r.pos++
		r.depth--
		return false
	}
	if n == 0 && r.pos < len(r.buf) {
		return true
	}
	if c != ',' {
		r.syntax(`"," or "` + string(bracket) + `"`)
		return false
	}
	r.pos++
	if r.next() == bracket {
		r.syntax("a value")
	}
	return r.err == nil
}

// key reads an object's key and the colon after it.
func (r *reader) key() []byte {
	name := r.name()
	if r.next() != ':' {
		r.syntax(`":"`)
		return nil
	}
	r.pos++
	return name
}

// name reads a string that need not live longer than the reader's next step.
func (r *reader) name() []byte {
	raw, escaped := r.raw()
	if escaped {
		return unescape(raw)
	}
	return raw
}

// text reads a string. It lives as long as the request.
func (r *reader) text() string {
	raw, escaped := r.raw()
	if r.err != nil {
		return ""
	}
	if escaped {
		return string(unescape(raw))
	}
	if r.copy == "" {
		r.copy = string(r.buf)
	}
	end := r.pos - 1
	return r.copy[end-len(raw) : end]
}

// raw reads a string and returns what is between the quotes.
func (r *reader) raw() (raw []byte, escaped bool) {
	if r.next() != '"' {
		r.syntax("a string")
		return nil, false
	}
	start := r.pos + 1
	for i := start; i < len(r.buf); i++ {
		switch c := r.buf[i]; {
		case c == '"':
			r.pos = i + 1
			return r.buf[start:i], escaped
		case c == '\\':
			n := escapeLength(r.buf[i:])
			if n == 0 {
				r.pos = i
				r.syntax("a valid escape")
				return nil, false
			}
			escaped, i = true, i+n-1
		case c < ' ':
			r.pos = i
			r.syntax("an escaped control character")
			return nil, false
		}
	}
	r.pos = len(r.buf)
	r.syntax(`a closing "`)
	return nil, false
}

// escapeLength returns the bytes of the escape that b begins with, or 0.
func escapeLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if hex4(b[2:]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits, or gives -1.
func hex4(b []byte) rune {
	if len(b) < 4 {
		return -1
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}

// unescape replaces the escapes of a string that raw has checked. Half a
// surrogate pair becomes U+FFFD, as in encoding/json.
func unescape(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] != '\\' {
			out = append(out, raw[i])
			continue
		}
		i++
		switch raw[i] {
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			c, n := unescapeRune(raw[i+1:])
			out = utf8.AppendRune(out, c)
			i += n
		default:
			out = append(out, raw[i])
		}
	}
	return out
}

func unescapeRune(b []byte) (c rune, n int) {
	c = hex4(b)
	if utf16.IsSurrogate(c) {
		if len(b) >= 10 && b[4] == '\\' && b[5] == 'u' {
			if pair := utf16.DecodeRune(c, hex4(b[6:])); pair != utf8.RuneError {
				return pair, 10
			}
		}
		return utf8.RuneError, 4
	}
	return c, 4
}

// number reads a number's text; whole is false for one with a fraction or an
// exponent.
func (r *reader) number() (token []byte, whole bool) {
	r.next()
	start, i := r.pos, r.pos
	if i < len(r.buf) && r.buf[i] == '-' {
		i++
	}
	digits := i
	i = r.digits(i)
	if i == digits || i > digits+1 && r.buf[digits] == '0' {
		r.pos = digits
		r.syntax("a number")
		return nil, false
	}
	whole = true
	if i < len(r.buf) && r.buf[i] == '.' {
		whole = false
		i = r.atLeastOneDigit(i + 1)
	}
	if i < len(r.buf) && (r.buf[i] == 'e' || r.buf[i] == 'E') {
		whole = false
		i++
		if i < len(r.buf) && (r.buf[i] == '+' || r.buf[i] == '-') {
			i++
		}
		i = r.atLeastOneDigit(i)
	}
	if r.err != nil {
		return nil, false
	}
	r.pos = i
	return r.buf[start:i], whole
}

func (r *reader) digits(i int) int {
	for i < len(r.buf) && r.buf[i]-'0' <= 9 {
		i++
	}
	return i
}

func (r *reader) atLeastOneDigit(i int) int {
	end := r.digits(i)
	if end == i {
		r.pos = i
		r.syntax("a digit")
	}
	return end
}

var powersOfTen = [...]float64{1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// parseFloat returns the nearest float64. Up to 15 digits and a power of ten
// up to 22 are exact in float64, so that one division rounds correctly (W. D.
// Clinger, "How to read floating point numbers accurately", 1990); what is
// longer goes to strconv. ok is false beyond the range of float64.
func parseFloat(token []byte) (f float64, ok bool) {
	mantissa, digits, fraction, point := uint64(0), 0, 0, false
	for i, c := range token {
		switch {
		case c-'0' <= 9:
			mantissa = mantissa*10 + uint64(c-'0')
			digits++
			if point {
				fraction++
			}
		case c == '.':
			point = true
		case c == '-' && i == 0:
		default:
			digits = len(powersOfTen) // an exponent
		}
	}
	if digits > 15 {
		f, err := strconv.ParseFloat(string(token), 64)
		return f, err == nil
	}
	f = float64(mantissa) / powersOfTen[fraction]
	if token[0] == '-' {
		f = math.Copysign(f, -1)
	}
	return f, true
}

// literal passes the word, if it is there.
func (r *reader) literal(word string) bool {
	if len(r.buf)-r.pos < len(word) || string(r.buf[r.pos:r.pos+len(word)]) != word {
		return false
	}
	r.pos += len(word)
	return true
}

// skip passes one value of any kind.
func (r *reader) skip() {
	switch c := r.next(); {
	case c == '{':
		r.open('{', "an object")
		for n := 0; r.more('}', n); n++ {
			r.key()
			r.skip()
		}
	case c == '[':
		r.open('[', "an array")
		for n := 0; r.more(']', n); n++ {
			r.skip()
		}
	case c == '"':
		r.raw()
	case c == '-' || c-'0' <= 9:
		if c == '-' && r.literal("-Infinity") {
			return
		}
		r.number()
	case r.literal("true"), r.literal("false"), r.literal("null"), r.literal("NaN"), r.literal("Infinity"):
	default:
		r.syntax("a value")
	}
}

// end refuses anything after the value.
func (r *reader) end() {
	if r.next(); r.pos < len(r.buf) {
		r.syntax("nothing more")
	}
}
