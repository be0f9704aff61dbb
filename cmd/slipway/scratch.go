package main

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"

	"github.com/slipway-dev/slipway"
)

// scratch is a folder for the run's own files.
func (j *journey) scratch(name string) (string, error) {
	if j.scratchDir == "" {
		clearScratch()
		var err error
		if j.scratchDir, j.scratchLock, err = newScratch(); err != nil {
			return "", (&slipway.Error{Op: "making a folder", Code: slipway.Exhausted, Err: err}).WithHint("free space, or set TMPDIR")
		}
	}
	dir := filepath.Join(j.scratchDir, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", &slipway.Error{Op: "making a folder", Code: slipway.Exhausted, Err: err}
	}
	return dir, nil
}

const scratchPrefix = "slipway-build-"

// newScratch makes a folder in which this run's files are, and holds its lock,
// so that others know that it is in use.
func newScratch() (dir string, lock *os.File, err error) {
	for {
		if dir, err = os.MkdirTemp("", scratchPrefix); err != nil {
			return "", nil, err
		}
		lock, err = holdScratch(dir)
		if err == nil || !errors.Is(err, errScratchTaken) {
			return dir, lock, err
		}
	}
}

// errScratchTaken says that another run has the folder, or removed it.
var errScratchTaken = errors.New("the folder is another run's")

func holdScratch(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, errScratchTaken
	}
	if err != nil {
		return nil, err
	}
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil, errors.Join(errScratchTaken, f.Close())
	}
	ours, err := f.Stat()
	now, nowErr := os.Stat(dir)
	if err != nil || nowErr != nil || !os.SameFile(ours, now) {
		return nil, errors.Join(errScratchTaken, f.Close())
	}
	return f, nil
}

// clearScratch removes the folders of runs that were killed. What it cannot
// remove, others' for one, it leaves.
func clearScratch() {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), scratchPrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if lock, err := holdScratch(dir); err == nil {
			_ = os.RemoveAll(dir)
			_ = lock.Close()
		}
	}
}

// cleanUp removes what only this run needed.
func (j *journey) cleanUp() {
	if j.scratchDir == "" {
		return
	}
	if err := os.RemoveAll(j.scratchDir); err != nil {
		j.story.warn("build", "cleaning up %s: %v", filepath.Base(j.scratchDir), err)
	}
	if j.scratchLock != nil {
		_ = j.scratchLock.Close() // it was only read
	}
	j.scratchDir, j.scratchLock = "", nil
}
