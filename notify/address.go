package notify

import (
	"net"
	"net/url"
	"strings"

	"github.com/slipway-dev/slipway"
)

// parseAddress checks an address from the setting called name: https, or http
// to this machine. Code Invalid. The error does not repeat the address: whoever
// knows it may write to the channel.
func parseAddress(name, address string) (*url.URL, error) {
	op := "reading " + name
	u, err := url.Parse(strings.TrimSpace(address))
	switch {
	case err != nil || u.Host == "" || u.Opaque != "":
		return nil, slipway.Errorf(slipway.Invalid, op, "it is no address").WithHint("set %s to the whole address, with https://", name)
	case u.User != nil:
		return nil, slipway.Errorf(slipway.Invalid, op, "there is a user name or password in the address").WithHint("set %s to an address without one", name)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		u.Fragment = ""
		return u, nil
	}
	return nil, slipway.Errorf(slipway.Invalid, op, "the address is not https").WithHint("set %s to an address that begins with https://", name)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
