package azure

import (
	"net/http"
	"net/netip"
	"net/url"
)

// defaultWire is http.DefaultTransport within limits: a host that takes a
// request and says nothing fails like any other, and what is on this machine's
// link is asked directly.
func defaultWire() *http.Transport {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = tryLimit
	t.Proxy = offLink
	return t
}

// offLink is http.ProxyFromEnvironment but for link-local addresses (RFC 3927).
// What gives out identities on Azure's machines is there: at the far side of a
// proxy it would be the proxy's.
func offLink(r *http.Request) (*url.URL, error) {
	if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && ip.IsLinkLocalUnicast() {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}
