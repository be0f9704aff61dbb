//go:build !linux

package local

import (
	"fmt"
	"net"
)

// socketPath returns the folder's socket. Outside Linux there is no way
// around the system's limit (104 bytes on macOS).
func socketPath(dir folder) (path string, done func(), err error) {
	path = dir.path("control.sock")
	if len(path) > 103 {
		return "", nil, fmt.Errorf("%s is too long for a socket: use a shorter state folder", path)
	}
	return path, func() {}, nil
}

// checkPeer has nothing to add: the folder lets only its owner in.
func checkPeer(net.Conn) error { return nil }
