package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"

	"github.com/slipway-dev/slipway"
)

// ended is process 1's report on how a sandbox ended.
type ended struct {
	Failed      string        // the sandbox could not be made
	Errno       syscall.Errno // why, where the system said it
	NotStarted  string        // the program could not be started
	Code        int           // the program's exit code
	Signal      int           // the signal that ended it
	Memory      bool          // it was ended as it held too much memory
	Peak        int64         // the most memory that was seen, in bytes
	Processes   bool          // all the processes it may have were seen
	Disk        bool          // its disk was seen full
	Undelivered string        // what it made could not be copied out
	Canceled    bool          // its context ended, and so it was ended
	Late        bool          // at its deadline
}

// store replaces the report.
func (e ended) store(report *os.File) error {
	data, err := json.Marshal(e)
	if err == nil {
		err = report.Truncate(0)
	}
	if err == nil {
		_, err = report.WriteAt(data, 0)
	}
	return err
}

func failure(err error) ended {
	e := ended{Failed: err.Error()}
	errors.As(err, &e.Errno)
	return e
}

func (e ended) exitCode() int {
	switch {
	case e.Failed != "" || e.NotStarted != "":
		return 126
	case e.Signal != 0:
		return 128 + e.Signal
	case e.Code == 0 && e.Undelivered != "":
		return 1
	}
	return e.Code
}

// Explain says why a command of [Command] failed, given the error of its
// Start, Run or Wait; nil for nil. The codes of the errors:
//
//   - Exhausted: it was ended for its memory; it used up its processes or its
//     disk, and then failed; its context's deadline passed
//   - NotFound: the program is not there, or not all of what it needs to start
//   - Unauthorized: this machine does not allow sandboxes; the hint says what
//     mends it
//   - Invalid: the program failed: with an exit code, or by a signal
//   - Unavailable: its context was canceled
//
// Where a single process asks for more than Config.Memory it is refused by the
// system and fails as it sees fit: a Python program with a MemoryError.
func Explain(cmd *exec.Cmd, err error) error {
	const op = "running in a sandbox"
	if err == nil {
		return nil
	}
	e := slipway.Errorf(slipway.Invalid, op, "")
	e.Err = err
	switch report, ok := reportOf(cmd); {
	case errors.Is(err, context.DeadlineExceeded), report.Late:
		e.Code, e.Message = slipway.Exhausted, "the program did not end in time"
	case errors.Is(err, context.Canceled), report.Canceled:
		e.Code, e.Message = slipway.Unavailable, "the program was ended"
	case cmd.ProcessState == nil:
		return cannot(err)
	case !ok:
		e.Code, e.Message = slipway.Unavailable, "the sandbox was ended from outside"
		e.Hint = "perhaps this machine has no memory left; see its kernel's log (dmesg)"
	case report.Failed != "":
		e.Code, e.Hint = missing(report.Errno)
		e.Message, e.Err = "the sandbox could not be made", errors.New(report.Failed)
	default:
		report.explain(e)
	}
	return e
}

// explain fills in what is known of a program that ran.
func (r ended) explain(e *slipway.Error) {
	e.Message = fmt.Sprintf("the program exited with code %d", r.Code)
	if r.Signal != 0 {
		e.Message = fmt.Sprintf("the program was ended by signal %d (%s)", r.Signal, syscall.Signal(r.Signal))
	}
	e.Err = nil
	switch {
	case r.NotStarted != "":
		e.Code, e.Err = slipway.NotFound, errors.New(r.NotStarted)
		e.Message = "the program cannot be started"
		e.Hint = "show the sandbox the folders that the program and what interprets it are in"
	case r.Memory:
		e.Code = slipway.Exhausted
		e.Message = fmt.Sprintf("the program was ended: it held %d MB of memory, more than it may", r.Peak>>20)
	case r.Disk:
		e.Code = slipway.Exhausted
		e.Message += ", and its disk was full"
	case r.Processes:
		e.Code = slipway.Exhausted
		e.Message += ", and it had as many processes and threads as it may"
	case r.Signal == int(syscall.SIGKILL):
		e.Hint = "perhaps this machine has no memory left; see its kernel's log (dmesg)"
	case r.Undelivered != "":
		e.Code, e.Message, e.Err = slipway.Exhausted, "what the program made could not be stored", errors.New(r.Undelivered)
	}
}

// maxReport bounds what is read of a report, in bytes.
const maxReport = 64 << 10

// reportOf reads the report of a command that has ended.
func reportOf(cmd *exec.Cmd) (e ended, ok bool) {
	if len(cmd.ExtraFiles) == 0 {
		return e, false
	}
	f := cmd.ExtraFiles[len(cmd.ExtraFiles)-1]
	data, err := io.ReadAll(io.NewSectionReader(f, 0, maxReport))
	return e, err == nil && json.Unmarshal(data, &e) == nil
}

// cannot is the error of a sandbox that this machine refuses.
func cannot(err error) error {
	code, hint := missing(err)
	e := slipway.Errorf(code, op, "this machine does not allow it").WithHint("%s", hint)
	e.Err = err
	return e
}
