package serving

import "bytes"

// isJSON reports whether the text is one JSON value, in which Python's NaN and
// Infinity may stand.
func isJSON(text []byte) bool {
	var r reader
	r.reset(text)
	r.skip()
	r.end()
	return r.err == nil
}

// appendJSON writes a text that isJSON in the given spelling.
func appendJSON(b, text []byte, s spelling) []byte {
	if s == bare || bytes.IndexByte(text, 'N') < 0 && bytes.IndexByte(text, 'I') < 0 {
		return append(b, text...)
	}
	for len(text) > 0 {
		n := tokenLength(text)
		switch token := text[:n]; {
		case token[0] == '"' || token[0] != 'N' && token[0] != 'I' && token[0] != '-' || token[0] == '-' && (n == 1 || token[1] != 'I'):
			b = append(b, token...)
		case s == asNull:
			b = append(b, "null"...)
		default:
			b = append(append(append(b, '"'), token...), '"')
		}
		text = text[n:]
	}
	return b
}

// tokenLength is how long the string, word or number is that the text begins
// with, or 1.
func tokenLength(text []byte) int {
	if text[0] == '"' {
		for i := 1; i < len(text); i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
		return len(text)
	}
	n := 0
	for n < len(text) && (text[n] == '-' || text[n]-'A' < 26 || text[n]-'a' < 26) {
		n++
	}
	return max(n, 1)
}
