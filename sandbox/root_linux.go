//go:build amd64 || arm64

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// old is where this machine's files are while the sandbox is made.
const old = "/old"

// box is a sandbox that has been made.
type box struct {
	work *os.File // the writable part: home, temporary files, shared memory, Dir
	made *os.Root // what the program made in Dir; nil without
	out  *os.Root // the real Dir, on the machine
}

// build makes the sandbox around this process.
func build(j job) (b box, err error) {
	unix.Umask(0o022)
	// Not seen by the programs that look for keys: those of this login.
	if _, _, errno := unix.Syscall(unix.SYS_KEYCTL, unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0); errno != 0 &&
		errno != unix.ENOSYS && errno != unix.EPERM && errno != unix.EACCES {
		return b, fmt.Errorf("leaving the session's keys: %w", errno)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"making a new root", newRoot},
		{"showing the system", func() error { return showSystem(j.Network) }},
		{"making /dev", makeDevices},
		{"making /proc", makeProc},
		{"making the writable folders", func() error { return b.makeWritable(j) }},
		{"showing what was given", func() error { return b.showGiven(j) }},
		{"leaving the old root", func() error { return b.leave() }},
		{"setting up the loopback", func() error { return loopback(j.Network) }},
	} {
		if err := step.do(); err != nil {
			return b, fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return b, unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) // the program may not look into this one
}

func newRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	// It is only hidden until the root has changed.
	if err := unix.Mount("tmpfs", "/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=16m,mode=0755"); err != nil {
		return err
	}
	return errors.Join(os.Chdir("/tmp"), os.Mkdir("old", 0o700), unix.PivotRoot(".", "old"), os.Chdir("/"))
}

// showSystem shows programs and libraries. A folder that is a link, as /lib
// to /usr/lib, is the same link.
func showSystem(network bool) error {
	for _, dir := range systemFolders {
		info, err := os.Lstat(old + dir)
		switch {
		case errors.Is(err, os.ErrNotExist):
		case err != nil:
			return err
		case info.Mode()&os.ModeSymlink != 0:
			if err := copyLink(dir); err != nil {
				return err
			}
		default:
			if err := bind(old+dir, dir, readOnly); err != nil {
				return err
			}
		}
	}
	return makeEtc(network)
}

func copyLink(path string) error {
	to, err := os.Readlink(old + path)
	if err != nil {
		return err
	}
	return os.Symlink(to, path)
}

const (
	writable = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	readOnly = writable | unix.MOUNT_ATTR_RDONLY
	device   = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_RDONLY
)

// bind shows source, a file or folder with all that is mounted in it, at
// target, and gives all of it the attributes.
func bind(source, target string, attributes uint64) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if err := makePlace(target, info.IsDir()); err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return &os.PathError{Op: "mounting", Path: target, Err: err}
	}
	return setAttributes(target, unix.AT_RECURSIVE, attributes)
}

func setAttributes(target string, flags uint, attributes uint64) error {
	err := unix.MountSetattr(unix.AT_FDCWD, target, flags, &unix.MountAttr{Attr_set: attributes})
	if err != nil {
		return &os.PathError{Op: "restricting", Path: target, Err: err}
	}
	return nil
}

// makePlace makes what a mount needs to be on.
func makePlace(target string, folder bool) error {
	if _, err := os.Stat(target); err == nil {
		return nil
	}
	if folder {
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	return os.WriteFile(target, nil, 0o644)
}

func makeDevices() error {
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		if err := bind(old+"/dev/"+name, "/dev/"+name, device); err != nil {
			return err
		}
	}
	return errors.Join(os.Symlink("/proc/self/fd", "/dev/fd"), os.Symlink("/proc/self/fd/0", "/dev/stdin"),
		os.Symlink("/proc/self/fd/1", "/dev/stdout"), os.Symlink("/proc/self/fd/2", "/dev/stderr"))
}

// makeProc shows the sandbox's own processes, and takes from its processes
// what can only be taken there.
func makeProc() error {
	if err := os.Mkdir("/proc", 0o555); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	for path, value := range map[string]string{
		// In a user namespace of their own they could mount, without bound.
		"/proc/sys/user/max_user_namespaces": "0",
		// When this machine has no memory left, they go first.
		"/proc/self/oom_score_adj": "1000",
	} {
		if err := os.WriteFile(path, []byte(value), 0); err != nil {
			return err
		}
	}
	return setAttributes("/proc", 0, readOnly)
}
