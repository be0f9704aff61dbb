package local

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// launcher starts processes from one thread that lives as long as the
// supervisor: on Linux, the signal that ends a child with its parent comes
// when the parent's thread ends (prctl(2), PR_SET_PDEATHSIG).
type launcher chan func()

func newLauncher() launcher {
	l := make(launcher)
	go func() {
		runtime.LockOSThread()
		for start := range l {
			start()
		}
	}()
	return l
}

func (l launcher) start(cmd *exec.Cmd) (err error) {
	done := make(chan struct{})
	l <- func() {
		defer close(done)
		err = cmd.Start()
	}
	<-done
	return err
}

// busyLimit bounds how long a program that is still open for writing is waited
// for.
const busyLimit = 10 * time.Second

// startFree starts a program that was written a moment ago. Whoever wrote it
// may have forked while the file was open: until that child executes, it holds
// a copy of the descriptor, and the system refuses to run the file (ETXTBSY,
// https://go.dev/issue/22315). That ends by itself.
func (l launcher) startFree(command func() *exec.Cmd) (*exec.Cmd, error) {
	for deadline := time.Now().Add(busyLimit); ; time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // nothing tells when the file is free
		cmd := command()
		err := l.start(cmd)
		if err == nil || !errors.Is(err, syscall.ETXTBSY) || time.Now().After(deadline) {
			return cmd, err
		}
	}
}

// process is a running model server.
type process struct {
	cmd  *exec.Cmd
	log  *tail
	done chan struct{} // closed when it has ended; state is then set
}

// launch starts a program in a process group of its own, which ends with the
// supervisor. Its output goes to the log file and is bounded.
func (l launcher) launch(path string, args, env []string, logPath string) (*process, error) {
	log, err := openTail(logPath)
	if err != nil {
		return nil, err
	}
	cmd, err := l.startFree(func() *exec.Cmd {
		cmd := exec.Command(path, args...)
		cmd.Env = env
		cmd.Dir = filepath.Dir(logPath)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.WaitDelay = time.Second
		cmd.SysProcAttr = endsWithParent()
		return cmd
	})
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		// How it ended is in ProcessState; that its log was cut off, or
		// could not be written, is not worth a crash.
		_ = cmd.Wait()
		_ = log.Close()
	}()
	return p, nil
}

// signal sends to the whole group. A process that has ended is fine.
func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.done:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// terminate asks the process to end and ends it after grace.
func (p *process) terminate(grace time.Duration) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(grace):
		p.signal(syscall.SIGKILL)
		<-p.done
	}
}

// ended says how the process ended: "exited with code 1", "was killed by
// SIGKILL". Call it after done.
func (p *process) ended() string {
	state := p.cmd.ProcessState
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("was ended by signal %d (%s)", status.Signal(), status.Signal())
	}
	return fmt.Sprintf("exited with code %d", state.ExitCode())
}

// tail is a bounded log file that remembers its end.
type tail struct {
	mu   sync.Mutex
	file *rotating
	last []byte
}

const maxTail = 4 << 10

func openTail(path string) (*tail, error) {
	file, err := openRotating(path)
	if err != nil {
		return nil, err
	}
	return &tail{file: file}, nil
}

// Write never fails: a full disk must not stop a model server from answering.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = append(t.last, p...)
	if extra := len(t.last) - maxTail; extra > 0 {
		t.last = bytes.Clone(t.last[extra:])
	}
	_, _ = t.file.Write(p)
	return len(p), nil
}

func (t *tail) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.file.Close()
}

func (t *tail) lines(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return lastLines(string(t.last), n)
}

// birth is what is stored of a running replica, so that a later supervisor
// can end it: process.json.
type birth struct {
	PID      int    `json:"pid"`
	Identity string `json:"identity"` // tells the process from a later one with the same number
}

func (b birth) store(path string) error {
	data, err := json.Marshal(b)
	if err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

// clearOrphans ends the replicas of a supervisor that died, where the system
// did not do so, and forgets them.
func (s *supervisor) clearOrphans() error {
	const op = "clearing away old replicas"
	entries, err := os.ReadDir(s.dir.path("replicas"))
	if err != nil {
		return fileError(op, s.dir.path("replicas"), err)
	}
	for _, e := range entries {
		dir := s.dir.path("replicas", e.Name())
		if err := endOrphan(filepath.Join(dir, "process.json")); err != nil {
			s.log.Warn("an old replica may still run", "replica", e.Name(), "error", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fileError(op, dir, err)
		}
	}
	return s.clearAside()
}

// clearAside removes the images that a supervisor had set aside when it died.
func (s *supervisor) clearAside() error {
	entries, err := os.ReadDir(s.dir.path("images"))
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), asidePrefix) {
			err = errors.Join(err, os.RemoveAll(s.dir.path("images", e.Name())))
		}
	}
	return err
}

func endOrphan(path string) error {
	data, err := readFile(path, 4<<10)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var b birth
	if err == nil {
		err = json.Unmarshal(data, &b)
	}
	if err != nil || b.PID <= 1 {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), 5*time.Second, fmt.Errorf("process %d does not end", b.PID))
	defer cancel()
	for b.lives() {
		_ = syscall.Kill(-b.PID, syscall.SIGKILL)
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// lives reports whether the process still runs. When it is gone, another one
// may have its number.
func (b birth) lives() bool {
	id, err := identity(b.PID)
	return err == nil && id == b.Identity
}
