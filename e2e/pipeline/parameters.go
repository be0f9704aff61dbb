package pipeline

import (
	"fmt"
	"slices"
	"strings"
)

// bind gives declared parameters the values that were given, or their defaults.
func bind(declared any, given mapping) (mapping, error) {
	list, ok := declared.([]any)
	if declared != nil && !ok {
		return nil, fmt.Errorf("parameters: want a list of name and type")
	}
	out := mapping{}
	for _, item := range list {
		m, ok := item.(mapping)
		if !ok {
			return nil, fmt.Errorf("parameters: %v is no mapping", item)
		}
		f := fields{of: m, path: "parameters"}
		name, kind := f.text("name"), f.text("type")
		f.text("displayName")
		value, err := parameter(kind, f.any("default"), f.list("values"), name, given)
		if err == nil {
			err = f.done()
		}
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", name, err)
		}
		out = append(out, pair{name, value})
	}
	for _, g := range given {
		if _, ok := out.get(g.key); !ok {
			return nil, fmt.Errorf("there is no parameter %s", g.key)
		}
	}
	return out, nil
}

func parameter(kind string, value any, values []any, name string, given mapping) (any, error) {
	if v, ok := given.get(name); ok {
		value = v
	}
	if value == nil {
		return nil, fmt.Errorf("it has no value")
	}
	if len(values) > 0 && !slices.Contains(values, value) {
		return nil, fmt.Errorf("%v is none of %v", value, values)
	}
	_, isText := value.(string)
	b, isBool := boolean(value)
	switch {
	case kind == "string" && isText, kind == "object":
		return value, nil
	case kind == "boolean" && isBool:
		return b, nil
	}
	return nil, fmt.Errorf("%v is no %s", value, kind)
}

func boolean(v any) (value, ok bool) {
	if b, ok := v.(bool); ok {
		return b, true
	}
	s, _ := v.(string)
	return strings.EqualFold(s, "true"), strings.EqualFold(s, "true") || strings.EqualFold(s, "false")
}
