package uv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlmodel"
)

// Lock resolves a request. What was resolved is kept under the request's key
// and given again, so that the same request means the same packages until
// Upgrade asks anew. Errors name the package and what to do about it.
func (c *Client) Lock(ctx context.Context, r Request) (Lock, error) {
	if err := r.check(); err != nil {
		return Lock{}, err
	}
	path := filepath.Join(c.cache, "locks", r.Key())
	held, err := flock(ctx, path+".lock")
	if err != nil {
		return Lock{}, err
	}
	defer held.Close()
	if l, ok := readLock(path); ok && !r.Upgrade {
		return l, nil
	}
	l, err := c.resolve(ctx, r)
	if err != nil {
		return Lock{}, err
	}
	return l, keep(path, l)
}

// Keep stores a lock that comes from elsewhere, as Lock would have.
func (c *Client) Keep(ctx context.Context, r Request, l Lock) error {
	if l.Python != r.Python || l.Platform != r.Platform {
		return slipway.Errorf(slipway.Invalid, "keeping a lock", "it is for Python %s on %s", l.Python, l.Platform)
	}
	path := filepath.Join(c.cache, "locks", r.Key())
	held, err := flock(ctx, path+".lock")
	if err != nil {
		return err
	}
	defer held.Close()
	return keep(path, l)
}

// Kept returns the lock that is kept for a request.
func (c *Client) Kept(r Request) (Lock, bool) {
	return readLock(filepath.Join(c.cache, "locks", r.Key()))
}

func keep(path string, l Lock) error {
	if err := writeFile(path, l.Encode()); err != nil {
		return fileError("keeping the lock of Python packages", err)
	}
	return nil
}

// readLock reads a kept lock; one that is broken counts as none.
func readLock(path string) (Lock, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Lock{}, false
	}
	l, err := ParseLock(data)
	return l, err == nil
}

// resolve asks uv.
func (c *Client) resolve(ctx context.Context, r Request) (l Lock, err error) {
	const op = "resolving the model's Python packages"
	l = Lock{Python: r.Python, Platform: r.Platform}
	if len(r.Requirements) == 0 {
		return l, nil
	}
	dir, err := os.MkdirTemp(filepath.Join(c.cache, "work"), "lock-")
	if err != nil {
		return Lock{}, fileError(op, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	in, constraints := filepath.Join(dir, "requirements.in"), filepath.Join(dir, "constraints.in")
	if err := errors.Join(writeLines(in, r.Requirements), writeLines(constraints, r.Constraints)); err != nil {
		return Lock{}, fileError(op, err)
	}
	args := []string{"pip", "compile", in,
		"--python-version", r.Python, "--python-platform", platforms[r.Platform],
		"--generate-hashes", "--no-header", "--no-annotate", "--no-build", "--no-sources"}
	if len(r.Constraints) > 0 {
		args = append(args, "--constraints", constraints)
	}
	text, err := c.run(ctx, op, r, append(args, c.flags(r)...)...)
	if err != nil {
		return Lock{}, err
	}
	if l.Packages, err = parsePins(op, text); err != nil {
		return Lock{}, err
	}
	return l, l.narrow(op, r.Requirements)
}

// flags are the settings of a request as uv's options, which come before its
// environment.
func (c *Client) flags(r Request) []string {
	var flags []string
	for _, s := range r.Settings {
		name, value, _ := strings.Cut(s, "=")
		name = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "UV_"), "_", "-"))
		flags = append(flags, "--"+name+"="+value)
	}
	if r.Upgrade {
		flags = append(flags, "--refresh")
	}
	return append(flags, c.noIndex()...)
}

func (c *Client) noIndex() []string {
	if isTrue(c.env.vars["UV_NO_INDEX"]) {
		return []string{"--no-index"}
	}
	return nil
}

// narrow keeps to the hashes that requirements name: uv locks whatever the
// index has.
func (l *Lock) narrow(op string, requirements []string) error {
	for _, line := range requirements {
		r, err := mlmodel.ParseRequirement(line)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(l.Packages, func(p Package) bool { return p.Name == r.Key() })
		if i < 0 || len(r.Hashes) == 0 {
			continue
		}
		p := &l.Packages[i]
		p.Hashes = slices.DeleteFunc(p.Hashes, func(h string) bool { return !slices.Contains(r.Hashes, h) })
		if len(p.Hashes) == 0 {
			return slipway.Errorf(slipway.Corrupt, op, "the index has no file of %s %s with a hash that the model's requirements name", p.Name, p.Version).
				WithHint("find out who changed it; if that was on purpose, log the model with the new hashes")
		}
	}
	return nil
}
