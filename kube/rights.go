package kube

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// mayFinish asks the API server for the rights that a release would miss only
// after something had moved: those to verify it and to keep its lock. All
// others are missed, and named, before.
func (t *Target) mayFinish(ctx context.Context, op string) error {
	front := fmt.Sprintf("http:%s:%d", t.cfg.Ref.Name, Port)
	needed := []authorizationv1.ResourceAttributes{
		{Verb: "create", Resource: "pods", Subresource: "proxy"}, {Verb: "get", Resource: "pods", Subresource: "proxy"},
		{Verb: "create", Resource: "services", Subresource: "proxy", Name: front}, {Verb: "get", Resource: "services", Subresource: "proxy", Name: front},
		{Verb: "update", Resource: "leases", Group: "coordination.k8s.io", Name: t.sidecar()},
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, n := range needed {
		n.Namespace = t.cfg.Ref.Namespace
		g.Go(func() error { return t.may(ctx, op, n) })
	}
	return g.Wait()
}

func (t *Target) may(ctx context.Context, op string, n authorizationv1.ResourceAttributes) error {
	allowed, err := t.allowed(ctx, n)
	switch {
	case apierrors.IsForbidden(err): // even asking is forbidden here: the release will show
		return nil
	case err != nil:
		return apiError(op, err)
	case allowed:
		return nil
	}
	return lacks(slipway.Errorf(slipway.Unauthorized, op, ""), t.rightTo(n, t.user(ctx)))
}

// allowed asks the API server for one right. The error is client-go's.
func (t *Target) allowed(ctx context.Context, a authorizationv1.ResourceAttributes) (bool, error) {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &a}}
	answer, err := t.client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

func (t *Target) rightTo(a authorizationv1.ResourceAttributes, user string) right {
	r := right{user: user, verb: a.Verb, resource: a.Resource, group: a.Group, namespace: a.Namespace, deployment: t.cfg.Ref.Name}
	if a.Subresource != "" {
		r.resource += "/" + a.Subresource
	}
	return r
}

// user is who the API server takes us for.
func (t *Target) user(ctx context.Context) string {
	review, err := t.client.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil || review.Status.UserInfo.Username == "" {
		return "the kubeconfig's user"
	}
	return printable(review.Status.UserInfo.Username, maxText)
}
