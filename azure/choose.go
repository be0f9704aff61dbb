package azure

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
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
	w, credential, err := a.candidate(ctx)
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
	if err != nil {
		return w, nil, err
	}
	both, err := azidentity.NewChainedTokenCredential([]azcore.TokenCredential{machine, cli}, nil)
	return w, both, err
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
