package azure

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"

	"github.com/slipway-dev/slipway"
)

// ClusterRef names a cluster of Azure Kubernetes Service.
type ClusterRef struct {
	Subscription string // its ID
	Group        string // the resource group
	Name         string
}

var (
	subscription = variable{"AZURE_SUBSCRIPTION_ID"}
	clusterGroup = variable{"AKS_RESOURCE_GROUP"}
	clusterName  = variable{"AKS_CLUSTER_NAME"}
)

// ClusterFrom returns the cluster that AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP and
// AZURE_SUBSCRIPTION_ID name together; false: one of them is not set.
func ClusterFrom(getenv func(string) string) (ClusterRef, bool) {
	ref := ClusterRef{Subscription: subscription.of(getenv), Group: clusterGroup.of(getenv), Name: clusterName.of(getenv)}
	return ref, ref.Subscription != "" && ref.Group != "" && ref.Name != ""
}

// ID is the cluster as Azure Resource Manager writes it.
func (r ClusterRef) ID() string {
	return fmt.Sprintf("/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ContainerService/managedClusters/%s", r.Subscription, r.Group, r.Name)
}

// Cluster is how to reach an API server: with a client certificate, with a
// bearer token that stays, or with tokens of Microsoft Entra.
type Cluster struct {
	Server     string // https://HOST:PORT
	CA         []byte // PEM: who signs the API server's certificate
	ClientCert []byte // PEM, with ClientKey; or
	ClientKey  []byte
	Token      func(context.Context) (string, error) // of the moment: ask it for each request
}

// aksServer is the application that stands for all API servers of AKS in
// Microsoft Entra (Microsoft Learn, "Use kubelogin to authenticate in AKS").
const aksServer = "6dae42f8-4368-4678-94ff-3960e28e3630/.default"

// Cluster asks Azure Resource Manager for a cluster's API server and the
// credentials of its users. A cluster that asks for Entra gets our own tokens:
// neither az nor kubelogin is run. The codes: Invalid, NotFound, Unauthorized
// where the role is missing (the hint names it), Unavailable.
func (a *Account) Cluster(ctx context.Context, ref ClusterRef) (Cluster, error) {
	op := "asking Azure for the cluster " + oneLine(ref.Name)
	clusters, err := armcontainerservice.NewManagedClustersClient(ref.Subscription, a, a.armOptions())
	if err != nil {
		return Cluster{}, slipway.Errorf(slipway.Internal, op, "no client for Azure Resource Manager")
	}
	format := armcontainerservice.FormatExec
	out, err := clusters.ListClusterUserCredentials(ctx, ref.Group, ref.Name,
		&armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions{Format: &format})
	if err != nil {
		return Cluster{}, a.clusterFailure(ctx, op, ref, err)
	}
	for _, k := range out.Kubeconfigs {
		if k != nil && len(k.Value) > 0 {
			return a.read(op, k.Value)
		}
	}
	return Cluster{}, slipway.Errorf(slipway.Invalid, op, "Azure answers without credentials").
		WithHint("az aks get-credentials --name %s --resource-group %s shows whether it gives any", oneLine(ref.Name), oneLine(ref.Group))
}

// read makes a Cluster of the kubeconfig that Azure gives out.
func (a *Account) read(op string, data []byte) (Cluster, error) {
	k, err := parseKubeconfig(data)
	if err != nil {
		return Cluster{}, slipway.Errorf(slipway.Invalid, op, "the credentials that Azure gives are of no use: %s", err)
	}
	c := Cluster{Server: k.server, CA: k.ca, ClientCert: k.cert, ClientKey: k.key}
	switch {
	case k.entra:
		c.Token = func(ctx context.Context) (string, error) { return a.Token(ctx, aksServer) }
	case k.token != "":
		c.Token = func(context.Context) (string, error) { return k.token, nil }
	}
	return c, nil
}

// clusterFailure names the role that is missing, or the name that is wrong.
func (a *Account) clusterFailure(ctx context.Context, op string, ref ClusterRef, err error) error {
	e := a.serviceFailure(ctx, op, "Azure Resource Manager", err)
	switch e.Code {
	case slipway.Unauthorized:
		return hinted(e, `az role assignment create --assignee %s --role "Azure Kubernetes Service Cluster User Role" --scope %s`, a.assignee(), oneLine(ref.ID()))
	case slipway.NotFound:
		return hinted(e, "az aks list --subscription %s -o table lists the clusters: check AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID", oneLine(ref.Subscription))
	}
	return hinted(e, "check AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP and AZURE_SUBSCRIPTION_ID: az aks list -o table")
}

// assignee is who gets a role, in the words of az.
func (a *Account) assignee() string {
	if id := a.identity(); id != "" {
		return id
	}
	return "$(az ad signed-in-user show --query id -o tsv)"
}

// serviceFailure is an error of one of the SDK's clients as one of ours. The
// SDK's own text is dropped: it quotes whole answers and addresses.
func (a *Account) serviceFailure(ctx context.Context, op, host string, err error) *slipway.Error {
	var ours *slipway.Error
	var theirs *azcore.ResponseError
	var network net.Error // a *url.Error, or a try that took too long
	var cut broken
	switch {
	case errors.As(err, &ours):
		return ours
	case errors.As(err, &theirs) && theirs.RawResponse != nil:
		return theirRefusal(op, host, theirs).err()
	case errors.As(err, &network), errors.As(err, &cut), ctx.Err() != nil:
		return unreachable(ctx, op, host, err)
	}
	return slipway.Errorf(slipway.Corrupt, op, "the answer of %s is not understood", host)
}

func theirRefusal(op, host string, e *azcore.ResponseError) refusal {
	r := refusal{op: op, host: host, status: e.StatusCode}
	if body, err := runtime.Payload(e.RawResponse); err == nil && e.StatusCode/100 != 2 {
		r.said = readFailure(body)
	}
	if r.said.code == "" { // an answer to HEAD, or without a body
		r.said.code = oneLine(e.ErrorCode)
	}
	return r
}
