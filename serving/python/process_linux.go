package python

import "syscall"

// endsWithUs starts a process group that does not outlive this process.
func endsWithUs() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
