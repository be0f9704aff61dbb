package pipeline

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// lists are the keys whose lists may take in templates, each of its own kind.
var lists = []string{"variables", "stages", "jobs", "steps"}

// expander resolves template expressions and templates, before anything runs.
type expander struct {
	dir        string // of the file that is expanded
	parameters mapping
	depth      int // of templates in templates
}

// mostTemplates bounds how deep templates take in templates.
const mostTemplates = 20

func (e expander) scope() scope { return scope{values: map[string]any{"parameters": e.parameters}} }

// load reads a file, gives its parameters their values and expands the rest.
func load(path string, given mapping, depth int) (mapping, error) {
	if depth > mostTemplates {
		return nil, fmt.Errorf("%s: templates take each other in without end", path)
	}
	tree, err := readTree(path)
	if err != nil {
		return nil, err
	}
	declared, _ := tree.get("parameters")
	parameters, err := bind(declared, given)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	e := expander{filepath.Dir(path), parameters, depth}
	tree = slices.DeleteFunc(tree, func(p pair) bool { return p.key == "parameters" })
	expanded, err := e.mapping(tree)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return expanded, nil
}

func (e expander) any(v any, kind string) (any, error) {
	switch v := v.(type) {
	case string:
		return e.string(v)
	case mapping:
		return e.mapping(v)
	case []any:
		return e.list(v, kind)
	}
	return v, nil
}

// string resolves the expressions in a string. One that is the whole string
// keeps its type.
func (e expander) string(s string) (any, error) {
	var out strings.Builder
	for rest := s; ; {
		before, after, found := strings.Cut(rest, "${{")
		out.WriteString(before)
		if !found {
			return out.String(), nil
		}
		expression, rest2, closed := strings.Cut(after, "}}")
		if !closed {
			return nil, fmt.Errorf("%q: ${{ without }}", s)
		}
		v, err := evaluate(expression, e.scope())
		if err != nil {
			return nil, err
		}
		if out.Len() == 0 && strings.TrimSpace(rest2) == "" {
			return v, nil
		}
		t, err := text(v)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		out.WriteString(t)
		rest = rest2
	}
}

// branch is where a chain of if, elseif and else stands.
type branch struct{ open, taken bool }

// directive tells whether a key is one of a chain, and whether what it holds is
// taken in.
func (e expander) directive(key string, b *branch) (is, takes bool, err error) {
	inside, ok := strings.CutPrefix(strings.TrimSpace(key), "${{")
	inside, closed := strings.CutSuffix(inside, "}}")
	word, condition, _ := strings.Cut(strings.TrimSpace(inside), " ")
	if !ok || !closed || !slices.Contains([]string{"if", "elseif", "else", "each", "insert"}, word) {
		*b = branch{}
		return false, false, nil
	}
	switch {
	case word == "if":
		*b = branch{open: true}
	case !strings.HasPrefix(word, "else"):
		return false, false, fmt.Errorf("${{ %s }} is not understood", word)
	case !b.open:
		return false, false, fmt.Errorf("${{ %s }} without an if before it", word)
	}
	var v any = true
	if word != "else" {
		v, err = evaluate(condition, e.scope())
	}
	takes = err == nil && truth(v) && !b.taken
	b.taken = b.taken || takes
	b.open = word != "else"
	return true, takes, err
}

func (e expander) mapping(m mapping) (mapping, error) {
	out := mapping{}
	var chain branch
	for _, p := range m {
		is, takes, err := e.directive(p.key, &chain)
		if err != nil {
			return nil, err
		}
		if is {
			inner, ok := p.value.(mapping)
			if !ok {
				return nil, fmt.Errorf("%s: want a mapping", p.key)
			}
			if takes {
				if inner, err = e.mapping(inner); err != nil {
					return nil, err
				}
				out = append(out, inner...)
			}
			continue
		}
		value, err := e.any(p.value, p.key)
		if err != nil {
			return nil, err
		}
		out = append(out, pair{p.key, value})
	}
	return out, nil
}

func (e expander) list(items []any, kind string) ([]any, error) {
	out := []any{}
	var chain branch
	for _, item := range items {
		added, err := e.item(item, kind, &chain)
		if err != nil {
			return nil, err
		}
		out = append(out, added...)
	}
	return out, nil
}

// item expands an item of a list into none, one or many.
func (e expander) item(item any, kind string, chain *branch) ([]any, error) {
	m, ok := item.(mapping)
	if !ok {
		v, err := e.any(item, kind)
		return []any{v}, err
	}
	if len(m) == 1 {
		is, takes, err := e.directive(m[0].key, chain)
		if err != nil || is && !takes {
			return nil, err
		}
		if is {
			inner, ok := m[0].value.([]any)
			if !ok {
				return nil, fmt.Errorf("%s: want a list", m[0].key)
			}
			return e.list(inner, kind)
		}
	}
	*chain = branch{}
	expanded, err := e.mapping(m)
	if err != nil {
		return nil, err
	}
	if file, ok := expanded.get("template"); ok && slices.Contains(lists, kind) {
		return e.template(file, expanded, kind)
	}
	return []any{expanded}, nil
}

// template takes in the list of a template.
func (e expander) template(file any, item mapping, kind string) ([]any, error) {
	name, ok := file.(string)
	if !ok || strings.Contains(name, "@") {
		return nil, fmt.Errorf("template %v: want a file of this repository", file)
	}
	given, _ := item.get("parameters")
	parameters, ok := given.(mapping)
	if given != nil && !ok || len(item) > 2 || len(item) == 2 && given == nil {
		return nil, fmt.Errorf("template %s: want template and parameters alone", name)
	}
	tree, err := load(filepath.Join(e.dir, name), parameters, e.depth+1)
	if err != nil {
		return nil, err
	}
	list, ok := []any(nil), false
	if len(tree) == 1 && tree[0].key == kind {
		list, ok = tree[0].value.([]any)
	}
	if !ok {
		return nil, fmt.Errorf("template %s: want a list of %s alone", name, kind)
	}
	return list, nil
}
