//go:build !linux

package python

import "syscall"

// endsWithUs starts a process group. Where the system does not end a worker with
// its parent, the worker ends when its socket does.
func endsWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
