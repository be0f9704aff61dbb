// Package sandbox runs foreign programs with nothing of this machine but what
// they are given. It is for loading somebody's model on a machine that holds
// credentials.
//
// A sandboxed program sees the system's programs and libraries, what
// Config.ReadOnly names, and an empty home: no environment, file, process or
// network of this machine besides. It is user 65532 without any right, and
// memory, processes, open files and disk are bounded. It ends with the process
// that started it, however that one ends.
//
// A user who is not root cannot become another: there the program has, where
// it is shown files, that user's rights and groups.
//
// This is Linux's user, mount, process, IPC, host name and network namespaces,
// so it needs Linux 5.14 that allows them; [Check] tells. The program shares
// the kernel with this machine: who distrusts the kernel needs a virtual
// machine.
//
// The sandbox is made by this very program, started anew: main, or TestMain,
// calls [Init] first.
package sandbox

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-dev/slipway"
)

// Config says what runs in a sandbox and what it is given.
type Config struct {
	Program string   // its absolute path on this machine
	Args    []string // without the program's name
	// Env is the program's environment, NAME=value. The sandbox sets PATH and
	// LANG where Env does not, and always HOME and TMPDIR.
	Env []string
	// ReadOnly are folders and files of this machine (absolute paths) that the
	// program sees at the same place and cannot change: its prefix, its
	// libraries, a model. The folders above them are not shown and need not be
	// open to others, but what is named is read as user 65532 when this
	// process is root: keep folders at 0755 and files at 0644. Links that lead
	// elsewhere are followed only where that is shown too.
	ReadOnly []string
	// Dir is a folder of this machine for what the program makes: it sees an
	// empty folder at the same path, in memory. When it has ended by itself, with
	// whatever exit code, its files and folders are copied to the real one, as
	// this process's own; links and all else are left out. Empty for none.
	Dir string
	// Network gives it this machine's network, with all that listens there on
	// 127.0.0.1 and on Unix sockets without a file; else it has none, and a
	// loopback of its own.
	Network bool
	// Memory is how many bytes all its processes may hold together, and each
	// may ask for; 0 means 8 GiB. What they hold is looked at ten times a
	// second, so it can be passed for a moment.
	Memory int64
	// Processes is how many processes and threads it may have; 0 means 256. A
	// user who is not root spends some on the sandbox itself.
	Processes int
	Files     int   // how many files each process may have open; 0 means 1024
	Disk      int64 // bytes, and what fits in 262,144 files, in home, temporary files, shared memory and Dir, all in memory; 0 means 1 GiB
	// ExtraFiles become file descriptors 3, 4, …: pipes and sockets. An open
	// folder would be a way out.
	ExtraFiles []*os.File
	// Stdout and Stderr are as for exec.Cmd, but always behind a pipe. The
	// program may write without end: they bound what they keep.
	Stdout, Stderr io.Writer
}

const op = "starting a sandbox"

// own is the user and group that sandboxed programs are, inside; outside too
// when root starts them.
const own = 65532

const home = "/home/slipway"

// Command returns the command that runs the program in a sandbox. The caller
// starts it and waits for it; what Start, Run or Wait return goes to [Explain].
// The end of ctx ends everything in the sandbox, and so does that of this
// process. SIGTERM and SIGINT to the command are passed on to the program. The
// exit code is the program's, or 128 and the number of the signal that ended
// it. A command that was made must be started or be left to the garbage
// collector; it must not be copied.
//
// The errors are of code Invalid (a Config that makes no sense) and NotFound
// (a path that is not there).
func Command(ctx context.Context, c Config) (*exec.Cmd, error) {
	c = c.withDefaults()
	if err := c.check(); err != nil {
		return nil, err
	}
	j, err := c.job()
	if err != nil {
		return nil, err
	}
	return command(ctx, c, j)
}

// Check makes a sandbox in which nothing runs, and says what is missing when
// this machine does not allow it: an error of code Unauthorized (it could be
// allowed: the hint says how), Invalid (it cannot), Unavailable (not now) or
// Internal (for a reason that we did not foresee).
func Check(ctx context.Context) error {
	c := Config{Program: "/", Stderr: io.Discard}.withDefaults()
	j := c.plain()
	j.Check = true
	cmd, err := command(ctx, c, j)
	if err != nil {
		return err
	}
	return Explain(cmd, cmd.Run())
}

func (c Config) withDefaults() Config {
	c.Memory = cmpOr(c.Memory, 8<<30)
	c.Processes = cmpOr(c.Processes, 256)
	c.Files = cmpOr(c.Files, 1024)
	c.Disk = cmpOr(c.Disk, 1<<30)
	return c
}

func cmpOr[T int | int64](n, other T) T {
	if n == 0 {
		return other
	}
	return n
}

func (c Config) check() error {
	if min(c.Memory, c.Disk, int64(c.Processes), int64(c.Files)) < 0 {
		return slipway.Errorf(slipway.Invalid, op, "a limit is below zero")
	}
	for _, text := range slices.Concat(c.Args, c.Env) {
		if strings.ContainsRune(text, 0) {
			return slipway.Errorf(slipway.Invalid, op, "an argument or variable holds a zero byte")
		}
	}
	for _, e := range c.Env {
		if name, _, ok := strings.Cut(e, "="); !ok || name == "" {
			return slipway.Errorf(slipway.Invalid, op, "a variable of the environment has no name")
		}
	}
	paths := append([]string{c.Program}, c.ReadOnly...)
	if c.Dir != "" {
		paths = append(paths, c.Dir)
	}
	for _, p := range paths {
		if err := checkPath(p); err != nil {
			return err
		}
	}
	return nil
}

// reserved are the folders that a sandbox makes itself.
var reserved = []string{"/proc", "/sys", "/dev", "/old"}

// checkPath refuses what would show the whole machine, or hide what the
// sandbox makes.
func checkPath(p string) error {
	if !filepath.IsAbs(p) || filepath.Clean(p) != p {
		return slipway.Errorf(slipway.Invalid, op, "%q is not a clean absolute path", p)
	}
	if p == "/" || slices.ContainsFunc(reserved, func(r string) bool { return within(p, r) }) {
		return slipway.Errorf(slipway.Invalid, op, "%q cannot be shown in a sandbox", p)
	}
	return nil
}

// within reports whether the clean path p is dir or below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}
