package azure

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"

	"github.com/slipway-dev/slipway"
)

// Login is a user name and password for an image registry.
type Login struct{ Username, Password string }

// tokenUser is whom an Azure Container Registry knows by a token alone.
const tokenUser = "00000000-0000-0000-0000-000000000000"

// containerRegistry is what tokens are for that image registries take. Those of
// Azure Resource Manager, which az uses, can be turned off.
const containerRegistry = "https://containerregistry.azure.net/.default"

var registryHost = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{3,62}\.azurecr\.(io|us|cn)$`)

// IsRegistry reports whether the host is an Azure Container Registry: what we
// may show our tokens to.
func IsRegistry(host string) bool { return registryHost.MatchString(host) }

// Login exchanges a token of Microsoft Entra for one of the image registry (POST
// /oauth2/exchange, Azure/acr, docs/AAD-OAuth.md). It lives three hours; Login
// returns another one before its end. Where nothing names an identity and none
// is to be had, that is told, and the Login is empty: some image registries let
// everybody pull. The codes: Unauthorized, NotFound where there is no such image
// registry, Unavailable.
func (a *Account) Login(ctx context.Context, host string) (Login, error) {
	op := "logging in to " + oneLine(host)
	if !IsRegistry(host) {
		return Login{}, slipway.Errorf(slipway.Internal, op, "it is no Azure Container Registry")
	}
	a.mu.Lock()
	kept, ok := a.logins[host]
	if !ok {
		kept = &cached[Login]{}
		a.logins[host] = kept
	}
	a.mu.Unlock()
	return kept.get(ctx, a.now(), func(ctx context.Context) (Login, life, error) { return a.exchange(ctx, op, host) })
}

func (a *Account) exchange(ctx context.Context, op, host string) (Login, life, error) {
	token, err := a.Token(ctx, containerRegistry)
	if slipway.CodeOf(err) == slipway.Unauthorized && a.nobody() {
		a.tellAnybody(host, err)
		return Login{}, life{end: a.now().Add(unknownLife)}, nil
	}
	if err != nil {
		return Login{}, life{}, err
	}
	form := url.Values{"grant_type": {"access_token"}, "service": {host}, "access_token": {token}}
	if id := a.way.tenant.of(a.getenv); id != "" {
		form.Set("tenant", id)
	}
	req, err := runtime.NewRequest(ctx, http.MethodPost, "https://"+host+"/oauth2/exchange")
	if err == nil {
		err = req.SetBody(streaming.NopCloser(strings.NewReader(form.Encode())), "application/x-www-form-urlencoded")
	}
	if err != nil {
		return Login{}, life{}, slipway.Errorf(slipway.Internal, op, "a malformed request")
	}
	var out struct {
		Token string `json:"refresh_token"`
	}
	if err := a.ask(ctx, req, op, &out); err != nil {
		return Login{}, life{}, a.exchangeFailure(host, err)
	}
	if out.Token == "" {
		return Login{}, life{}, slipway.Errorf(slipway.Corrupt, op, "it answers without a token")
	}
	return Login{tokenUser, out.Token}, life{end: expiry(out.Token, a.now())}, nil
}

// tellAnybody tells, once, why an image registry is asked without an identity.
func (a *Account) tellAnybody(host string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.anybody[host] {
		a.anybody[host] = true
		lines := strings.Split(why.Error(), "\n") // what each way lacks, and what the last one said
		a.told("asks " + host + " as anybody: " + lines[len(lines)-1])
	}
}

func (a *Account) exchangeFailure(host string, err error) error {
	name, _, _ := strings.Cut(host, ".")
	if slipway.CodeOf(err) == slipway.NotFound {
		return hinted(err, "az acr list -o table lists the image registries: check ACR_LOGIN_SERVER")
	}
	return hinted(err, "az role assignment create --assignee %s --role AcrPush --scope $(az acr show --name %s --query id -o tsv); "+
		"az acr update --name %s --allow-trusted-services true where its network is closed; or set ACR_USERNAME and ACR_PASSWORD", a.assignee(), name, name)
}

// unknownLife is how long a token is kept that does not say when it ends.
const unknownLife = time.Hour

// expiry reads when a JSON web token ends (RFC 7519, 4.1.4). It is not checked:
// it is only for us to know when to ask again.
func expiry(token string, now time.Time) time.Time {
	parts := strings.Split(token, ".")
	var claims struct {
		Exp float64 `json:"exp"`
	}
	if len(parts) != 3 {
		return now.Add(unknownLife)
	}
	body, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil || json.Unmarshal(body, &claims) != nil || claims.Exp < 1 || claims.Exp > 1<<40 {
		return now.Add(unknownLife)
	}
	return time.Unix(int64(claims.Exp), 0)
}
