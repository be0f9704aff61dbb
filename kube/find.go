package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// Find makes sure that the cluster has the Deployment and lets us bring a
// release to its end. The error's code is NotFound where there is no
// Deployment or namespace, Unauthorized where a right is missing.
func (t *Target) Find(ctx context.Context) error {
	op := "looking for the Deployment " + t.cfg.Ref.Name + " in the namespace " + t.cfg.Ref.Namespace
	_, err := t.client.AppsV1().Deployments(t.cfg.Ref.Namespace).Get(ctx, t.cfg.Ref.Name, metav1.GetOptions{})
	if err = apiError(op, err); slipway.CodeOf(err) == slipway.NotFound {
		return slipway.Errorf(slipway.NotFound, op, "the cluster %s has none", t.rest.Host).
			WithHint("make it with --create, or with kubectl apply -f %s; or name another cluster: ?context=NAME", manifest)
	}
	if err != nil {
		return err
	}
	return t.mayFinish(ctx, op)
}
