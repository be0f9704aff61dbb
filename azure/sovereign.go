package azure

import (
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"

	"github.com/slipway-dev/slipway"
)

// sovereign is one of the clouds that are called Azure.
type sovereign struct {
	cloud.Configuration
	audience string // of the assertions that federated credentials take
}

var (
	public     = sovereign{cloud.AzurePublic, "api://AzureADTokenExchange"}
	government = sovereign{cloud.AzureGovernment, "api://AzureADTokenExchangeUSGov"}
	china      = sovereign{cloud.AzureChina, "api://AzureADTokenExchangeChina"}
)

var authorityHost = variable{"AZURE_AUTHORITY_HOST"}

// sovereignOf returns the cloud of the authority, a host or its URL; of none,
// the public one. The error's code is Invalid.
func sovereignOf(authority string) (sovereign, error) {
	if authority == "" {
		return public, nil
	}
	if !strings.Contains(authority, "://") {
		authority = "https://" + authority
	}
	u, err := url.Parse(authority)
	if err == nil && u.Scheme == "https" {
		switch strings.ToLower(u.Hostname()) {
		case "login.microsoftonline.com", "login.microsoft.com", "login.windows.net":
			return public, nil
		case "login.microsoftonline.us":
			return government, nil
		case "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
			return china, nil
		}
	}
	return public, slipway.Errorf(slipway.Invalid, signingIn, "AZURE_AUTHORITY_HOST is no https URL of a cloud that is known").
		WithHint("unset it, or set it to what az cloud show --query endpoints.activeDirectory -o tsv prints")
}
