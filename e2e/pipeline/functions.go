package pipeline

import (
	"fmt"
	"strconv"
	"strings"
)

// apply calls a function. Arguments are evaluated only as far as it needs them.
func apply(s scope, name string, args []node) (any, error) {
	if f, ok := s.functions[name]; ok {
		values, err := all(s, args)
		if err != nil {
			return nil, err
		}
		return f(values...)
	}
	switch {
	case name == "and" && len(args) > 1:
		return until(s, args, false)
	case name == "or" && len(args) > 1:
		return until(s, args, true)
	}
	values, err := all(s, args)
	if err != nil {
		return nil, err
	}
	switch {
	case name == "not" && len(values) == 1:
		return !truth(values[0]), nil
	case name == "eq" && len(values) == 2:
		return equal(values[0], values[1])
	case name == "ne" && len(values) == 2:
		same, err := equal(values[0], values[1])
		return !same, err
	case name == "in" && len(values) > 1:
		return among(values[0], values[1:])
	case name == "lower" && len(values) == 1:
		t, err := text(values[0])
		return strings.ToLower(t), err
	case name == "replace" && len(values) == 3:
		return replace(values)
	case name == "coalesce" && len(values) > 1:
		return coalesce(values), nil
	}
	return nil, fmt.Errorf("there is no function %s of %d", name, len(args))
}

func all(s scope, args []node) ([]any, error) {
	var values []any
	for _, arg := range args {
		v, err := arg(s)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

// until evaluates arguments until one is as wanted, and reports which it is in
// the end.
func until(s scope, args []node, wanted bool) (any, error) {
	for _, arg := range args {
		v, err := arg(s)
		if err != nil {
			return nil, err
		}
		if truth(v) == wanted {
			return wanted, nil
		}
	}
	return !wanted, nil
}

func among(left any, rights []any) (bool, error) {
	for _, right := range rights {
		if same, err := equal(left, right); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

func replace(values []any) (any, error) {
	var texts [3]string
	for i, v := range values {
		var err error
		if texts[i], err = text(v); err != nil {
			return nil, err
		}
	}
	return strings.ReplaceAll(texts[0], texts[1], texts[2]), nil
}

func coalesce(values []any) any {
	for _, v := range values {
		if v != nil && v != "" {
			return v
		}
	}
	return nil
}

// truth casts to boolean.
func truth(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case float64:
		return v != 0
	case string:
		return v != ""
	}
	return true
}

// text casts to a string.
func text(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case bool:
		if v {
			return "True", nil
		}
		return "False", nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil
	case string:
		return v, nil
	}
	return "", fmt.Errorf("%v is no text", v)
}

// equal casts the right value to the type of the left one and compares; strings
// whatever their case. What cannot be cast is not equal.
func equal(left, right any) (bool, error) {
	switch l := left.(type) {
	case nil:
		return right == nil || right == "", nil
	case bool:
		return l == truth(right), nil
	case float64:
		r, ok := number(right)
		return ok && l == r, nil
	case string:
		r, err := text(right)
		return err == nil && strings.EqualFold(l, r), nil //nolint:nilerr // what is no text is not equal
	}
	return false, fmt.Errorf("%v cannot be compared", left)
}

func number(v any) (float64, bool) {
	switch v := v.(type) {
	case nil:
		return 0, true
	case float64:
		return v, true
	case bool:
		if v {
			return 1, true
		}
		return 0, true
	case string:
		if v == "" {
			return 0, true
		}
		f, err := strconv.ParseFloat(v, 64)
		return f, err == nil
	}
	return 0, false
}
