package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"github.com/slipway-dev/slipway"
)

const signingIn = "signing in to Azure"

// choose returns what signs in, found out once: the first way of which all
// variables are set, else the machine's managed identity, else `az login`.
func (a *Account) choose(ctx context.Context) (azcore.TokenCredential, error) {
	a.choosing.Lock()
	defer a.choosing.Unlock()
	if a.credential != nil {
		return a.credential, nil
	}
	if a.cloudErr != nil {
		return nil, a.cloudErr
	}
	w, credential, err := a.candidate(ctx)
	if ctx.Err() != nil { // what was not found was perhaps not waited for
		return nil, interrupted(ctx)
	}
	if err != nil {
		return nil, a.unusable(w.name, err)
	}
	a.way, a.credential = w, credential
	as := ""
	if id := a.identity(); id != "" {
		as = ", as " + id
	}
	a.told("signs in to Azure with " + w.name + as)
	return credential, nil
}

func (a *Account) candidate(ctx context.Context) (way, azcore.TokenCredential, error) {
	if w, ok := wayOf(a.getenv); ok {
		credential, err := w.open(a, w)
		return w, credential, err
	}
	cli, err := azidentity.NewAzureCLICredential(&azidentity.AzureCLICredentialOptions{TenantID: tenant.of(a.getenv)})
	if err != nil || !a.onAzure(ctx) {
		return way{name: wayCLI, tenant: tenant}, cli, err
	}
	w := way{name: wayMachine + ", else " + wayCLI, tenant: tenant, client: client}
	machine, err := a.byMachine()
	both, err2 := azidentity.NewChainedTokenCredential([]azcore.TokenCredential{optional{machine, err}, cli}, nil)
	return w, both, err2
}

const (
	wayMachine = "the machine's managed identity"
	wayCLI     = "az login"
)

func (a *Account) byMachine() (azcore.TokenCredential, error) {
	o := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: a.options()}
	if id := client.of(a.getenv); id != "" {
		o.ID = azidentity.ClientID(id)
	}
	return azidentity.NewManagedIdentityCredential(o)
}

// optional is a credential that leaves it to the next one in a chain where it
// brings nothing, whatever the reason: azidentity goes on for a few of them.
type optional struct {
	credential azcore.TokenCredential
	err        error // why there is none
}

func (o optional) GetToken(ctx context.Context, opts policy.TokenRequestOptions) (t azcore.AccessToken, err error) {
	if err = o.err; err == nil {
		t, err = o.credential.GetToken(ctx, opts)
	}
	var refused *azidentity.AuthenticationFailedError
	switch {
	case err == nil:
		return t, nil
	case errors.As(err, &refused) && refused.RawResponse != nil: // whose text is the whole answer
		return t, azidentity.NewCredentialUnavailableError(fmt.Sprintf("%s cannot be had: the answer is %d", wayMachine, refused.RawResponse.StatusCode))
	}
	return t, azidentity.NewCredentialUnavailableError(err.Error())
}

// identity is the client ID that signs in; "": it is not known here.
func (a *Account) identity() string { return oneLine(a.way.client.of(a.getenv)) }

// imds is the address of the token service inside of Azure's machines (Azure
// Instance Metadata Service). Elsewhere it leads nowhere.
const imds = "http://169.254.169.254/metadata/identity/oauth2/token"

// imdsLimit is how long it may take to answer. It is on the same machine.
const imdsLimit = time.Second

// onAzure reports whether something here gives out managed identities.
func (a *Account) onAzure(ctx context.Context) bool {
	if a.getenv("IDENTITY_ENDPOINT") != "" || a.getenv("MSI_ENDPOINT") != "" {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, imdsLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, imds, nil)
	if err != nil {
		return false
	}
	resp, err := bounded{a.wire}.RoundTrip(req) // without the header Metadata it gives nothing away
	if err != nil {
		return false
	}
	resp.Body.Close()
	return true
}

// unusable is a way that azidentity refuses before anything is sent.
func (a *Account) unusable(name string, err error) error {
	return slipway.Errorf(slipway.Invalid, signingIn, "%s cannot be used: %s", name, a.redact(err.Error())).
		WithHint("check AZURE_TENANT_ID and AZURE_CLIENT_ID: az account show, az ad sp list --display-name NAME")
}
