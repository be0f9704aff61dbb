package local

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// identity returns the boot and the start time of a process (proc(5),
// /proc/pid/stat, field 22), or an error when it has ended.
func identity(pid int) (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The second field, the name in parentheses, may hold anything.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" {
		return "", errors.New("the process has ended")
	}
	return string(bytes.TrimSpace(boot)) + " " + string(fields[19]), nil
}
