package azure

import (
	"net/url"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
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

// sovereignOf returns the cloud whose authority AZURE_AUTHORITY_HOST names; the
// public one where it names none that is known.
func sovereignOf(authority string) sovereign {
	u, err := url.Parse(authority)
	if err != nil {
		return public
	}
	switch strings.ToLower(u.Hostname()) {
	case "login.microsoftonline.us":
		return government
	case "login.chinacloudapi.cn", "login.partner.microsoftonline.cn":
		return china
	}
	return public
}
