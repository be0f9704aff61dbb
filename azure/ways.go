package azure

import (
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// The variables, by the names that count in that order; the last one is what
// people are told to set. Who signs in comes from the same hand as what proves
// it: Azure DevOps sets AZURESUBSCRIPTION_… in its Azure tasks, and tenantId,
// servicePrincipalId, servicePrincipalKey and idToken in AzureCLI@2 with
// addSpnToEnvironment.
var (
	tenant = variable{"AZURE_TENANT_ID"}
	client = variable{"AZURE_CLIENT_ID"}
	secret = variable{"AZURE_CLIENT_SECRET"}

	tokenFile   = variable{"AZURE_FEDERATED_TOKEN_FILE"}
	githubURL   = variable{"ACTIONS_ID_TOKEN_REQUEST_URL"}
	githubToken = variable{"ACTIONS_ID_TOKEN_REQUEST_TOKEN"}

	devopsTenant  = variable{"AZURESUBSCRIPTION_TENANT_ID", "AZURE_TENANT_ID"}
	devopsClient  = variable{"AZURESUBSCRIPTION_CLIENT_ID", "AZURE_CLIENT_ID"}
	devopsService = variable{"AZURESUBSCRIPTION_SERVICE_CONNECTION_ID"}
	devopsURL     = variable{"SYSTEM_OIDCREQUESTURI"}
	devopsToken   = variable{"SYSTEM_ACCESSTOKEN"}

	taskTenant  = variable{"tenantId"}
	taskClient  = variable{"servicePrincipalId"}
	taskIDToken = variable{"idToken"}
	taskSecret  = variable{"servicePrincipalKey"}
)

// variable is a setting by the names it may have; the first that is set counts.
type variable []string

func (v variable) of(getenv func(string) string) string {
	for _, name := range v {
		if text := strings.TrimSpace(getenv(name)); text != "" {
			return text
		}
	}
	return ""
}

// way is one way to sign in. It is taken if all of its variables are set.
type way struct {
	name           string
	tenant, client variable // who
	proof          []variable
	open           func(*Account, way) (azcore.TokenCredential, error)
}

// ways are tried in this order, which is azidentity's: what was set on purpose
// comes before what a CI system sets by itself.
var ways = []way{
	{"a client secret", tenant, client, []variable{secret}, (*Account).bySecret},
	{"a federated token file", tenant, client, []variable{tokenFile}, (*Account).byTokenFile},
	{github, tenant, client, []variable{githubURL, githubToken}, (*Account).byGitHub},
	{"an Azure DevOps service connection", devopsTenant, devopsClient, []variable{devopsService, devopsURL, devopsToken}, (*Account).byDevOps},
	{"AzureCLI@2's idToken", taskTenant, taskClient, []variable{taskIDToken}, (*Account).byIDToken},
	{"AzureCLI@2's service principal", taskTenant, taskClient, []variable{taskSecret}, (*Account).bySecret},
}

const github = "GitHub's OIDC token"

// needs are all variables of the way.
func (w way) needs() []variable { return append([]variable{w.tenant, w.client}, w.proof...) }

// missing returns the names of the variables that are not set.
func (w way) missing(getenv func(string) string) []string {
	var names []string
	for _, v := range w.needs() {
		if v.of(getenv) == "" {
			names = append(names, v[len(v)-1])
		}
	}
	return names
}

// wayOf returns the way that the environment gives; false: none is complete.
func wayOf(getenv func(string) string) (way, bool) {
	for _, w := range ways {
		if len(w.missing(getenv)) == 0 {
			return w, true
		}
	}
	return way{}, false
}

// lacking says of each way what is missing, a line each.
func lacking(getenv func(string) string) string {
	var lines []string
	for _, w := range ways {
		lines = append(lines, fmt.Sprintf("%s: %s is not set", w.name, strings.Join(w.missing(getenv), ", ")))
	}
	return strings.Join(lines, "\n")
}

func (a *Account) bySecret(w way) (azcore.TokenCredential, error) {
	return azidentity.NewClientSecretCredential(w.tenant.of(a.getenv), w.client.of(a.getenv), w.proof[0].of(a.getenv),
		&azidentity.ClientSecretCredentialOptions{ClientOptions: a.options()})
}

func (a *Account) byTokenFile(w way) (azcore.TokenCredential, error) {
	return a.byAssertion(w, fromFile(tokenFile.of(a.getenv)))
}

func (a *Account) byGitHub(w way) (azcore.TokenCredential, error) {
	return a.byAssertion(w, a.fromGitHub)
}

func (a *Account) byDevOps(w way) (azcore.TokenCredential, error) {
	return a.byAssertion(w, a.fromDevOps)
}

// byIDToken signs in with the one assertion the task was given. It is good for
// some ten minutes: long enough for tokens that live an hour.
func (a *Account) byIDToken(w way) (azcore.TokenCredential, error) {
	return a.byAssertion(w, given(taskIDToken.of(a.getenv)))
}

// byAssertion signs in with assertions of somebody whom Entra trusts, a fresh
// one for each token: they expire after minutes.
func (a *Account) byAssertion(w way, assert assertion) (azcore.TokenCredential, error) {
	return azidentity.NewClientAssertionCredential(w.tenant.of(a.getenv), w.client.of(a.getenv), assert.noted,
		&azidentity.ClientAssertionCredentialOptions{ClientOptions: a.options()})
}
