package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/slipway-dev/slipway"
)

// defaultConfig is read where it exists and --config names no other.
const defaultConfig = "slipway.yaml"

// configLimit bounds slipway.yaml, in bytes.
const configLimit = 1 << 20

// config is slipway.yaml.
type config struct {
	Models []configModel `yaml:"models"`
	Relay  configRelay   `yaml:"relay"`
	Notify configNotify  `yaml:"notify"`

	path string
	tree *ast.File
}

// configModel is one model and where it goes: Target is short for one
// environment called production.
type configModel struct {
	Model        string              `yaml:"model"`
	Image        string              `yaml:"image"`
	Target       string              `yaml:"target"`
	Environments []configEnvironment `yaml:"environments"`
	Start        string              `yaml:"start"` // what slipway relay starts, where it is not the relay's
}

// configEnvironment is a named target with its settings.
type configEnvironment struct {
	Name      string            `yaml:"name"`
	Target    string            `yaml:"target"`
	Env       map[string]string `yaml:"env"`
	SecretEnv []string          `yaml:"secretEnv"`
	Requests  *configRequests   `yaml:"requests"`
	Startup   string            `yaml:"startup"`
	After     string            `yaml:"after"`
}

// configRequests is what a replica asks of a cluster.
type configRequests struct {
	CPU    string `yaml:"cpu"`
	Memory string `yaml:"memory"`
}

// readConfig reads the file; without a name the default one, which may be
// missing: then the configuration is empty.
func readConfig(name string) (*config, error) {
	optional := name == ""
	if optional {
		name = defaultConfig
	}
	data, err := os.ReadFile(name)
	switch {
	case optional && errors.Is(err, fs.ErrNotExist):
		return &config{}, nil
	case err != nil:
		return nil, usageError{(&slipway.Error{Op: "reading the configuration", Code: slipway.Invalid, Err: err}).
			WithHint("name an existing file with --config")}
	case len(data) > configLimit:
		return nil, usageError{usagef("%s is larger than %d bytes", name, configLimit).WithHint("name another file with --config")}
	}
	return decodeConfig(name, data)
}

func decodeConfig(name string, data []byte) (*config, error) {
	c := &config{path: name}
	tree, err := parser.ParseBytes(data, 0)
	if err != nil {
		return nil, c.syntax(err)
	}
	c.tree = tree
	if len(bytes.TrimSpace(data)) == 0 {
		return c, nil
	}
	if err := yaml.UnmarshalWithOptions(data, c, yaml.Strict()); err != nil {
		return nil, c.syntax(err)
	}
	return c, c.validate()
}

// syntax turns an error of the YAML library into ours, with its position.
func (c *config) syntax(err error) error {
	var at yaml.Error
	if !errors.As(err, &at) || at.GetToken() == nil {
		return usageError{(&slipway.Error{Op: c.path, Code: slipway.Invalid, Err: err}).WithHint("mend the YAML")}
	}
	position := at.GetToken().Position
	return usageError{usagef("%s:%d:%d: %s", c.path, position.Line, position.Column, at.GetMessage()).
		WithHint("known keys: models, model, image, target, environments, name, env, secretEnv, requests, cpu, memory, startup, after, relay, start, notify, slack, channel, email, from, to, github")}
}

// wrong is an error at a path of the file, "$.models[0].model".
func (c *config) wrong(path, format string, args ...any) error {
	return usageError{usagef("%s: %s", c.position(path), fmt.Sprintf(format, args...)).
		WithHint("mend it there; examples/slipway.yaml is a whole one")}
}

// position returns FILE:LINE:COLUMN of the path, or of the nearest one above
// it that the file has.
func (c *config) position(path string) string {
	for ; path != "$" && path != ""; path = parent(path) {
		at, err := yaml.PathString(path)
		if err != nil || c.tree == nil {
			break
		}
		if node, err := at.FilterFile(c.tree); err == nil {
			position := node.GetToken().Position
			return c.path + ":" + strconv.Itoa(position.Line) + ":" + strconv.Itoa(position.Column)
		}
	}
	return c.path + ":1:1"
}

func parent(path string) string {
	for i := len(path) - 1; i > 0; i-- {
		if path[i] == '.' || path[i] == '[' {
			return path[:i]
		}
	}
	return ""
}

func (c *config) validate() error {
	if err := c.validateStart("$.relay.start", c.Relay.Start); err != nil {
		return err
	}
	for i, m := range c.Models {
		if err := c.validateModel(fmt.Sprintf("$.models[%d]", i), m); err != nil {
			return err
		}
	}
	return nil
}

func (c *config) validateModel(path string, m configModel) error {
	switch {
	case m.Model == "":
		return c.wrong(path, "the model is missing: model: models:/NAME@ALIAS")
	case m.Target != "" && len(m.Environments) > 0:
		return c.wrong(path+".target", "target and environments exclude each other")
	case m.Target == "" && len(m.Environments) == 0:
		return c.wrong(path, "neither target nor environments")
	}
	if _, err := slipway.ParseModelRef(m.Model); err != nil {
		return c.wrong(path+".model", "%v", err)
	}
	if err := c.validateStart(path+".start", m.Start); err != nil {
		return err
	}
	if m.Target != "" {
		return c.validateTarget(path+".target", m.Target)
	}
	return c.validateEnvironments(path, m.Environments)
}

func (c *config) validateEnvironments(path string, environments []configEnvironment) error {
	seen := map[string]bool{}
	for i, e := range environments {
		at := fmt.Sprintf("%s.environments[%d]", path, i)
		switch {
		case e.Name == "":
			return c.wrong(at, "the environment has no name")
		case seen[e.Name]:
			return c.wrong(at+".name", "a second environment called %s", e.Name)
		case e.Target == "":
			return c.wrong(at, "the environment %s has no target", e.Name)
		}
		seen[e.Name] = true
		if err := c.validateEnvironment(at, e); err != nil {
			return err
		}
	}
	for i, e := range environments {
		if e.After != "" && !seen[e.After] {
			return c.wrong(fmt.Sprintf("%s.environments[%d].after", path, i), "there is no environment called %s", e.After)
		}
	}
	if _, err := inOrder(environments); err != nil {
		return c.wrong(path+".environments", "%v", err)
	}
	return nil
}

func (c *config) validateEnvironment(at string, e configEnvironment) error {
	if err := c.validateTarget(at+".target", e.Target); err != nil {
		return err
	}
	here := isLocal(e.Target)
	switch {
	case here && e.Requests != nil:
		return c.wrong(at+".requests", "requests are for kubernetes:// targets; a local one takes what its machine has")
	case here && e.Startup != "":
		return c.wrong(at+".startup", "startup sets the startup probe of a kubernetes:// target; a local one has none")
	}
	for i, entry := range e.SecretEnv {
		if err := checkSecretEnv(entry, here); err != nil {
			return c.wrong(fmt.Sprintf("%s.secretEnv[%d]", at, i), "%v; %s", err, slipway.HintOf(err))
		}
	}
	if err := c.validateStartup(at+".startup", e.Startup); err != nil {
		return err
	}
	return c.validateRequests(at+".requests", e.Requests)
}

func (c *config) validateTarget(path, target string) error {
	ref, err := slipway.ParseTargetRef(target)
	if err == nil {
		err = checkTarget(ref)
	}
	if err != nil {
		return c.wrong(path, "%v", err)
	}
	return nil
}

func isLocal(target string) bool {
	ref, err := slipway.ParseTargetRef(target)
	return err == nil && ref.Scheme == "local"
}

// targetOf returns the target of the entry's environment of that name, or "".
func (m configModel) targetOf(environment string) string {
	for _, e := range m.Environments {
		if e.Name == environment {
			return e.Target
		}
	}
	return ""
}

// inOrder sorts environments so that each comes after the one it names.
// Otherwise it keeps their order.
func inOrder(environments []configEnvironment) ([]configEnvironment, error) {
	var sorted []configEnvironment
	done := map[string]bool{"": true}
	for len(sorted) < len(environments) {
		before := len(sorted)
		for _, e := range environments {
			if !done[e.Name] && done[e.After] {
				sorted, done[e.Name] = append(sorted, e), true
			}
		}
		if len(sorted) == before {
			return nil, errors.New("the environments wait for each other in a circle (after)")
		}
	}
	return sorted, nil
}
