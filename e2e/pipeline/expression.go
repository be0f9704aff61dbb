package pipeline

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// lookup is an object whose members are known when they are asked for.
type lookup func(name string) (any, error)

// scope is what an expression may name. Values are nil, bool, float64, string,
// mapping, []any and lookup.
type scope struct {
	values    map[string]any                       // by name in lower case
	functions map[string]func(...any) (any, error) // beside those of every expression
}

// node is a part of an expression that has been read.
type node func(scope) (any, error)

// evaluate reads an expression and returns its value.
func evaluate(text string, s scope) (any, error) {
	p := &reader{rest: text}
	n, err := p.expression()
	if err == nil && p.next() != "" {
		err = fmt.Errorf("%q is left over", p.next())
	}
	if err != nil {
		return nil, fmt.Errorf("expression %s: %w", strings.TrimSpace(text), err)
	}
	v, err := n(s)
	if err != nil {
		return nil, fmt.Errorf("expression %s: %w", strings.TrimSpace(text), err)
	}
	return v, nil
}

// tokens of an expression: strings, names, numbers, and what is between them.
var tokens = regexp.MustCompile(`^\s*('(?:[^']|'')*'|[A-Za-z_][A-Za-z0-9_]*|-?[0-9]+(?:\.[0-9]+)?|[().,\[\]])`)

// reader reads an expression from left to right.
type reader struct{ rest string }

// next is the next token; empty at the end, or where none can be read.
func (p *reader) next() string {
	if m := tokens.FindStringSubmatch(p.rest); m != nil {
		return m[1]
	}
	return strings.TrimSpace(p.rest)
}

func (p *reader) take() string {
	m := tokens.FindStringSubmatchIndex(p.rest)
	if m == nil {
		return ""
	}
	token := p.rest[m[2]:m[3]]
	p.rest = p.rest[m[1]:]
	return token
}

func (p *reader) want(token string) error {
	if got := p.take(); got != token {
		return fmt.Errorf("want %q, got %q", token, got+p.rest)
	}
	return nil
}

func (p *reader) expression() (node, error) {
	n, err := p.primary()
	for err == nil {
		switch p.next() {
		case ".":
			p.take()
			n, err = member(n, constant(p.take())), nil
		case "[":
			n, err = p.index(n)
		default:
			return n, nil
		}
	}
	return nil, err
}

func (p *reader) index(of node) (node, error) {
	p.take()
	key, err := p.expression()
	if err != nil {
		return nil, err
	}
	return member(of, key), p.want("]")
}

func constant(v any) node { return func(scope) (any, error) { return v, nil } }

func (p *reader) primary() (node, error) {
	token := p.take()
	switch {
	case token == "" || strings.Contains("().,[]", token):
		return nil, fmt.Errorf("%q is not understood", token+p.rest)
	case token[0] == '\'':
		return constant(strings.ReplaceAll(token[1:len(token)-1], "''", "'")), nil
	case token[0] == '-' || token[0] >= '0' && token[0] <= '9':
		f, err := strconv.ParseFloat(token, 64)
		return constant(f), err
	case p.next() == "(":
		return p.call(strings.ToLower(token))
	case strings.EqualFold(token, "true"), strings.EqualFold(token, "false"):
		return constant(strings.EqualFold(token, "true")), nil
	}
	return func(s scope) (any, error) {
		v, ok := s.values[strings.ToLower(token)]
		if !ok {
			return nil, fmt.Errorf("there is no %s here", token)
		}
		return v, nil
	}, nil
}

func (p *reader) call(name string) (node, error) {
	p.take()
	var args []node
	for p.next() != ")" {
		if len(args) > 0 {
			if err := p.want(","); err != nil {
				return nil, err
			}
		}
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		args = append(args, arg)
	}
	p.take()
	return func(s scope) (any, error) { return apply(s, name, args) }, nil
}

// member is what an object has under a name, whatever its case; nil: nothing.
func member(of, key node) node {
	return func(s scope) (any, error) {
		object, err := of(s)
		if err != nil {
			return nil, err
		}
		k, err := key(s)
		if err != nil {
			return nil, err
		}
		name, err := text(k)
		if err != nil {
			return nil, err
		}
		switch object := object.(type) {
		case nil:
			return nil, nil
		case lookup:
			return object(name)
		case mapping:
			for _, p := range object {
				if strings.EqualFold(p.key, name) {
					return p.value, nil
				}
			}
			return nil, nil
		}
		return nil, fmt.Errorf("%v has no %s", object, name)
	}
}
