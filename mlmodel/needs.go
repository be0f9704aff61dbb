package mlmodel

import (
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Needs is what a model's environment files ask for, whichever of them it has.
type Needs struct {
	Python       string        // "3.11"
	From         string        // the file that says so: "requirements.txt"
	Requirements []Requirement // in the file's order
	Constraints  []Requirement // of the files that -c lines name
	Indexes      []string      // package indexes and wheel folders the files name, without user and password; nothing here follows them
	Prerelease   bool          // --pre: pre-releases may be taken
}

// Needs reads the requirements of requirements.txt; where that is missing,
// those of python_env.yaml; else the pip part of conda.yaml, which may then
// name no other conda package. Code NotFound: the model has none of them;
// Invalid: they ask for what cannot be had from a package index.
func (m *Model) Needs() (Needs, error) {
	version, err := m.pythonVersion()
	if err != nil {
		return Needs{}, err
	}
	r := requirementsReader{dir: m.Dir}
	from, lines, err := m.requirementLines()
	if err == nil {
		err = r.read(from, lines, 0)
	}
	if err != nil {
		return Needs{}, err
	}
	r.needs.Python, r.needs.From = version, from
	return r.needs, nil
}

// requirementLines returns the lines of the first file that has some.
func (m *Model) requirementLines() (from string, lines []string, err error) {
	text, err := readOptional(m.Dir, "requirements.txt", maxEnvironment)
	switch {
	case err != nil:
		return "", nil, err
	case text != nil:
		return "requirements.txt", logicalLines(string(text)), nil
	case m.Python.Dependencies != nil:
		return m.Python.files.virtualenv, m.Python.Dependencies, nil
	case m.Python.Conda != "":
		conda, err := parseConda(m.Python.files.conda, m.Python.Conda)
		if err == nil {
			err = conda.refuseOthers()
		}
		return m.Python.files.conda, conda.pip, err
	}
	return "", nil, slipway.Errorf(slipway.NotFound, "reading the model's requirements", "the model has no requirements.txt, python_env.yaml or conda.yaml").
		WithHint("log it again with pip_requirements=[…], or add them: mlflow models update-pip-requirements -m MODEL add …")
}

var minorVersion = regexp.MustCompile(`^(3\.[0-9]{1,2})(\.[0-9]+)*$`)

// pythonVersion returns the X.Y of what python_env.yaml, MLmodel or conda.yaml
// says.
func (m *Model) pythonVersion() (string, error) {
	const op = "reading the model's Python version"
	version := m.Python.Version
	if version == "" && m.Python.Conda != "" {
		conda, err := parseConda(m.Python.files.conda, m.Python.Conda)
		if err != nil {
			return "", err
		}
		version = conda.python
	}
	if version == "" {
		return "", slipway.Errorf(slipway.NotFound, op, "neither MLmodel nor python_env.yaml nor conda.yaml says it").
			WithHint("add to the model a python_env.yaml with the line: python: 3.11")
	}
	parts := minorVersion.FindStringSubmatch(version)
	if parts == nil {
		return "", slipway.Errorf(slipway.Invalid, op, "%.40q is no version of Python 3", version).
			WithHint("set it in the model's python_env.yaml: python: 3.11")
	}
	return parts[1], nil
}

// logicalLines returns the lines of a requirements file as pip reads them: one
// that ends in a backslash goes on in the next, and comments are dropped.
func logicalLines(text string) []string {
	var list []string
	var open strings.Builder
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		line = strings.TrimRight(line, "\r\n")
		comment := strings.HasPrefix(strings.TrimSpace(line), "#")
		if body, goesOn := strings.CutSuffix(line, `\`); goesOn && !comment {
			open.WriteString(body)
			continue
		}
		list = appendLine(list, open.String()+line)
		open.Reset()
	}
	return appendLine(list, open.String())
}

var trailingComment = regexp.MustCompile(`(^|\s)#.*$`)

func appendLine(list []string, line string) []string {
	if line = strings.TrimSpace(trailingComment.ReplaceAllString(line, "")); line != "" {
		list = append(list, line)
	}
	return list
}
