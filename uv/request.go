package uv

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Request asks for a lock.
type Request struct {
	Requirements []string // pip's syntax, one each
	Constraints  []string // pip's syntax: versions for what is needed anyway
	Settings     []string // UV_PRERELEASE=allow and the like: what decides versions besides; Client.Request fills it
	Python       string   // "3.11"
	Platform     string   // "linux/amd64" or "linux/arm64": of the image, whatever machine builds
	Upgrade      bool     // resolve again, even where a lock is kept
}

// platforms are the names that uv knows ours by. glibc 2.28 is what every base
// image with a supported Python has at least.
var platforms = map[string]string{"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}

// keyFormat changes when the same request would be resolved differently, or give
// other files.
const keyFormat = "slipway lock request 2"

// Key names what is asked for: hex, the same for the same requirements,
// constraints and settings in any order. It holds no address of an index.
func (r Request) Key() string {
	hash := sha256.New()
	for _, part := range [][]string{{keyFormat, r.Python, r.Platform}, r.Requirements, r.Constraints, r.Settings} {
		list := slices.Clone(part)
		if len(part) > 0 && part[0] != keyFormat {
			slices.Sort(list)
			list = slices.Compact(list)
		}
		hash.Write([]byte(strings.Join(list, "\n") + "\n\n"))
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

// Request turns a model's needs into a request, with the constraint files and
// settings of the environment. Code Unauthorized: the model names a package
// index that is not configured here.
func (c *Client) Request(needs mlmodel.Needs, requirements []mlmodel.Requirement, platform string) (Request, error) {
	if err := c.checkIndexes(needs); err != nil {
		return Request{}, err
	}
	r := Request{Python: needs.Python, Platform: platform, Settings: c.settings(needs.Prerelease)}
	for _, q := range requirements {
		r.Requirements = append(r.Requirements, q.String())
	}
	for _, q := range needs.Constraints {
		r.Constraints = append(r.Constraints, q.String())
	}
	for _, file := range strings.Fields(c.env.vars["UV_CONSTRAINT"]) {
		lines, err := constraintFile(file)
		if err != nil {
			return Request{}, err
		}
		r.Constraints = append(r.Constraints, lines...)
	}
	return r, nil
}

// checkIndexes refuses indexes that a model names and the user does not. To
// follow them would let a model choose where packages come from; to pass over
// them silently would take packages of the same names from elsewhere.
func (c *Client) checkIndexes(needs mlmodel.Needs) error {
	known := c.env.indexes()
	for _, index := range needs.Indexes {
		if !slices.Contains(known, canonical(index)) {
			return slipway.Errorf(slipway.Unauthorized, "reading "+needs.From, "the model asks for packages from %.200s, which is not configured here", c.env.redact(index)).
				WithHint("if you trust it, set UV_INDEX (or PIP_EXTRA_INDEX_URL) to it, a folder of wheels as UV_FIND_LINKS; else take the line out of the model's %s", needs.From)
		}
	}
	return nil
}

func (c *Client) settings(prerelease bool) []string {
	var list []string
	for _, name := range deciding {
		if value := c.env.vars[name]; value != "" {
			list = append(list, name+"="+value)
		} else if name == "UV_PRERELEASE" && prerelease {
			list = append(list, name+"=allow")
		}
	}
	return list
}

// constraintFile reads a file that UV_CONSTRAINT or PIP_CONSTRAINT names.
func constraintFile(path string) ([]string, error) {
	const op = "reading a constraints file"
	if strings.Contains(path, "://") {
		return nil, slipway.Errorf(slipway.Invalid, op, "constraints are read from files, not from addresses").
			WithHint("download it and set UV_CONSTRAINT to the file")
	}
	needs, err := mlmodel.ReadConstraints(filepath.Dir(path), filepath.Base(path))
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, q := range needs {
		lines = append(lines, q.String())
	}
	return lines, nil
}

func (r Request) check() error {
	const op = "resolving the model's Python packages"
	if !pythonForm.MatchString(r.Python) {
		return slipway.Errorf(slipway.Invalid, op, "%.20q is no version of Python like 3.11", r.Python)
	}
	if platforms[r.Platform] == "" {
		return slipway.Errorf(slipway.Invalid, op, "there are no Python packages for %.40q", r.Platform).
			WithHint("take linux/amd64 or linux/arm64")
	}
	for _, line := range append(slices.Clone(r.Requirements), r.Constraints...) {
		if _, err := mlmodel.ParseRequirement(line); err != nil {
			return err
		}
	}
	return nil
}

// writeLines writes a requirements file for uv.
func writeLines(path string, lines []string) error {
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
