package oci

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Keychain finds credentials as every tool does: ACR_USERNAME and ACR_PASSWORD
// for the host ACR_LOGIN_SERVER, then Docker's config with its credential
// helpers, then Podman's.
func Keychain(getenv func(string) string) authn.Keychain {
	acr := acrKeychain{
		host: loginServer(getenv("ACR_LOGIN_SERVER")),
		auth: authn.AuthConfig{Username: getenv("ACR_USERNAME"), Password: getenv("ACR_PASSWORD")},
	}
	return authn.NewMultiKeychain(acr, authn.DefaultKeychain)
}

// loginServer returns the host of what people put into ACR_LOGIN_SERVER.
func loginServer(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	return strings.TrimRight(strings.TrimPrefix(s, "https://"), "/")
}

type acrKeychain struct {
	host string
	auth authn.AuthConfig
}

func (k acrKeychain) Resolve(r authn.Resource) (authn.Authenticator, error) {
	if k.host == "" || r.RegistryStr() != k.host || k.auth.Username == "" || k.auth.Password == "" {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(k.auth), nil
}
