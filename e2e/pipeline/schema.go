package pipeline

import "encoding/json"

// Expand returns a pipeline as it is queued with the parameters: without
// templates and template expressions, as JSON, every scalar a string. The
// schema that Microsoft publishes takes pipelines in this form.
func Expand(path string, parameters map[string]string) ([]byte, error) {
	tree, err := readTree(path)
	if err != nil {
		return nil, err
	}
	expanded, err := load(path, fromStrings(parameters), 0)
	if err != nil {
		return nil, err
	}
	if declared, ok := tree.get("parameters"); ok {
		expanded = append(mapping{{"parameters", declared}}, expanded...)
	}
	return json.MarshalIndent(plainJSON(expanded), "", "  ")
}

func fromStrings(from map[string]string) mapping {
	m := mapping{}
	for name, value := range from {
		m = append(m, pair{name, value})
	}
	return m
}

// plainJSON returns a tree in the types of package json.
func plainJSON(v any) any {
	switch v := v.(type) {
	case mapping:
		m := map[string]any{}
		for _, p := range v {
			m[p.key] = plainJSON(p.value)
		}
		return m
	case []any:
		list := []any{}
		for _, item := range v {
			list = append(list, plainJSON(item))
		}
		return list
	}
	t, _ := text(v) //nolint:errcheck // all else is a scalar
	return t
}
