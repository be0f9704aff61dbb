package main

import (
	"context"

	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/kube"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/oci"
)

// azureAccount is who this process is in Azure. It signs in when something
// there is asked for.
func (p *program) azureAccount() *azure.Account {
	return azure.New(azure.Config{Getenv: p.getenv, Told: func(how string) {
		if p.story != nil {
			p.story.note("azure", "%s", how)
		}
	}})
}

// azureLogin logs in to Azure's image registries.
func azureLogin(account *azure.Account) oci.Login {
	return func(host string) (func(context.Context) (string, string, error), bool) {
		return func(ctx context.Context) (string, string, error) {
			login, err := account.Login(ctx, host)
			return login.Username, login.Password, err
		}, azure.IsRegistry(host)
	}
}

// azureFolders opens models in Azure Blob storage.
func azureFolders(account *azure.Account) func(string) (mlflow.Folder, error) {
	return func(uri string) (mlflow.Folder, error) {
		if !azure.IsFolder(uri) {
			return nil, nil
		}
		folder, err := account.Folder(uri)
		if err != nil {
			return nil, err
		}
		return folder, nil
	}
}

// azureCluster is the cluster that AKS_CLUSTER_NAME, AKS_RESOURCE_GROUP and
// AZURE_SUBSCRIPTION_ID name; nil: they do not, or something nearer does. That
// is a context in the target, or KUBECONFIG; not ~/.kube/config and the cluster
// of a pod this runs in, which are there for other things too.
func (p *program) azureCluster(account *azure.Account, s settings) *kube.Cluster {
	ref, ok := azure.ClusterFrom(p.getenv)
	if !ok || s.to.Query.Get("context") != "" || p.getenv("KUBECONFIG") != "" {
		return nil
	}
	return &kube.Cluster{Name: ref.Name, Find: func(ctx context.Context) (kube.Access, error) {
		c, err := account.Cluster(ctx, ref)
		return kube.Access(c), err
	}}
}
