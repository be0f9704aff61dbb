package uv

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// again is how long a process waits before it asks for a held lock once more.
const again = 50 * time.Millisecond

// errHeld says that somebody else holds a lock file.
var errHeld = errors.New("the lock is held")

// tryFlock takes the lock file of that name without waiting. The system gives
// it back when the holder dies; closing the file gives it back, too. Lock files
// stay: taking one away while another process waits for it would give two of
// them the lock.
func tryFlock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fileError("locking "+filepath.Base(path), err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errHeld
	}
	return nil, errors.Join(err, file.Close())
}

// flock waits for the lock file.
func flock(ctx context.Context, path string) (*os.File, error) {
	for {
		file, err := tryFlock(path)
		if !errors.Is(err, errHeld) {
			return file, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(again):
		}
	}
}

// isFull reports whether the disk, or the user's share of it, is full.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// writeFile replaces a file so that it is either the old or the new one. The
// caller holds the lock that guards it.
func writeFile(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.WriteFile(temp, data, 0o644); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return os.Rename(temp, path)
}
