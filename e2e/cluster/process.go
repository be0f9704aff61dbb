package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// mark is in the environment of every process of the cluster and of nothing
// else; its value is the cluster's run folder. Unlike a file of process
// numbers it outlives a crash of this program and never names a stranger.
const mark = "SLIPWAY_TEST_CLUSTER"

// start runs a program in the background, in a session of its own, with a log
// in the run folder. The channel is closed when it ends. The environment is
// bare: a proxy or a KUBECONFIG of the user's is not for the cluster.
func (c cluster) start(p program) (ended <-chan struct{}, err error) {
	log, err := os.Create(c.run(p.name + ".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	path := p.path
	if path == "" {
		path = c.bin(p.name)
	}
	cmd := exec.Command(path, p.args...)
	cmd.Dir = c.Run()
	cmd.Env = []string{mark + "=" + c.Run(), "PATH=" + os.Getenv("PATH"), "HOME=" + c.Run()}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", p.name, err)
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(gone)
	}()
	return gone, nil
}

// logTail is the end of a program's log, for the message that it did not work.
func (c cluster) logTail(name string) string {
	content, err := os.ReadFile(c.run(name + ".log"))
	if err != nil {
		return err.Error()
	}
	return string(content[max(0, len(content)-2000):])
}

// processes returns the cluster's live processes by their number: those that it
// started and what they started (shims), but not what runs in pods.
func (c cluster) processes() (map[int]string, error) {
	entries, err := os.ReadDir("/proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // not Linux
	}
	if err != nil {
		return nil, err
	}
	found := map[int]string{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if c.owns(pid) {
			found[pid] = programName(pid)
		}
	}
	return found, nil
}

// owns says whether the process carries our mark. One that ended meanwhile, or
// is a zombie, has no environment.
func (c cluster) owns(pid int) bool {
	environment, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	if err != nil {
		return false
	}
	for variable := range bytes.SplitSeq(environment, []byte{0}) {
		if string(variable) == mark+"="+c.Run() {
			return true
		}
	}
	return false
}

// programName is the base name of what the process was started as.
func programName(pid int) string {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	if err != nil {
		return ""
	}
	name, _, _ := strings.Cut(string(line), "\x00")
	return filepath.Base(name)
}

// kill ends the processes that find returns until it returns none, and waits
// until they have let go of what they had: a process that ends loses its
// environment and its cgroup first, its files and ports after.
func kill(find func() ([]int, error)) error {
	killed := map[int]bool{}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		pids, err := find()
		if err != nil {
			return err
		}
		for _, pid := range pids {
			killed[pid] = true
			_ = syscall.Kill(pid, syscall.SIGKILL) // gone already is what we want
		}
		maps.DeleteFunc(killed, func(pid int, _ bool) bool { return ended(pid) })
		if len(killed) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v do not end", slices.Sorted(maps.Keys(killed)))
		}
	}
}

// ended says whether the process is gone, or is a zombie, which has nothing.
func ended(pid int) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return true
	}
	afterName := stat[bytes.LastIndexByte(stat, ')')+1:]
	return bytes.HasPrefix(afterName, []byte(" Z"))
}
