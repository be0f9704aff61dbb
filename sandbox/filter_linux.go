//go:build amd64 || arm64

package sandbox

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// absent are the system calls that a sandboxed program finds missing: ways to
// hold memory that no limit counts, and doors into the kernel that loading a
// model needs none of.
var absent = []uint32{
	unix.SYS_MEMFD_CREATE, unix.SYS_MEMFD_SECRET, unix.SYS_SHMGET, unix.SYS_MSGGET, unix.SYS_SEMGET,
	unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT,
	unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV,
}

// families are the sockets it may have. Others, as those between virtual
// machines (AF_VSOCK), do not heed network namespaces.
var families = []uint32{unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK}

// Where seccomp_data (seccomp(2)) has what the filter looks at.
const (
	callNumber  = 0
	callMachine = 4
	firstArg    = 16 // its lower half
	x32         = 0x40000000
)

// callFilter returns the filter as a program of the kernel's packet filter.
// A call of another architecture's ends the process, as its numbers mean
// something else.
func callFilter() []unix.SockFilter {
	machine := uint32(unix.AUDIT_ARCH_X86_64)
	if runtime.GOARCH == "arm64" {
		machine = unix.AUDIT_ARCH_AARCH64
	}
	f := []unix.SockFilter{
		load(callMachine),
		jump(unix.BPF_JEQ, machine, 1, 0),
		give(unix.SECCOMP_RET_KILL_PROCESS),
		load(callNumber),
		jump(unix.BPF_JGE, x32, 0, 1),
		give(unix.SECCOMP_RET_KILL_PROCESS),
	}
	for _, call := range absent {
		f = append(f, jump(unix.BPF_JEQ, call, 0, 1), give(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	f = append(f, jump(unix.BPF_JEQ, unix.SYS_SOCKET, 1, 0), give(unix.SECCOMP_RET_ALLOW), load(firstArg))
	for _, family := range families {
		f = append(f, jump(unix.BPF_JEQ, family, 0, 1), give(unix.SECCOMP_RET_ALLOW))
	}
	return append(f, give(unix.SECCOMP_RET_ERRNO|uint32(unix.EAFNOSUPPORT)))
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump skips so many instructions when the comparison holds, and when not.
func jump(comparison uint16, with uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | comparison | unix.BPF_K, K: with, Jt: yes, Jf: no}
}

func give(verdict uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: verdict}
}
