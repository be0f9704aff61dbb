package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Address returns HOST:PORT on loopback that nobody listens on and nobody is
// about to: the host is one of 127.0.0.0/8 drawn for this caller, so that the
// port stays free although many programs take ports of 127.0.0.1 meanwhile.
func Address() (string, error) {
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250))
	l, err := net.Listen("tcp", host+":0")
	if err != nil {
		return "", fmt.Errorf("finding a free address: %w", err)
	}
	defer l.Close()
	return l.Addr().String(), nil
}
