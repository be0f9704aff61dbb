package pack

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"syscall"

	"github.com/slipway-dev/slipway"
)

// failure gives an error of the file system the code and hint it deserves.
func failure(err error) error {
	var known *slipway.Error
	if err == nil || errors.As(err, &known) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	e := &slipway.Error{Op: op, Code: slipway.Unavailable, Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT), errors.Is(err, syscall.EFBIG):
		e.Code, e.Message = slipway.Exhausted, "the disk is full"
		e.Hint = "free as much space as the model takes, or set XDG_CACHE_HOME to a folder on a larger disk"
	case errors.Is(err, fs.ErrNotExist):
		e.Code = slipway.NotFound
	case errors.Is(err, fs.ErrPermission):
		e.Code, e.Hint = slipway.Unauthorized, "make the file readable for the user that builds"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		e.Code = slipway.Invalid
	}
	return e
}

// quote shows a foreign name on one line.
func quote(name string) string {
	const longest = 200
	if len(name) > longest {
		name = name[:longest] + "…"
	}
	return strconv.Quote(name)
}
