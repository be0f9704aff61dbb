package sandbox

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// job is what the processes that make a sandbox are told.
type job struct {
	Check     bool // make the sandbox, run nothing
	Program   string
	Args      []string // with the program's name
	Env       []string
	Mounts    []mount // parents before what is below them
	Out       string  // the real folder behind Config.Dir
	Network   bool
	Memory    int64
	Processes int
	Files     int
	Disk      int64
	Extra     int // how many files are passed on, from descriptor 3
}

// mount is one path of a sandbox. Source is on this machine, without links;
// empty for the folder that the program may write.
type mount struct {
	Source, Target string
}

// job looks up what the Config names.
func (c Config) job() (job, error) {
	j := c.plain()
	for _, p := range c.shown() {
		if err := j.show(p); err != nil {
			return job{}, err
		}
	}
	if c.Dir != "" {
		info, err := os.Stat(c.Dir)
		if err != nil || !info.IsDir() {
			return job{}, notThere(c.Dir, cmp.Or(err, errors.New("not a folder")))
		}
		j.Out = c.Dir
		j.Mounts = append(j.Mounts, mount{Target: c.Dir})
	}
	slices.SortStableFunc(j.Mounts, func(a, b mount) int { return cmp.Compare(a.Target, b.Target) })
	return j, nil
}

// plain is the job without what it is shown.
func (c Config) plain() job {
	return job{
		Program: c.Program, Args: append([]string{c.Program}, c.Args...), Env: c.environment(), Network: c.Network,
		Memory: c.Memory, Processes: c.Processes, Files: c.Files, Disk: c.Disk, Extra: len(c.ExtraFiles),
	}
}

// shown returns the paths to show: the program itself too, unless it is in
// one of the others.
func (c Config) shown() []string {
	paths := c.ReadOnly
	for _, dir := range slices.Concat(systemFolders, paths) {
		if within(c.Program, dir) {
			return paths
		}
	}
	return append(slices.Clone(paths), c.Program)
}

// systemFolders are shown in every sandbox, where they exist: programs and
// their libraries.
var systemFolders = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// show adds a path: at the place it is named by, and where its links lead.
func (j *job) show(p string) error {
	real, err := filepath.EvalSymlinks(p)
	if err == nil {
		err = checkPath(real)
	}
	if err != nil {
		return notThere(p, err)
	}
	j.Mounts = append(j.Mounts, mount{Source: real, Target: real})
	if real != p {
		j.Mounts = append(j.Mounts, mount{Source: real, Target: p})
	}
	return nil
}

func notThere(p string, err error) error {
	if slipway.CodeOf(err) == slipway.Invalid {
		return err
	}
	code := slipway.Invalid
	if errors.Is(err, fs.ErrNotExist) {
		code = slipway.NotFound
	}
	e := slipway.Errorf(code, op, "cannot show %s", p)
	e.Err = err
	return e
}

// environment returns the program's, each name once.
func (c Config) environment() []string {
	values := map[string]string{
		"PATH": filepath.Dir(c.Program) + ":/usr/local/bin:/usr/bin:/bin",
		"LANG": "C.UTF-8",
	}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		values[name] = value
	}
	values["HOME"], values["TMPDIR"] = home, "/tmp"
	var env []string
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
