package pipeline

import (
	"errors"
	"fmt"
)

// fields reads a mapping whose every key must be known.
type fields struct {
	of   mapping
	path string
	read []string
	errs []error
}

func (f *fields) any(key string) any {
	f.read = append(f.read, key)
	v, _ := f.of.get(key)
	return v
}

// text is a scalar; empty where there is none.
func (f *fields) text(key string) string {
	t, err := text(f.any(key))
	if err != nil {
		f.errs = append(f.errs, fmt.Errorf("%s: %w", key, err))
	}
	return t
}

// texts is a string or a list of strings; nil where there is none.
func (f *fields) texts(key string) []string {
	v := f.any(key)
	if v == nil {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	out := []string{}
	for _, item := range list {
		t, err := text(item)
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("%s: %w", key, err))
		}
		out = append(out, t)
	}
	return out
}

func (f *fields) list(key string) []any {
	v := f.any(key)
	list, ok := v.([]any)
	if v != nil && !ok {
		f.errs = append(f.errs, fmt.Errorf("%s: want a list", key))
	}
	return list
}

func (f *fields) mapping(key string) mapping {
	v := f.any(key)
	m, ok := v.(mapping)
	if v != nil && !ok {
		f.errs = append(f.errs, fmt.Errorf("%s: want a mapping", key))
	}
	return m
}

// texted is a mapping of scalars.
func (f *fields) texted(key string) map[string]string {
	out := map[string]string{}
	for _, p := range f.mapping(key) {
		t, err := text(p.value)
		if err != nil {
			f.errs = append(f.errs, fmt.Errorf("%s: %s: %w", key, p.key, err))
		}
		out[p.key] = t
	}
	return out
}

// done returns what was wrong, unknown keys too.
func (f *fields) done() error {
	known := map[string]bool{}
	for _, key := range f.read {
		known[key] = true
	}
	for _, p := range f.of {
		if !known[p.key] {
			f.errs = append(f.errs, fmt.Errorf("%s is not understood", p.key))
		}
	}
	if err := errors.Join(f.errs...); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	return nil
}
