//go:build e2e

package e2e_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
)

// The proxy that other tests trust: what a client sends arrives and is noted,
// and a cut, a refusal and a late answer are what they are called.
func TestE2EAPIProxy(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	config, proxy := cluster.Proxied(t)
	ns := cluster.Namespace(t)
	through := *cluster
	through.Kubeconfig = config
	create := []string{"-n", ns, "create", "configmap", "c", "--from-literal=a=b"}
	exists := func() bool {
		return cluster.Kubectl(t, "-n", ns, "get", "configmap", "c", "--ignore-not-found", "-o", "name") != ""
	}

	var before, after []bool
	writes := func(c e2e.APICall) bool { return c.Kind == "create configmaps" }
	proxy.Before(func(c e2e.APICall) int {
		if writes(c) {
			before = append(before, exists())
		}
		return 0
	})
	proxy.After(func(c e2e.APICall) {
		if writes(c) {
			after = append(after, exists())
		}
	})
	through.Kubectl(t, create...)
	if !slices.Equal(before, []bool{false}) || !slices.Equal(after, []bool{true}) {
		t.Errorf("the ConfigMap was there before its creation %v, afterwards %v", before, after)
	}
	through.Kubectl(t, "-n", ns, "patch", "configmap", "c", "-p", `{"data":{"a":"c"}}`)
	const d = `{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "d"}}`
	if _, stderr, err := through.TryKubectl(t, d, "-n", ns, "apply", "--server-side", "--dry-run=server", "-f", "-"); err != nil {
		t.Errorf("%v %s", err, stderr)
	}
	var kinds []string
	for _, c := range proxy.Calls() {
		kinds = append(kinds, c.Kind)
		if c.Kind == "patch configmaps" && (c.Name != "c" || c.Reads || !strings.Contains(string(c.Body), `"a":"c"`)) {
			t.Errorf("noted: %+v", c)
		}
	}
	for _, want := range []string{"create configmaps", "get configmaps", "patch configmaps", "apply configmaps (dry run)"} {
		if !slices.Contains(kinds, want) {
			t.Errorf("%q was not noted: %q", want, kinds)
		}
	}

	proxy.After(nil)
	proxy.Before(func(c e2e.APICall) int {
		if c.Kind == "delete configmaps" {
			return http.StatusTooManyRequests
		}
		return 0
	})
	if _, stderr, err := through.TryKubectl(t, "", "-n", ns, "delete", "configmap", "c"); err == nil || !strings.Contains(stderr, "Too Many Requests") || !exists() {
		t.Errorf("refused: %v %s", err, stderr)
	}
	proxy.Cut()
	if _, stderr, err := through.TryKubectl(t, "", "-n", ns, "get", "configmap"); err == nil || !strings.Contains(stderr, "refused") {
		t.Errorf("cut: %v %s", err, stderr)
	}
	proxy.Restore(t)
	through.Kubectl(t, "-n", ns, "get", "configmap")
}
