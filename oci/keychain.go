package oci

import (
	"context"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
)

// Login returns user name and password for an image registry, called when they
// are needed; false: it knows none for this host.
type Login func(host string) (fresh func(context.Context) (username, password string, err error), ok bool)

// Keychain finds credentials as every tool does: ACR_USERNAME and ACR_PASSWORD
// for the host ACR_LOGIN_SERVER, then Docker's config with its credential
// helpers, then Podman's, then what the logins give.
func Keychain(getenv func(string) string, logins ...Login) authn.Keychain {
	acr := acrKeychain{
		host: LoginServer(getenv("ACR_LOGIN_SERVER")),
		auth: authn.AuthConfig{Username: getenv("ACR_USERNAME"), Password: getenv("ACR_PASSWORD")},
	}
	chain := []authn.Keychain{acr, authn.DefaultKeychain}
	for _, login := range logins {
		chain = append(chain, login)
	}
	return authn.NewMultiKeychain(chain...)
}

// Resolve is part of authn.Keychain.
func (l Login) Resolve(r authn.Resource) (authn.Authenticator, error) {
	fresh, ok := l(r.RegistryStr())
	if !ok {
		return authn.Anonymous, nil
	}
	return freshly(fresh), nil
}

// freshly are credentials that are asked for each time they are sent: they end,
// and a long push must not end with them.
type freshly func(context.Context) (username, password string, err error)

// Authorization is part of authn.Authenticator.
func (f freshly) Authorization() (*authn.AuthConfig, error) {
	return f.AuthorizationContext(context.Background())
}

// AuthorizationContext is part of authn.ContextAuthenticator.
func (f freshly) AuthorizationContext(ctx context.Context) (*authn.AuthConfig, error) {
	username, password, err := f(ctx)
	if err != nil {
		return nil, err
	}
	return &authn.AuthConfig{Username: username, Password: password}, nil
}

// LoginServer returns the host of what people put into ACR_LOGIN_SERVER: a URL
// and capitals are taken, too.
func LoginServer(s string) string {
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
