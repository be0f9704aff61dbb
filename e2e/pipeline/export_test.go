package pipeline

import "strings"

// Evaluate evaluates an expression that may name the objects.
func Evaluate(text string, names map[string]any) (any, error) {
	s := scope{values: map[string]any{}}
	for name, value := range names {
		s.values[strings.ToLower(name)] = plain(value)
	}
	return evaluate(text, s)
}

func plain(v any) any {
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	out := mapping{}
	for key, value := range m {
		out = append(out, pair{key, plain(value)})
	}
	return out
}

// ParseCommand returns the parts of a logging command.
func ParseCommand(line string) (name string, properties map[string]string, data string, ok bool) {
	c, ok := parseCommand(line)
	return c.name, c.properties, c.data, ok
}

// Read reads a pipeline as a run that is queued without parameters.
func Read(path string) error {
	_, err := read(path, nil)
	return err
}
