package main

import (
	"context"

	"github.com/slipway-dev/slipway/azure"
	"github.com/slipway-dev/slipway/oci"
)

// examinedCloud is what Azure is asked.
type examinedCloud interface {
	Cluster(context.Context, azure.ClusterRef) (azure.Cluster, error)
	Login(ctx context.Context, host string) (azure.Login, error)
}

// azure looks whether Azure tells us of the cluster, where that is one of its.
// named is false where it does not.
func (d *doctor) azure(ctx context.Context, world *ports, s settings) (found []finding, named bool) {
	if d.p.azureCluster(world.azure, s) == nil {
		return nil, true
	}
	ref, _ := azure.ClusterFrom(d.p.getenv)
	f := azureCluster(ctx, world.azure, ref)
	return []finding{f}, f.Mark != fails
}

func azureCluster(ctx context.Context, cloud examinedCloud, ref azure.ClusterRef) finding {
	const check = "Azure"
	if _, err := cloud.Cluster(ctx, ref); err != nil {
		return failed(check, ref.Name, err)
	}
	return good(check, ref.Name, "signed in; may read where the cluster is and its credentials")
}

// azureRegistry looks whether Azure lets us in to an image registry of its,
// where nothing nearer does.
func (d *doctor) azureRegistry(ctx context.Context, world *ports, repository string) []finding {
	host, err := oci.Host(repository)
	byPassword := host == oci.LoginServer(d.p.getenv("ACR_LOGIN_SERVER")) && d.p.getenv("ACR_USERNAME") != "" && d.p.getenv("ACR_PASSWORD") != ""
	if err != nil || byPassword || !azure.IsRegistry(host) {
		return nil
	}
	return []finding{azureLogIn(ctx, world.azure, host)}
}

func azureLogIn(ctx context.Context, cloud examinedCloud, host string) finding {
	const check = "Azure"
	login, err := cloud.Login(ctx, host)
	switch {
	case err != nil:
		return failed(check, host, err).tolerable() // docker login's credentials may do
	case login == azure.Login{}:
		return skip(check, host, "nothing to sign in with; the image registry is asked as docker login left it, or as anybody")
	}
	return good(check, host, "signed in; the image registry takes the identity")
}
