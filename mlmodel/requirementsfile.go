package mlmodel

import (
	"errors"
	"io/fs"
	"path"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Bounds on what one model's files may hold together.
const (
	maxRequirements     = 4096
	maxRequirementFiles = 16
)

// requirementsReader gathers what a requirements file and the files it names
// ask for. Files outside the model directory are not read.
type requirementsReader struct {
	dir         string
	files       int
	constraints bool // what is read are constraints
	needs       Needs
}

// read takes the lines of the file called name.
func (r *requirementsReader) read(name string, lines []string, depth int) error {
	op := "reading " + name
	if r.files++; r.files > maxRequirementFiles || depth > maxRequirementFiles {
		return slipway.Errorf(slipway.Exhausted, op, "the model's requirements name more than %d files", maxRequirementFiles)
	}
	for _, line := range lines {
		if err := r.line(op, name, line, depth); err != nil {
			return err
		}
		if len(r.needs.Requirements)+len(r.needs.Constraints)+len(r.needs.Indexes) > maxRequirements {
			return slipway.Errorf(slipway.Exhausted, op, "it holds more than %d requirements", maxRequirements)
		}
	}
	return nil
}

func (r *requirementsReader) line(op, name, line string, depth int) error {
	if strings.HasPrefix(line, "-") {
		return r.option(op, name, line, depth)
	}
	requirement, err := ParseRequirement(line)
	if err != nil {
		return under(op, err)
	}
	if r.constraints {
		r.needs.Constraints = append(r.needs.Constraints, requirement)
	} else {
		r.needs.Requirements = append(r.needs.Requirements, requirement)
	}
	return nil
}

// under gives an error of this package the name of the file that was read.
func under(op string, err error) error {
	var e *slipway.Error
	if !errors.As(err, &e) {
		return err
	}
	c := *e
	c.Op = op
	return &c
}

// option takes a line that is an option: --index-url URL, -r FILE, …
func (r *requirementsReader) option(op, name, line string, depth int) error {
	flag, value := splitOption(line)
	switch flag {
	case "-r", "--requirement":
		return r.include(op, name, value, depth, r.constraints)
	case "-c", "--constraint":
		return r.include(op, name, value, depth, true)
	case "-i", "--index-url", "--pypi-url", "--extra-index-url", "-f", "--find-links":
		r.needs.Indexes = append(r.needs.Indexes, withoutUser(value))
		return nil
	case "--pre":
		r.needs.Prerelease = true
		return nil
	case "--prefer-binary", "--only-binary", "--require-hashes", "--use-feature", "--trusted-host":
		return nil // what is done anyway, or what must not be (a host whose certificate counts for nothing)
	case "-e", "--editable":
		return slipway.Errorf(slipway.Invalid, op, "%.80q is installed in place (-e), which an image cannot have", withoutUser(value)).
			WithHint("log the code with the model (code_paths), or put its wheel where UV_FIND_LINKS has it and require name==version")
	}
	return slipway.Errorf(slipway.Invalid, op, "the option %.40q is not supported", flag).WithHint("take the line out of the model's %s", name)
}

func splitOption(line string) (flag, value string) {
	end := strings.IndexAny(line, "= \t")
	switch {
	case end >= 0:
		return line[:end], strings.Trim(strings.TrimSpace(line[end+1:]), `"'`)
	case !strings.HasPrefix(line, "--") && len(line) > 2: // -rfile
		return line[:2], line[2:]
	}
	return line, ""
}

// include reads a file that a line names, relative to the file it stands in.
func (r *requirementsReader) include(op, name, value string, depth int, constraints bool) error {
	file := path.Join(path.Dir(name), value)
	if value == "" || path.IsAbs(value) || strings.Contains(value, "://") {
		return slipway.Errorf(slipway.Invalid, op, "it names the file %.80q, which is not in the model directory", withoutUser(value)).
			WithHint("write its lines into the model's %s", name)
	}
	text, err := readFile(r.dir, file, maxEnvironment)
	if errors.Is(err, fs.ErrNotExist) {
		return slipway.Errorf(slipway.NotFound, op, "it names the file %.80q, which the model lacks", value).
			WithHint("write its lines into the model's %s", name)
	}
	if err != nil {
		return err
	}
	before := r.constraints
	r.constraints = constraints
	err = r.read(file, logicalLines(string(text)), depth+1)
	r.constraints = before
	return err
}

// ReadConstraints reads a file of constraints below dir, and the files it
// names, as pip's -c does.
func ReadConstraints(dir, name string) ([]Requirement, error) {
	r := requirementsReader{dir: dir}
	text, err := readFile(dir, name, maxEnvironment)
	if err == nil {
		r.constraints = true
		err = r.read(name, logicalLines(string(text)), 0)
	}
	return r.needs.Constraints, err
}
