package pipeline

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Variable is what a variable group holds under a name.
type Variable struct {
	Value  string
	Secret bool // it is handed on only to steps that name it, and is masked in the log
}

// named is a variable with its name as it was written.
type named struct {
	name string
	Variable
}

// variables by their names in lower case.
type variables map[string]named

func (v variables) set(name string, value Variable) { v[strings.ToLower(name)] = named{name, value} }

// add sets what the lines of one scope say; a narrower scope comes later and
// wins.
func (v variables) add(lines []variableLine, groups map[string]map[string]Variable) error {
	for _, line := range lines {
		if line.group == "" {
			v.set(line.name, Variable{Value: line.value})
			continue
		}
		group, ok := groups[line.group]
		if !ok {
			return fmt.Errorf("there is no variable group %s", line.group)
		}
		for name, value := range group {
			v.set(name, value)
		}
	}
	return nil
}

var (
	macro   = regexp.MustCompile(`\$\(([A-Za-z0-9_.]+)\)`)
	runtime = regexp.MustCompile(`(?s)^\s*\$\[(.*)\]\s*$`)
)

// mostExpansions bounds how often a value is expanded that names others.
const mostExpansions = 10

// expand puts the values of variables into a text. $(NAME) of a variable that
// does not exist stays as it is.
func (v variables) expand(text string) string {
	for range mostExpansions {
		expanded := macro.ReplaceAllStringFunc(text, func(m string) string {
			if found, ok := v[strings.ToLower(m[2:len(m)-1])]; ok {
				return found.Value
			}
			return m
		})
		if expanded == text {
			break
		}
		text = expanded
	}
	return text
}

// resolve evaluates the variables whose value is an expression, $[ … ].
func (v variables) resolve(s scope) error {
	for key, variable := range v {
		m := runtime.FindStringSubmatch(variable.Value)
		if m == nil {
			continue
		}
		value, err := evaluate(m[1], s)
		if err != nil {
			return fmt.Errorf("variable %s: %w", variable.name, err)
		}
		if variable.Value, err = text(value); err != nil {
			return fmt.Errorf("variable %s: %w", variable.name, err)
		}
		v[key] = variable
	}
	return nil
}

// member is the object `variables` of an expression.
func (v variables) member(name string) (any, error) {
	if found, ok := v[strings.ToLower(name)]; ok {
		return v.expand(found.Value), nil
	}
	return nil, nil
}

// environment is what every script finds: all but secrets, under their names in
// capitals.
func (v variables) environment() map[string]string {
	env := map[string]string{}
	for _, variable := range v {
		if !variable.Secret {
			env[strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(variable.name))] = v.expand(variable.Value)
		}
	}
	return env
}

// secrets are the values that no log may hold, the longest first.
func (v variables) secrets() []string {
	var all []string
	for _, variable := range v {
		if variable.Secret && variable.Value != "" {
			all = append(all, variable.Value)
		}
	}
	slices.SortFunc(all, func(a, b string) int { return len(b) - len(a) })
	return all
}
