package mlmodel

import (
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
)

// condaFile is what a conda.yaml asks for.
type condaFile struct {
	name   string
	python string   // "3.11.7"; "" when it names no version, or a range
	pip    []string // lines of a requirements file
	others []string // conda packages besides python and pip
}

var condaPackage = regexp.MustCompile(`^(?:[A-Za-z0-9._/-]+::)?([A-Za-z0-9._-]+?)\s*(?:[=<>!~\s].*)?$`)

func parseConda(name, text string) (condaFile, error) {
	op := "reading " + name
	c := condaFile{name: name}
	top, err := parseYAML(op, []byte(text))
	if err != nil {
		return c, err
	}
	k := keys{op: op, values: top}
	list, ok := top["dependencies"].([]any)
	if !ok && top["dependencies"] != nil {
		k.wrong("dependencies", "a list")
	}
	for _, item := range list {
		switch item := item.(type) {
		case string:
			c.add(item)
		case map[string]any:
			in := k.inside("dependencies", item)
			c.pip = append(c.pip, in.texts("pip")...)
			if k.err == nil {
				k.err = in.err
			}
		default:
			k.wrong("dependencies", "a list of texts")
		}
	}
	return c, k.err
}

var condaPython = regexp.MustCompile(`^python\s*==?\s*([0-9]+(?:\.[0-9]+)*)(?:\.\*|\*|=.*)?$`)

func (c *condaFile) add(item string) {
	item = strings.TrimSpace(item)
	parts := condaPackage.FindStringSubmatch(item)
	switch {
	case parts == nil:
		c.others = append(c.others, item)
	case parts[1] == "python":
		if version := condaPython.FindStringSubmatch(withoutChannel(item)); version != nil {
			c.python = version[1]
		}
	case parts[1] != "pip":
		c.others = append(c.others, parts[1])
	}
}

// withoutChannel drops the channel of "conda-forge::python=3.11".
func withoutChannel(item string) string {
	if i := strings.LastIndex(item, "::"); i >= 0 {
		return item[i+2:]
	}
	return item
}

// refuseOthers refuses packages that only conda has: nothing says what they
// are called elsewhere, and whether they are there.
func (c *condaFile) refuseOthers() error {
	if len(c.others) == 0 {
		return nil
	}
	return slipway.Errorf(slipway.Invalid, "reading "+c.name, "%.200q come from conda, not from a Python package index", c.others).
		WithHint("add a requirements.txt to the model that names what it needs from PyPI: log it with pip_requirements=[…]")
}
