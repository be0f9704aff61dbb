//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// argv0 is the name under which this program makes a sandbox.
const argv0 = "slipway-sandbox"

// command returns this program, started anew as process 1 of new namespaces.
//
// Its standard input is a lifeline: the write end is this process's alone, so
// it reads the end of it when this process ends. A parent-death signal would
// not do, as it comes when the thread ends that started the command, and the
// caller starts it. Two nameless files in memory follow the caller's own: one
// holds the job, as arguments and environment are for everybody to see, the
// other is for the report on how it ended.
func command(ctx context.Context, c Config, j job) (*exec.Cmd, error) {
	data, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	var files [2]*os.File
	for i, content := range [][]byte{data, nil} {
		if files[i], err = memory(content); err != nil {
			return nil, cannot(err)
		}
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = []string{argv0, "1", strconv.Itoa(len(c.ExtraFiles))}
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.ExtraFiles = append(append([]*os.File{}, c.ExtraFiles...), files[:]...)
	cmd.Stdout, cmd.Stderr = piped(c.Stdout), piped(c.Stderr)
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		// Wait would say only that it was killed.
		return ended{Canceled: true, Late: errors.Is(ctx.Err(), context.DeadlineExceeded)}.store(files[1])
	}
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, cannot(err)
	}
	cmd.SysProcAttr, err = namespaces(c.Network)
	return cmd, err
}

// piped returns a writer to which the program writes through a pipe. A file it
// could open anew, by way of /proc/self/fd, and read.
func piped(w io.Writer) io.Writer {
	if w == nil {
		return nil
	}
	return struct{ io.Writer }{w}
}

// memory returns a file that holds data and has no name.
func memory(data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(argv0, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), argv0)
	_, err = f.WriteAt(bytes.Clone(data), 0)
	return f, err
}

// namespaces returns how process 1 is started. It has all rights over its own
// namespaces, and gives them up before the program runs. The user namespace
// is for root too: the kernel counts processes in each for itself.
func namespaces(network bool) (*syscall.SysProcAttr, error) {
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if !network {
		flags |= unix.CLONE_NEWNET
	}
	attr := &syscall.SysProcAttr{Cloneflags: flags, Setsid: true}
	for c := uintptr(0); c <= lastCapability(); c++ {
		attr.AmbientCaps = append(attr.AmbientCaps, c)
	}
	users, err := sameUsers("/proc/self/uid_map")
	if err != nil {
		return nil, cannot(err)
	}
	groups, err := sameUsers("/proc/self/gid_map")
	if err != nil {
		return nil, cannot(err)
	}
	if os.Geteuid() != 0 || !has(users, own) || !has(groups, own) { // or root of a container that has no other users
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: own, HostID: os.Geteuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: own, HostID: os.Getegid(), Size: 1}}
		return attr, nil
	}
	// Process 1 stays root, as nobody else may read all folders that lead to
	// what is shown, and keeps the numbers of all users for the same reason.
	// The program becomes user 65532.
	attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = users, groups, true
	return attr, nil
}

func has(maps []syscall.SysProcIDMap, id int) bool {
	return slices.ContainsFunc(maps, func(m syscall.SysProcIDMap) bool {
		return m.ContainerID <= id && id < m.ContainerID+m.Size
	})
}

// sameUsers maps each number that this process has to itself.
func sameUsers(path string) ([]syscall.SysProcIDMap, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var maps []syscall.SysProcIDMap
	for line := range bytes.Lines(data) {
		var first, outside, size int
		if _, err := fmt.Sscan(string(line), &first, &outside, &size); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		maps = append(maps, syscall.SysProcIDMap{ContainerID: first, HostID: first, Size: size})
	}
	return maps, nil
}

// lastCapability returns the last right the kernel knows.
func lastCapability() uintptr {
	data, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if n, convErr := strconv.Atoi(string(bytes.TrimSpace(data))); err == nil && convErr == nil {
		return uintptr(n)
	}
	return unix.CAP_LAST_CAP
}
