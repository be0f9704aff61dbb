// Package azure signs in to Azure and speaks with its services for the rest of
// Slipway: it finds a cluster's API server and the credentials for it (AKS),
// logs in to image registries (ACR), and reads models from Blob storage.
//
// It knows neither Kubernetes nor images nor MLflow: what it returns is plain
// data, and cmd/slipway hands it on. Nothing is ever written to disk, no
// program is run but `az` where nothing else signs in, and no error or log
// line carries a token, a key or an answer that may hold one.
package azure

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"github.com/slipway-dev/slipway"
)

// Config is what an Account must be told. Getenv is required.
type Config struct {
	Getenv    func(name string) string // the variables that docs/azure.md lists; empty counts as unset
	Transport http.RoundTripper        // nil: like http.DefaultTransport, which honours proxies, within limits
	Told      func(message string)     // told once how we sign in; nil: nobody
	Backoff   time.Duration            // before the second of four attempts of a request, more before each further; default 800 ms
}

// tryLimit bounds one attempt of a request: a host that takes connections and
// says nothing must not hold up a release. Reading a file has no such limit.
const tryLimit = 30 * time.Second

// Account is an identity in Azure. It signs in when a token is first needed,
// and is safe for concurrent use.
type Account struct {
	getenv func(string) string
	wire   http.RoundTripper
	told   func(string)
	retry  policy.RetryOptions
	cloud  sovereign
	now    func() time.Time

	cloudErr error // why no cloud is known

	choosing   sync.Mutex
	way        way // how it signs in, once that has been chosen
	credential azcore.TokenCredential

	mu      sync.Mutex
	tokens  map[string]*cached[azcore.AccessToken] // by scope
	logins  map[string]*cached[Login]              // by host
	anybody map[string]bool                        // hosts that were told to be asked without an identity
}

// New returns an account. It sends nothing yet.
func New(c Config) *Account {
	if c.Told == nil {
		c.Told = func(string) {}
	}
	if c.Transport == nil {
		c.Transport = defaultWire()
	}
	known, err := sovereignOf(authorityHost.of(c.Getenv))
	return &Account{
		getenv:   c.Getenv,
		wire:     hearing{c.Transport},
		told:     c.Told,
		retry:    policy.RetryOptions{RetryDelay: c.Backoff, TryTimeout: tryLimit},
		cloud:    known,
		cloudErr: err,
		now:      time.Now,
		tokens:   map[string]*cached[azcore.AccessToken]{},
		logins:   map[string]*cached[Login]{},
		anybody:  map[string]bool{},
	}
}

// Token returns a bearer token for the scope ("https://…/.default"). Tokens are
// kept and replaced before they expire. The codes: Unauthorized where Microsoft
// Entra refuses us or nothing to sign in with is there, Invalid where
// AZURE_AUTHORITY_HOST names no cloud, Unavailable where it is out of reach.
func (a *Account) Token(ctx context.Context, scope string) (string, error) {
	t, err := a.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{scope}})
	return t.Token, err
}

// GetToken is part of azcore.TokenCredential, so that an Account is what the
// SDK's clients sign in with. A challenge (claims) is always answered anew.
func (a *Account) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	if len(o.Scopes) != 1 {
		return azcore.AccessToken{}, slipway.Errorf(slipway.Internal, signingIn, "%d scopes are asked for at once", len(o.Scopes))
	}
	if o.Claims != "" {
		return a.mint(ctx, o)
	}
	a.mu.Lock()
	kept, ok := a.tokens[o.Scopes[0]]
	if !ok {
		kept = &cached[azcore.AccessToken]{}
		a.tokens[o.Scopes[0]] = kept
	}
	a.mu.Unlock()
	return kept.get(ctx, a.now(), func(ctx context.Context) (azcore.AccessToken, life, error) {
		t, err := a.mint(ctx, o)
		return t, life{refresh: t.RefreshOn, end: t.ExpiresOn}, err
	})
}

// mint asks for a new token.
func (a *Account) mint(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	credential, err := a.choose(ctx)
	if err != nil {
		return azcore.AccessToken{}, err
	}
	ctx, trouble := withTrouble(ctx)
	t, err := credential.GetToken(ctx, o)
	if err != nil {
		return azcore.AccessToken{}, a.signInFailure(ctx, err, trouble.last())
	}
	return t, nil
}

// options are those of every client of the SDK.
func (a *Account) options() azcore.ClientOptions {
	return azcore.ClientOptions{
		Cloud:     a.cloud.Configuration,
		Retry:     a.retry,
		Telemetry: policy.TelemetryOptions{ApplicationID: "slipway"},
		Transport: &http.Client{Transport: noting{bounded{a.wire}}, CheckRedirect: refuseRedirect},
	}
}

func (a *Account) armOptions() *arm.ClientOptions {
	return &arm.ClientOptions{ClientOptions: a.options(), DisableRPRegistration: true}
}

var _ azcore.TokenCredential = (*Account)(nil)
