package local

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errHeld says that another process, or another part of this one, holds a
// lock file.
var errHeld = errors.New("the lock is held")

// tryFlock takes the lock file without waiting. The system gives it back when
// the holder dies. Closing the file does so, too.
func tryFlock(path string) (*os.File, error) {
	for {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			if errors.Is(err, unix.EWOULDBLOCK) {
				err = errHeld
			}
			return nil, errors.Join(err, file.Close())
		}
		if isAt(file, path) {
			return file, nil
		}
		// Somebody replaced the file between opening and locking it.
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
}

// isAt reports whether the open file is still the one at path.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// waitFlock takes the lock file, asking every so often while it is held.
func waitFlock(ctx context.Context, path string, every time.Duration) (*os.File, error) {
	for {
		file, err := tryFlock(path)
		if !errors.Is(err, errHeld) {
			return file, err
		}
		if err := pause(ctx, every); err != nil {
			return nil, err
		}
	}
}

// pause waits for d or the context's end.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
