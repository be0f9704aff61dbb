//go:build amd64 || arm64

package sandbox

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// second gives up all rights and becomes the program. It is a process of its
// own because limits cannot be widened again: process 1 must stay without.
func second(j job) ended {
	runtime.LockOSThread() // rights and filters are a thread's; this one executes
	if err := os.Chdir(home); err != nil {
		return failure(err)
	}
	if err := dropRights(); err != nil {
		return failure(fmt.Errorf("giving up rights: %w", err))
	}
	if j.Check {
		return ended{}
	}
	if err := unix.CloseRange(uint(3+j.Extra), ^uint(0)>>32, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return failure(fmt.Errorf("closing files: %w", err))
	}
	if err := setLimits(j); err != nil {
		return failure(fmt.Errorf("setting limits: %w", err))
	}
	if err := filterCalls(); err != nil {
		return failure(fmt.Errorf("filtering system calls: %w", err))
	}
	return ended{NotStarted: syscall.Exec(j.Program, j.Args, j.Env).Error()}
}

// dropRights leaves no capability and no way to one.
func dropRights() error {
	for c := uintptr(0); c <= lastCapability(); c++ {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return err
		}
	}
	if os.Getuid() != own { // root started it
		if err := become(); err != nil {
			return err
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return err
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
}

func become() error {
	if err := syscall.Setgroups(nil); err != nil {
		return err
	}
	if err := syscall.Setresgid(own, own, own); err != nil {
		return err
	}
	return syscall.Setresuid(own, own, own)
}

// setLimits bounds each process. Memory is what a process can write
// (RLIMIT_DATA) and not its addresses (RLIMIT_AS): numpy's and torch's
// libraries and the C library's arenas reserve tens of gigabytes that they
// never touch, and fail to load when they may not. What RLIMIT_DATA leaves
// out, shared memory, process 1 watches.
func setLimits(j job) error {
	for resource, limit := range map[int]uint64{
		unix.RLIMIT_DATA:     uint64(j.Memory),
		unix.RLIMIT_NPROC:    uint64(j.Processes),
		unix.RLIMIT_NOFILE:   uint64(j.Files),
		unix.RLIMIT_FSIZE:    uint64(j.Disk),
		unix.RLIMIT_CORE:     0,
		unix.RLIMIT_MSGQUEUE: 0,
	} {
		var now unix.Rlimit
		if err := unix.Prlimit(0, resource, nil, &now); err != nil {
			return err
		}
		limit = min(limit, now.Max)
		if err := unix.Prlimit(0, resource, &unix.Rlimit{Cur: limit, Max: limit}, nil); err != nil {
			return err
		}
	}
	return nil
}

// filterCalls installs the filter for this thread and what it becomes.
func filterCalls() error {
	filter := callFilter()
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}
