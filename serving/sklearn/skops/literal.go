package skops

import (
	"fmt"
	"strconv"
	"strings"
)

type (
	tuple []any
	list  []any
)

// parseLiteral reads the Python literal of an npy header: strings without
// escapes, whole numbers, True, False, None, tuples, lists and dicts with
// string keys.
func parseLiteral(text string) (any, error) {
	r := &literalReader{text: text}
	v, err := r.value(0)
	if err != nil {
		return nil, err
	}
	if strings.TrimSpace(r.text) != "" {
		return nil, fmt.Errorf("text after the end")
	}
	return v, nil
}

type literalReader struct{ text string } // what is left

func (r *literalReader) next() byte {
	r.text = strings.TrimLeft(r.text, " \n\t")
	if r.text == "" {
		return 0
	}
	return r.text[0]
}

// take skips the byte if it comes next.
func (r *literalReader) take(c byte) bool {
	if r.next() != c {
		return false
	}
	r.text = r.text[1:]
	return true
}

func (r *literalReader) value(depth int) (any, error) {
	if depth > 8 {
		return nil, fmt.Errorf("nested too deeply")
	}
	switch c := r.next(); c {
	case '\'', '"':
		return r.string(c)
	case '(':
		items, err := r.items('(', ')', depth)
		return tuple(items), err
	case '[':
		items, err := r.items('[', ']', depth)
		return list(items), err
	case '{':
		return r.dict(depth)
	}
	return r.word()
}

func (r *literalReader) string(quote byte) (string, error) {
	end := strings.IndexByte(r.text[1:], quote)
	if end < 0 || strings.Contains(r.text[1:1+end], `\`) {
		return "", fmt.Errorf("a string does not end")
	}
	s := r.text[1 : 1+end]
	r.text = r.text[end+2:]
	return s, nil
}

func (r *literalReader) items(open, end byte, depth int) ([]any, error) {
	items := []any{}
	for r.take(open); !r.take(end); {
		v, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		items = append(items, v)
		if !r.take(',') && r.next() != end {
			return nil, fmt.Errorf("%q was expected", end)
		}
	}
	return items, nil
}

func (r *literalReader) dict(depth int) (map[string]any, error) {
	dict := map[string]any{}
	for r.take('{'); !r.take('}'); {
		key, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if _, twice := dict[name]; !ok || twice || !r.take(':') {
			return nil, fmt.Errorf("a key was expected")
		}
		if dict[name], err = r.value(depth + 1); err != nil {
			return nil, err
		}
		if !r.take(',') && r.next() != '}' {
			return nil, fmt.Errorf("'}' was expected")
		}
	}
	return dict, nil
}

func (r *literalReader) word() (any, error) {
	end := strings.IndexAny(r.text, " \n\t,:)]}")
	if end < 0 {
		end = len(r.text)
	}
	word := r.text[:end]
	r.text = r.text[end:]
	switch word {
	case "True":
		return true, nil
	case "False":
		return false, nil
	case "None":
		return nil, nil
	}
	n, err := strconv.Atoi(word)
	if err != nil {
		return nil, fmt.Errorf("%.40q is no value", word)
	}
	return n, nil
}
