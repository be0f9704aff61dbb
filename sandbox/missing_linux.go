//go:build amd64 || arm64

package sandbox

import (
	"bytes"
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-dev/slipway"
)

// switches are the settings of a kernel that forbid what a sandbox needs to
// users who are not root.
var switches = []struct{ path, forbids, hint string }{
	{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1",
		"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or run as root"},
	{"/proc/sys/kernel/unprivileged_userns_clone", "0",
		"sudo sysctl -w kernel.unprivileged_userns_clone=1, or run as root"},
	{"/proc/sys/user/max_user_namespaces", "0",
		"sudo sysctl -w user.max_user_namespaces=10000"},
}

// missing says what this machine lacks when it refuses a sandbox with err.
func missing(err error) (slipway.Code, string) {
	switch {
	case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL):
		return slipway.Invalid, "a sandbox needs Linux 5.14 or newer, with user namespaces and seccomp"
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOMEM):
		return slipway.Unavailable, "this machine has no processes or no memory left"
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EUSERS):
		return slipway.Internal, ""
	}
	for _, s := range switches {
		value, err := os.ReadFile(s.path)
		if err == nil && string(bytes.TrimSpace(value)) == s.forbids {
			return slipway.Unauthorized, s.hint
		}
	}
	return slipway.Unauthorized, "allow user namespaces (sysctl user.max_user_namespaces); " +
		"in a container, start it with --security-opt seccomp=unconfined --security-opt systempaths=unconfined --security-opt apparmor=unconfined"
}
