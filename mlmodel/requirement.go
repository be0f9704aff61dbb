package mlmodel

import (
	"regexp"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Requirement is a package that a model needs, in the parts of pip's syntax:
// mlflow[extras]>=3,<4; python_version > "3.8". Every part is checked to hold
// nothing but what that syntax has, so that a line of String can be handed to
// an installer.
type Requirement struct {
	Name      string   // as written: Scikit_Learn
	Extras    string   // "[extras]" or ""
	Specifier string   // ">=3,<4" or ""
	Marker    string   // `python_version > "3.8"` or ""
	Hashes    []string // "sha256:…": what an installer may take; none: anything
}

// String returns the requirement in pip's syntax, on one line.
func (r Requirement) String() string {
	text := r.Name + r.Extras + r.Specifier
	if r.Marker != "" {
		text += " ; " + r.Marker
	}
	for _, h := range r.Hashes {
		text += " --hash=" + h
	}
	return text
}

// Key returns the name as packages are compared by: scikit-learn is
// Scikit_Learn.
func (r Requirement) Key() string { return PackageKey(r.Name) }

var separators = regexp.MustCompile(`[-_.]+`)

// PackageKey returns a package's name as packages are compared by.
func PackageKey(name string) string {
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

const clause = `(?:===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9][A-Za-z0-9.*+!_-]*`

var (
	requirementForm = regexp.MustCompile(`^([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(\[[A-Za-z0-9._,\s-]*\])?\s*([^;]*)(?:;(.*))?$`)
	specifierForm   = regexp.MustCompile(`^(?:` + clause + `(?:\s*,\s*` + clause + `)*)?$`)
	markerForm      = regexp.MustCompile(`^[A-Za-z0-9.*+!_<>=~,() \t"'-]*$`)
	hashForm        = regexp.MustCompile(`^(sha256|sha384|sha512):[0-9a-f]{64,128}$`)
	hashOption      = regexp.MustCompile(`\s--hash[=\s]\s*(\S+)`)
	spaces          = regexp.MustCompile(`\s+`)
)

// ParseRequirement reads one requirement. URLs, version control, paths and
// options are refused with what to do instead: the machine that builds must
// not be sent elsewhere by a model.
func ParseRequirement(text string) (Requirement, error) {
	const op = "reading a requirement"
	var r Requirement
	rest := hashOption.ReplaceAllStringFunc(text, func(option string) string {
		r.Hashes = append(r.Hashes, hashOption.FindStringSubmatch(option)[1])
		return ""
	})
	for _, h := range r.Hashes {
		if !hashForm.MatchString(h) {
			return Requirement{}, slipway.Errorf(slipway.Invalid, op, "%.80q is no hash", h)
		}
	}
	rest = strings.TrimSpace(rest)
	if err := refuseElsewhere(op, rest); err != nil {
		return Requirement{}, err
	}
	parts := requirementForm.FindStringSubmatch(rest)
	if parts == nil {
		return Requirement{}, notRequirement(op, text)
	}
	r.Name, r.Extras = parts[1], spaces.ReplaceAllString(parts[2], "")
	specifier := strings.TrimSpace(parts[3])
	if strings.HasPrefix(specifier, "(") && strings.HasSuffix(specifier, ")") { // the form of old metadata
		specifier = strings.TrimSpace(specifier[1 : len(specifier)-1])
	}
	r.Specifier, r.Marker = spaces.ReplaceAllString(specifier, ""), strings.TrimSpace(parts[4])
	if !specifierForm.MatchString(specifier) || !markerForm.MatchString(r.Marker) {
		return Requirement{}, notRequirement(op, text)
	}
	return r, nil
}

func notRequirement(op, text string) error {
	return slipway.Errorf(slipway.Invalid, op, "%.120q is no requirement", text).
		WithHint("write it as pip does: name==1.2.3")
}

// refuseElsewhere refuses what would be fetched from anywhere but the package
// index.
func refuseElsewhere(op, text string) error {
	switch {
	case strings.HasPrefix(text, "-"):
		return slipway.Errorf(slipway.Invalid, op, "%.60q is an option, not a requirement", strings.Fields(text)[0])
	case strings.Contains(text, "git+"), strings.Contains(text, "hg+"), strings.Contains(text, "svn+"), strings.Contains(text, "bzr+"):
		return slipway.Errorf(slipway.Invalid, op, "%.80q comes from version control", withoutUser(text)).
			WithHint("build a wheel of it (pip wheel), put it where UV_FIND_LINKS or your index has it, and require name==version")
	case strings.Contains(text, "://"), strings.Contains(text, "@"):
		return slipway.Errorf(slipway.Invalid, op, "%.80q is fetched from an address of its own", withoutUser(text)).
			WithHint("put the wheel where UV_FIND_LINKS or your index has it, and require name==version")
	case isPath(text):
		return slipway.Errorf(slipway.Invalid, op, "%.80q is a path", text).
			WithHint("log the code with the model (code_paths), or put its wheel where UV_FIND_LINKS has it and require name==version")
	}
	return nil
}

func isPath(text string) bool {
	text, _, _ = strings.Cut(text, ";")
	text = strings.TrimSpace(text)
	lower := strings.ToLower(text)
	for _, end := range []string{".whl", ".zip", ".tar.gz", ".tgz"} {
		if strings.HasSuffix(lower, end) {
			return true
		}
	}
	return strings.HasPrefix(text, ".") || strings.ContainsAny(text, `/\`)
}

var userInfo = regexp.MustCompile(`://[^/\s]*@`)

// withoutUser takes user and password out of the URLs in a text.
func withoutUser(text string) string { return userInfo.ReplaceAllString(text, "://") }
