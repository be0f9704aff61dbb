package azure

import "time"

// ParseKubeconfig reads a kubeconfig as the client does.
func ParseKubeconfig(data []byte) (server string, entra bool, err error) {
	k, err := parseKubeconfig(data)
	return k.server, k.entra, err
}

// ReadFailure reads what a service says of why it refuses.
func ReadFailure(body []byte) string { return readFailure(body).String() }

// Expiry reads when a token ends.
var Expiry = expiry

// Cloud is the authority of the cloud that AZURE_AUTHORITY_HOST names.
func Cloud(authority string) (string, error) {
	c, err := sovereignOf(authority)
	return c.ActiveDirectoryAuthorityHost, err
}

// DefaultWire is what an account sends by that is told nothing else.
var DefaultWire = defaultWire

// At lets the account see another time.
func (a *Account) At(now func() time.Time) { a.now = now }
