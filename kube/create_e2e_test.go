//go:build e2e

package kube_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/kube"
)

// What the manifest makes is made under the reference's names, completed where
// a run died half-way, and what is there stays.
func TestE2ECreate(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	for _, name := range []string{"inference-service", "spam-filter"} {
		target := newTarget(t, cluster, namespace, name, nil)
		if err := target.Find(t.Context()); slipway.CodeOf(err) != slipway.NotFound {
			t.Fatalf("before: %v", err)
		}
		must(t, target.Create(t.Context()))
		must(t, target.Find(t.Context()))
		cluster.Kubectl(t, "-n", namespace, "delete", "deployment,service", name)
		cluster.Kubectl(t, "-n", namespace, "annotate", "hpa", name, "mine=1")
		must(t, target.Create(t.Context()))
		must(t, target.Create(t.Context()))
		if got := cluster.Kubectl(t, "-n", namespace, "get", "hpa", name, "-o", "jsonpath={.metadata.annotations.mine}"); got != "1" {
			t.Errorf("what was there did not stay: %q", got)
		}
	}
	got := cluster.Kubectl(t, "-n", namespace, "get", "deployment,service,hpa,pdb,networkpolicy,role,rolebinding,serviceaccount", "-o", "name")
	for _, want := range []string{
		"deployment.apps/spam-filter", "service/spam-filter", "horizontalpodautoscaler.autoscaling/spam-filter",
		"poddisruptionbudget.policy/spam-filter", "networkpolicy.networking.k8s.io/spam-filter", "serviceaccount/spam-filter",
		"role.rbac.authorization.k8s.io/slipway-spam-filter", "rolebinding.rbac.authorization.k8s.io/slipway-spam-filter",
		"deployment.apps/inference-service", "role.rbac.authorization.k8s.io/slipway\n", "serviceaccount/slipway\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
	account := "--as=system:serviceaccount:" + namespace + ":slipway"
	for _, right := range [][]string{{"patch", "deployment/spam-filter"}, {"update", "lease/spam-filter-slipway"}, {"patch", "deployment/inference-service"}} {
		if out, stderr, err := cluster.TryKubectl(t, "", append([]string{"-n", namespace, account, "auth", "can-i"}, right...)...); err != nil {
			t.Errorf("the account slipway may not %v: %s%s", right, out, stderr)
		}
	}
}

// Who may not make a namespace needs not, where it exists; and is told which
// right is missing, where not.
func TestE2ECreateNamesTheMissingRight(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	cluster.Kubectl(t, "-n", namespace, "create", "serviceaccount", "ada")
	ada := "system:serviceaccount:" + namespace + ":ada"
	as := func(namespace string) *kube.Target {
		config := restConfig(t, cluster)
		config.Impersonate = rest.ImpersonationConfig{UserName: ada}
		target, err := kube.New(kube.Config{
			Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: namespace, Name: "iris"},
			Getenv: os.Getenv, Rest: config,
		})
		must(t, err)
		return target
	}
	missing := func(namespace, right string) {
		t.Helper()
		err := as(namespace).Create(t.Context())
		if slipway.CodeOf(err) != slipway.Unauthorized || !strings.Contains(fmt.Sprint(err), right) {
			t.Errorf("%v; want that it names %s", err, right)
		}
	}
	missing(namespace, "create serviceaccounts in the namespace "+namespace)
	cluster.Kubectl(t, "-n", namespace, "create", "rolebinding", "ada", "--clusterrole=edit", "--serviceaccount="+namespace+":ada")
	missing(namespace, "create roles.rbac.authorization.k8s.io in the namespace "+namespace)
	cluster.Kubectl(t, "-n", namespace, "create", "rolebinding", "ada-admin", "--clusterrole=admin", "--serviceaccount="+namespace+":ada")
	if err := as(namespace).Create(t.Context()); err != nil {
		t.Errorf("as the namespace's admin: %v (%s)", err, slipway.HintOf(err))
	}
	nowhere := namespace + "-not"
	missing(nowhere, "create serviceaccounts in the namespace "+nowhere)
	if hint := slipway.HintOf(as(nowhere).Create(t.Context())); !strings.Contains(hint, "kubectl create namespace "+nowhere) {
		t.Errorf("hint %q", hint)
	}
}
