package mlmodel

import (
	"strings"
)

// Python is the environment MLflow recorded for the model.
type Python struct {
	Version           string   // "3.11.7"; "" when nothing says
	Requirements      []string // requirements.txt, one requirement a line, without comments; Needs reads them
	Dependencies      []string // python_env.yaml: "-r requirements.txt"; nil when it has none
	BuildDependencies []string // python_env.yaml: pip, setuptools, wheel
	Conda             string   // conda.yaml as it is
	files             environmentFiles
}

// environmentFiles are relative paths that MLmodel gives; the defaults are
// MLflow's.
type environmentFiles struct{ conda, virtualenv string }

// environmentFiles reads python_function.env: a mapping since MLflow 2, a
// single conda file's name before.
func (k *keys) environmentFiles() environmentFiles {
	files := environmentFiles{conda: "conda.yaml", virtualenv: "python_env.yaml"}
	switch env := k.values["env"].(type) {
	case nil:
	case string:
		files.conda = env
	case map[string]any:
		in := k.inside("flavors.python_function.env", env)
		files.conda, files.virtualenv = or(in.text("conda"), files.conda), or(in.text("virtualenv"), files.virtualenv)
		if in.err != nil {
			k.err = in.err
		}
	default:
		k.wrong("env", "a mapping")
	}
	return files
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// readEnvironment reads the environment's files; each may be missing.
func (m *Model) readEnvironment() error {
	if err := m.readPythonEnv(); err != nil {
		return err
	}
	requirements, err := readOptional(m.Dir, "requirements.txt", maxEnvironment)
	if err != nil {
		return err
	}
	m.Python.Requirements = logicalLines(string(requirements))
	conda, err := readOptional(m.Dir, m.Python.files.conda, maxEnvironment)
	if err != nil {
		return err
	}
	m.Python.Conda = string(conda)
	names, err := readOptional(m.Dir, "environment_variables.txt", maxEnvironment)
	if err != nil {
		return err
	}
	m.addEnvVars(lines(names))
	return nil
}

func (m *Model) readPythonEnv() error {
	data, err := readOptional(m.Dir, m.Python.files.virtualenv, maxEnvironment)
	if err != nil || len(data) == 0 {
		return err
	}
	op := "reading " + m.Python.files.virtualenv
	top, err := parseYAML(op, data)
	if err != nil {
		return err
	}
	k := keys{op: op, values: top}
	m.Python.Version = or(k.text("python"), m.Python.Version)
	m.Python.BuildDependencies = k.texts("build_dependencies")
	m.Python.Dependencies = k.texts("dependencies")
	return k.err
}

// addEnvVars adds the names that MLflow saw while it predicted the example.
func (m *Model) addEnvVars(names []string) {
	known := map[string]bool{}
	for _, name := range m.EnvVars {
		known[name] = true
	}
	for _, name := range names {
		if !known[name] {
			m.EnvVars = append(m.EnvVars, name)
			known[name] = true
		}
	}
}

// lines returns the lines that are neither empty nor comments. MLflow writes
// these files without a final newline.
func lines(data []byte) []string {
	var list []string
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "#") {
			list = append(list, line)
		}
	}
	return list
}
