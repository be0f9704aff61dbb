package uv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Site is a folder of site-packages on disk. Nobody may change it.
type Site struct {
	Dir  string // …/site-packages
	Lock Lock
}

// Progress is told what is being done: "downloading 35 packages". It may be
// nil.
type Progress func(step string)

func (p Progress) tell(step string) {
	if p != nil {
		p(step)
	}
}

// siteFormat changes when the same lock would give other files.
const siteFormat = "3"

func (c *Client) siteDir(l Lock) string {
	return filepath.Join(c.cache, "sites", strings.TrimPrefix(string(l.Digest()), "sha256:")+"-"+siteFormat)
}

// Find returns the site of a lock, if it is on disk.
func (c *Client) Find(l Lock) (Site, bool) {
	dir := c.siteDir(l)
	site := Site{Dir: filepath.Join(dir, "site-packages"), Lock: l}
	if _, err := os.Stat(site.Dir); err != nil {
		return Site{}, false
	}
	now := time.Now()
	return site, os.Chtimes(dir, now, now) == nil // what was used last is pruned last
}

// Install makes the site of a lock: whole or not at all. One that is on disk is
// given as it is; processes that want the same one wait for each other. The
// machine needs a Python of the lock's version, for the bytecode: without it
// two machines would make two images of one lock.
func (c *Client) Install(ctx context.Context, l Lock, progress Progress) (Site, error) {
	return c.make(ctx, l, func(dir string) error {
		python, err := c.Interpreter(ctx, l.Python)
		if err != nil {
			return err
		}
		if err := c.unpack(ctx, l, dir, python, progress); err != nil {
			return err
		}
		if err := clean(dir); err != nil {
			return err
		}
		return c.compile(ctx, dir, python, progress)
	})
}

// Adopt makes the site of a lock from files that fill writes into the folder it
// is given, which come from image layers instead of wheels.
func (c *Client) Adopt(ctx context.Context, l Lock, fill func(dir string) error) (Site, error) {
	return c.make(ctx, l, fill)
}

// make lets fill write a site aside and puts it in its place.
func (c *Client) make(ctx context.Context, l Lock, fill func(dir string) error) (site Site, err error) {
	const op = "making the model's Python environment"
	if site, ok := c.Find(l); ok {
		return site, nil
	}
	dir := c.siteDir(l)
	held, err := flock(ctx, dir+".lock")
	if err != nil {
		return Site{}, err
	}
	defer held.Close()
	if site, ok := c.Find(l); ok {
		return site, nil
	}
	aside, err := newAside(dir)
	if err != nil {
		return Site{}, fileError(op, err)
	}
	if err := fill(filepath.Join(aside, "site-packages")); err != nil {
		return Site{}, errors.Join(err, os.RemoveAll(aside))
	}
	if err := os.Rename(aside, dir); err != nil {
		return Site{}, fileError(op, err)
	}
	c.prune(ctx)
	return Site{Dir: filepath.Join(dir, "site-packages"), Lock: l}, nil
}

// newAside makes the folder in which a site is written, and takes away what
// runs left that were killed. Their uv may be at work still, so no folder is
// used twice; what it goes on writing is for the next run to take away.
func newAside(dir string) (string, error) {
	prefix := ".new-" + filepath.Base(dir)
	old, err := filepath.Glob(filepath.Join(filepath.Dir(dir), prefix+"*"))
	if err != nil {
		return "", err
	}
	for _, o := range old {
		_ = os.RemoveAll(o)
	}
	aside, err := os.MkdirTemp(filepath.Dir(dir), prefix+"-")
	if err != nil {
		return "", err
	}
	return aside, errors.Join(os.Chmod(aside, 0o755), os.Mkdir(filepath.Join(aside, "site-packages"), 0o755))
}

// unpack has uv download and unpack the wheels of a lock.
func (c *Client) unpack(ctx context.Context, l Lock, dir string, python Interpreter, progress Progress) (err error) {
	const op = "installing the model's Python packages"
	if len(l.Packages) == 0 {
		return nil
	}
	progress.tell("downloading " + count(len(l.Packages), "package"))
	work, err := os.MkdirTemp(filepath.Join(c.cache, "work"), "install-")
	if err != nil {
		return fileError(op, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	file := filepath.Join(work, "lock.txt")
	if err := os.WriteFile(file, l.Encode(), 0o600); err != nil {
		return fileError(op, err)
	}
	args := []string{"pip", "install", "--target", dir, "--python", python.Path,
		"--python-version", l.Python, "--python-platform", platforms[l.Platform],
		"--require-hashes", "--no-deps", "--no-build", "--no-sources", "--requirements", file}
	_, err = c.run(ctx, op, Request{Python: l.Python, Platform: l.Platform}, append(args, c.noIndex()...)...)
	return err
}

// Extra makes a folder of packages to put beside a lock's site, on the same
// Python: what the requirements need and the lock lacks, in versions that go
// with the lock's.
func (c *Client) Extra(ctx context.Context, l Lock, requirements ...string) (string, error) {
	r := Request{Requirements: requirements, Python: l.Python, Platform: l.Platform, Settings: c.settings(false)}
	for _, p := range l.Packages {
		r.Constraints = append(r.Constraints, p.Name+"=="+p.Version)
	}
	whole, err := c.Lock(ctx, r)
	if err != nil {
		return "", err
	}
	rest := Lock{Python: l.Python, Platform: l.Platform}
	for _, p := range whole.Packages {
		if _, ok := l.Package(p.Name); !ok {
			rest.Packages = append(rest.Packages, p)
		}
	}
	site, err := c.Install(ctx, rest, nil)
	return site.Dir, err
}
