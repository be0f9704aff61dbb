//go:build !linux || !(amd64 || arm64)

package sandbox

import (
	"context"
	"os/exec"
	"runtime"

	"github.com/slipway-dev/slipway"
)

// Init does nothing: there are no sandboxes on this system.
func Init() {}

func command(context.Context, Config, job) (*exec.Cmd, error) {
	return nil, slipway.Errorf(slipway.Invalid, op, "there are no sandboxes on %s/%s", runtime.GOOS, runtime.GOARCH).
		WithHint("build on Linux (amd64 or arm64), for example in CI")
}

// missing is for Linux.
func missing(error) (slipway.Code, string) { return slipway.Internal, "" }
