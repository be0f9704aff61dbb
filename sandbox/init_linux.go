//go:build amd64 || arm64

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Init must be the first thing that main, or TestMain, does. In a process that
// [Command] started it makes the sandbox and never returns; in any other it
// does nothing.
func Init() {
	if len(os.Args) != 3 || os.Args[0] != argv0 {
		return
	}
	extra, err := strconv.Atoi(os.Args[2])
	if err != nil || extra < 0 {
		return
	}
	stage := first
	if os.Args[1] == "2" {
		stage = second
	}
	told, report := os.NewFile(uintptr(3+extra), "job"), os.NewFile(uintptr(4+extra), "report")
	j, err := readJob(told)
	if err != nil {
		end(report, ended{Failed: err.Error()})
	}
	how := stage(j)
	runtime.KeepAlive(told) // the second stage reads it too: the garbage collector must not close it before
	end(report, how)
}

func readJob(f *os.File) (j job, err error) {
	return j, json.NewDecoder(io.NewSectionReader(f, 0, 1<<30)).Decode(&j)
}

// end stores the report, unless the second stage did, and ends this process as
// the program ended.
func end(report *os.File, e ended) {
	if info, err := report.Stat(); err == nil && info.Size() == 0 {
		_ = e.store(report) // without a report, the exit code has to do
	}
	os.Exit(e.exitCode()) //nolint:forbidigo // this is main, of another program
}

// first is process 1 of the sandbox. It makes the sandbox, starts the program
// and stays: to reap whom the program leaves behind, so that they do not use
// up the sandbox's processes; so that the program is not process 1, which
// ignores signals nobody expects it to; to watch over its memory, which Linux
// limits for each process alone; and to say how it ended. When process 1 ends,
// the kernel ends all others.
func first(j job) ended {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1) //nolint:forbidigo // nobody is left to report to
	}()
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	box, err := build(j)
	if err != nil {
		return failure(err)
	}
	child, err := startSecond(j)
	if err != nil {
		return failure(fmt.Errorf("starting the program: %w", err))
	}
	go func() {
		for s := range signals {
			_ = unix.Kill(child, s.(syscall.Signal))
		}
	}()
	w := watch(j, box)
	status := reap(child)
	return w.finish(j, box, status)
}

// startSecond starts the second stage, which becomes the program. It has the
// same files, but a standard input that is empty.
func startSecond(j job) (int, error) {
	null, err := os.Open("/dev/null")
	if err != nil {
		return 0, err
	}
	defer null.Close()
	files := []uintptr{null.Fd()}
	for fd := 1; fd < 5+j.Extra; fd++ {
		files = append(files, uintptr(fd))
	}
	return syscall.ForkExec("/proc/self/exe", []string{argv0, "2", strconv.Itoa(j.Extra)}, &syscall.ProcAttr{
		Dir: "/", Env: []string{}, Files: files, Sys: &syscall.SysProcAttr{Setsid: true},
	})
}

// reap waits for all processes that end, until the child does.
func reap(child int) syscall.WaitStatus {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if pid == child && (status.Exited() || status.Signaled()) {
			return status
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return syscall.WaitStatus(uint32(syscall.SIGKILL)) // cannot be: the child is ours
		}
	}
}

// endAll ends every process but this one.
func endAll() {
	for {
		_ = unix.Kill(-1, unix.SIGKILL)
		if _, err := syscall.Wait4(-1, nil, 0, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}
