//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// interval is how often a sandbox is looked at. Memory that is filled as fast
// as this machine can passes its bound by some hundred megabytes.
const interval = 100 * time.Millisecond

// watcher looks at what the sandbox uses.
type watcher struct {
	mu   sync.Mutex
	seen ended
	done chan struct{}
}

// watch looks until finish, and ends all processes when they hold too much.
func watch(j job, b box) *watcher {
	w := &watcher{done: make(chan struct{})}
	go func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-ticker.C:
				w.look(j, b)
			}
		}
	}()
	return w
}

func (w *watcher) look(j job, b box) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u, err := usage()
	if err == nil && u.bytes > j.Memory { // now exactly, which takes longer
		u.bytes, err = exact(u.pids)
	}
	w.seen.Peak = max(w.seen.Peak, u.bytes)
	w.seen.Processes = w.seen.Processes || u.threads >= j.Processes
	w.seen.Disk = w.seen.Disk || full(b.work)
	if err != nil || u.bytes > j.Memory { // what cannot be watched is not let run
		w.seen.Memory = err == nil
		_ = unix.Kill(-1, unix.SIGKILL)
	}
}

// finish ends what is left, delivers what the program made, and says how it
// ended.
func (w *watcher) finish(j job, b box, status syscall.WaitStatus) ended {
	close(w.done)
	w.mu.Lock()
	defer w.mu.Unlock()
	endAll()
	e := w.seen
	e.Disk = e.Disk || full(b.work)
	if status.Signaled() {
		e.Signal = int(status.Signal())
	}
	e.Code = max(0, status.ExitStatus())
	if err := b.deliver(j.Disk); err != nil {
		e.Undelivered = err.Error()
	}
	return e
}

// full reports whether the writable part has no room for another page or file.
func full(work *os.File) bool {
	var s unix.Statfs_t
	return unix.Fstatfs(int(work.Fd()), &s) == nil && (s.Bavail == 0 || s.Ffree == 0)
}

// used is what the processes besides this one use.
type used struct {
	bytes   int64 // memory that is not a file's; what two share counts twice
	threads int   // this one's too, where it is of the same user and counted with them
	pids    []string
}

func usage() (used, error) {
	var u used
	names, err := processes()
	if os.Getuid() == own {
		self, readErr := os.ReadFile("/proc/self/status")
		err = errors.Join(err, readErr)
		u.threads = number(self, "Threads:")
	}
	for _, pid := range names {
		status, readErr := os.ReadFile("/proc/" + pid + "/status")
		if gone(readErr) {
			continue
		}
		err = errors.Join(err, readErr)
		u.pids = append(u.pids, pid)
		u.bytes += kilobytes(status, "RssAnon:") + kilobytes(status, "RssShmem:")
		u.threads += number(status, "Threads:")
	}
	return u, err
}

// exact counts what processes share once. A process that hides itself counts
// in full.
func exact(pids []string) (total int64, err error) {
	for _, pid := range pids {
		data, readErr := os.ReadFile("/proc/" + pid + "/smaps_rollup")
		if readErr == nil {
			total += kilobytes(data, "Pss_Anon:") + kilobytes(data, "Pss_Shmem:")
			continue
		}
		data, readErr = os.ReadFile("/proc/" + pid + "/status")
		if gone(readErr) {
			continue
		}
		err = errors.Join(err, readErr)
		total += kilobytes(data, "RssAnon:") + kilobytes(data, "RssShmem:")
	}
	return total, err
}

// processes returns the numbers of all processes but this one.
func processes() ([]string, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	pids := names[:0]
	for _, name := range names {
		if n, convErr := strconv.Atoi(name); convErr == nil && n != 1 {
			pids = append(pids, name)
		}
	}
	return pids, err
}

// gone reports whether a process ended while it was looked at.
func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// number returns the number after the first line that begins with the key, or
// 0. The kernel writes it; what a process writes itself, its name, has no line
// breaks there.
func number(data []byte, key string) int {
	for line := range bytes.Lines(data) {
		if rest, ok := strings.CutPrefix(string(line), key); ok {
			var n int
			if _, err := fmt.Sscan(rest, &n); err == nil {
				return n
			}
		}
	}
	return 0
}

func kilobytes(data []byte, key string) int64 { return int64(number(data, key)) << 10 }
