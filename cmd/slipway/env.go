package main

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// environment reads flags from variables: SLIPWAY_ and the flag's name (or the
// name in its var tag), then the names in its env tag (the seed's, MLflow's). An empty variable counts as
// unset, because CI systems pass absent secrets as empty ones.
//
// kong would read the process's environment by itself, at a point where a
// configuration file overrides it; so the tags are taken out of its model.
type environment struct {
	getenv func(string) string
	names  map[*kong.Value][]string
	read   map[string]string // flag → the variable it was read from
}

func newEnvironment(getenv func(string) string) *environment {
	return &environment{getenv: getenv, names: map[*kong.Value][]string{}, read: map[string]string{}}
}

// adopt takes over the variables of all flags and arguments below the node.
func (e *environment) adopt(node *kong.Node) {
	for _, flag := range node.Flags {
		if flag.Name != "help" {
			e.names[flag.Value] = append([]string{orElse(flag.Tag.Get("var"), variable(flag.Name))}, flag.Tag.Envs...)
		}
		flag.Tag.Envs, flag.Envs = nil, nil
	}
	for _, argument := range node.Positional {
		if !argument.Passthrough {
			e.names[argument] = append([]string{variable(argument.Name)}, argument.Tag.Envs...)
		}
		argument.Tag.Envs = nil
	}
	for _, child := range node.Children {
		e.adopt(child)
	}
}

func variable(flag string) string {
	return "SLIPWAY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func (e *environment) lookUp(value *kong.Value) (name, text string) {
	for _, name := range e.names[value] {
		if text := e.getenv(name); text != "" {
			return name, text
		}
	}
	return "", ""
}

// Validate is part of kong.Resolver.
func (e *environment) Validate(*kong.Application) error { return nil }

// Resolve is part of kong.Resolver: kong asks it for the flags that the
// command line does not give.
func (e *environment) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	name, text := e.lookUp(flag.Value)
	if text == "" {
		return nil, nil
	}
	e.read["--"+flag.Name] = name
	return text, nil
}

// blame names the variable behind an error that kong puts down to a flag.
func (e *environment) blame(err error) error {
	for _, word := range strings.FieldsFunc(err.Error(), func(r rune) bool { return r == ' ' || r == ':' }) {
		if name := e.read[word]; name != "" {
			return fmt.Errorf("%w (from %s)", err, name)
		}
	}
	return err
}

// arguments fills the optional arguments that the command line does not give;
// kong asks resolvers for flags only.
func (e *environment) arguments(parsed *kong.Context) error {
	node := parsed.Selected()
	if node == nil {
		return nil
	}
	for _, argument := range node.Positional {
		name, text := e.lookUp(argument)
		if text == "" || !argument.Target.IsZero() {
			continue
		}
		if err := argument.Parse(kong.ScanFromTokens(kong.Token{Type: kong.FlagValueToken, Value: text}), argument.Target); err != nil {
			return usage(fmt.Errorf("%s: %w", name, err), "unset "+name)
		}
	}
	return nil
}

// help adds the variables to a flag's or argument's help.
func (e *environment) help(value *kong.Value) string {
	names := e.names[value]
	if len(names) == 0 {
		return value.Help
	}
	return strings.TrimSuffix(value.Help, ".") + " ($" + strings.Join(names, ", $") + ")."
}
