package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/version"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/k8s"
)

// Reached is an API server that let us in.
type Reached struct {
	Server  string    // HOST or HOST:PORT
	Version string    // of Kubernetes, "v1.34.2"; "" where it does not say
	User    string    // who it takes us for
	Time    time.Time // by its clock, to the second; zero where it does not say
}

// Reach asks the API server for its version. Code Invalid: it is not the one
// the kubeconfig expects; Unauthorized: it does not accept our credentials;
// Unavailable.
func (t *Target) Reach(ctx context.Context) (Reached, error) {
	const op = "asking the API server for its version"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.guard.base.JoinPath("version").String(), nil)
	if err != nil {
		return Reached{}, &slipway.Error{Op: op, Code: slipway.Invalid, Err: err}
	}
	resp, err := t.http.Do(req)
	if err != nil {
		return Reached{}, apiError(op, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxStatus))
	if err != nil {
		return Reached{}, apiError(op, err)
	}
	if s, ok := asStatus(resp, body); ok {
		return Reached{}, statusError(op, s)
	}
	var info version.Info
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &info) != nil {
		return Reached{}, slipway.Errorf(slipway.Invalid, op, "%s is no API server: it answers %s", t.guard.base.Host, printable(resp.Status, 100)).
			WithHint("check server of the kubeconfig's cluster: kubectl config view --minify")
	}
	shows, _ := http.ParseTime(resp.Header.Get("Date")) // RFC 9110, 6.6.1; else it is zero
	return Reached{Server: t.guard.base.Host, Version: printable(info.GitVersion, 50), User: t.user(ctx), Time: shows}, nil
}

// Role is the name of the Role whose rights a release to the target needs.
func (t *Target) Role() string { return roleOf(t.cfg.Ref.Name) }

// Right is one right of the manifest's Role.
type Right struct {
	Name    string // "patch deployments.apps inference-service"
	Missing error  // code Unauthorized, with the command that gives it; nil: we have it
}

// Rights asks the API server for each right of the manifest's Role, in its
// order. Code Unauthorized: we may not even ask; Unavailable.
func (t *Target) Rights(ctx context.Context) ([]Right, error) {
	const op = "asking for our rights"
	asked, err := t.roleRights()
	if err != nil {
		return nil, err
	}
	user := t.user(ctx)
	rights := make([]Right, len(asked))
	group, ctx := errgroup.WithContext(ctx)
	for i, a := range asked {
		group.Go(func() (err error) {
			rights[i], err = t.ask(ctx, op, user, a)
			return err
		})
	}
	return rights, group.Wait()
}

func (t *Target) ask(ctx context.Context, op, user string, a authorizationv1.ResourceAttributes) (Right, error) {
	allowed, err := t.allowed(ctx, a)
	if err != nil {
		return Right{}, apiError(op, err)
	}
	r := t.rightTo(a, user)
	named := Right{Name: strings.TrimSpace(a.Verb + " " + r.full() + " " + a.Name)}
	if !allowed {
		named.Missing = lacks(slipway.Errorf(slipway.Unauthorized, op, ""), r)
	}
	return named, nil
}

// roleRights takes the manifest's Role apart, under the names of the reference.
func (t *Target) roleRights() ([]authorizationv1.ResourceAttributes, error) {
	const op = "reading the manifest's Role"
	objects, err := decodeManifest(k8s.Production)
	if err != nil {
		return nil, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	var all []authorizationv1.ResourceAttributes
	for _, object := range rename(objects, t.cfg.Ref) {
		if object.GetKind() != "Role" {
			continue
		}
		var role rbacv1.Role
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, &role); err != nil {
			return nil, &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
		}
		for _, rule := range role.Rules {
			all = append(all, rightsOf(rule, t.cfg.Ref.Namespace)...)
		}
	}
	if len(all) == 0 {
		return nil, &slipway.Error{Op: op, Code: slipway.Internal, Err: fmt.Errorf("it has none")}
	}
	return all, nil
}

// rightsOf takes a rule apart. One without names is for all of a kind.
func rightsOf(rule rbacv1.PolicyRule, namespace string) []authorizationv1.ResourceAttributes {
	names := rule.ResourceNames
	if len(names) == 0 {
		names = []string{""}
	}
	var all []authorizationv1.ResourceAttributes
	for _, group := range rule.APIGroups {
		for _, resource := range rule.Resources {
			kind, sub, _ := strings.Cut(resource, "/")
			for _, name := range names {
				for _, verb := range rule.Verbs {
					all = append(all, authorizationv1.ResourceAttributes{
						Namespace: namespace, Verb: verb, Group: group, Resource: kind, Subresource: sub, Name: name,
					})
				}
			}
		}
	}
	return all
}
