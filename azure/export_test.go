package azure

// ParseKubeconfig reads a kubeconfig as the client does.
func ParseKubeconfig(data []byte) (server string, entra bool, err error) {
	k, err := parseKubeconfig(data)
	return k.server, k.entra, err
}

// ReadFailure reads what a service says of why it refuses.
func ReadFailure(body []byte) string { return readFailure(body).String() }

// Expiry reads when a token ends.
var Expiry = expiry
