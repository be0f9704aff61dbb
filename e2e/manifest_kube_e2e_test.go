//go:build e2e

package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway/e2e"
)

const manifestFile = "../k8s/deployment-production.yaml"

// small makes of the manifest what fits beside other tests.
const small = `
  - patch: |
      apiVersion: autoscaling/v2
      kind: HorizontalPodAutoscaler
      metadata: {name: inference-service, namespace: production}
      spec: {minReplicas: 2, maxReplicas: 2}
  - patch: |
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: inference-service, namespace: production}
      spec: {template: {spec: {containers: [{name: inference-service, resources: {requests: {cpu: 10m, memory: 32Mi}}}]}}}
`

// rendered returns the project's manifest for the namespace, small, as an
// overlay of the user's would make it.
func rendered(t testing.TB, cluster *e2e.KubeCluster, namespace string) string {
	t.Helper()
	return cluster.Kubectl(t, "kustomize", renderedTo(t, namespace))
}

// renderedTo returns the folder of such an overlay.
func renderedTo(t testing.TB, namespace string) string {
	t.Helper()
	base, err := filepath.Abs("../k8s")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	overlay := "namespace: " + namespace + "\nresources: [" + base + "]\npatches:" + small
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// object is one object of a manifest.
type object map[string]any

func (o object) kind() string { return o["kind"].(string) }
func (o object) name() string { return o["metadata"].(map[string]any)["name"].(string) }
func (o object) namespace() string {
	namespace, _ := o["metadata"].(map[string]any)["namespace"].(string)
	return namespace
}

// objects returns what kubectl reads in the file, or in the folder of a
// kustomization, by kind and name.
func objects(t testing.TB, cluster *e2e.KubeCluster, flag, path string) map[string]object {
	t.Helper()
	all := map[string]object{}
	decoder := json.NewDecoder(strings.NewReader(cluster.Kubectl(t, "create", "--dry-run=client", "--validate=strict", "-o", "json", flag, path)))
	for decoder.More() {
		var o object
		if err := decoder.Decode(&o); err != nil {
			t.Fatal(err)
		}
		all[o.kind()+" "+o.name()] = o
	}
	if len(all) == 0 {
		t.Fatalf("nothing in %s", path)
	}
	return all
}

func TestE2EKustomizeBaseIsTheManifest(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	if diff := cmp.Diff(objects(t, cluster, "-f", manifestFile), objects(t, cluster, "-k", "../k8s")); diff != "" {
		t.Errorf("the manifest (-) and the base (+) differ:\n%s", diff)
	}
}

func TestE2EOverlayExample(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	base, staging := objects(t, cluster, "-k", "../k8s"), objects(t, cluster, "-k", "../examples/kubernetes/staging")
	if len(staging) != len(base) {
		t.Errorf("%d objects, want %d", len(staging), len(base))
	}
	for name, o := range staging {
		if o.kind() == "Namespace" && o.name() != "staging" || o.kind() != "Namespace" && o.namespace() != "staging" {
			t.Errorf("%s is in the namespace %q", name, o.namespace())
		}
	}
	spec, _ := staging["HorizontalPodAutoscaler inference-service"]["spec"].(map[string]any)
	if spec["minReplicas"] != 1.0 || spec["maxReplicas"] != 2.0 {
		t.Errorf("%v to %v replicas, want 1 to 2", spec["minReplicas"], spec["maxReplicas"])
	}
}

// owned marks the namespace production as a test's own.
const owned = "slipway.dev/e2e"

// production makes the namespace that the manifest names, for this test alone,
// and takes it away again. It refuses to touch anybody else's.
func production(t testing.TB, cluster *e2e.KubeCluster) {
	t.Helper()
	if label := cluster.Kubectl(t, "get", "namespace", "production", "--ignore-not-found", "-o", `jsonpath={.metadata.name}{.metadata.labels.slipway\.dev/e2e}`); label == "production" {
		t.Fatal("this cluster has a namespace production, which is not this test's: KUBECONFIG must name a cluster for tests")
	}
	remove := func(wait string) {
		cluster.Kubectl(t, "delete", "namespace", "production", "--ignore-not-found", "--timeout=90s", wait)
	}
	remove("--wait=true") // what a killed test left
	cluster.Apply(t, `{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "production", "labels": {"`+owned+`": "true"}}}`)
	t.Cleanup(func() { remove("--wait=false") })
}

// Whichever way it is applied, the manifest is taken as it is, strictly, and a
// second time changes nothing.
func TestE2EManifestAppliesAsItIs(t *testing.T) {
	cluster := e2e.Cluster(t)
	production(t, cluster)
	for _, way := range [][]string{
		{"--dry-run=server"}, {"--dry-run=server", "--server-side"},
		{}, {"--server-side"}, {"--server-side", "--force-conflicts"}, {},
	} {
		args := slices.Concat([]string{"apply", "--validate=strict", "-f", manifestFile}, way)
		stdout, stderr, err := cluster.TryKubectl(t, "", args...)
		if err != nil || strings.Contains(stderr, "deprecated") {
			t.Errorf("kubectl %v: %v\n%s%s", args, err, stderr, stdout)
		}
	}
	if stdout, stderr, err := cluster.TryKubectl(t, "", "diff", "-f", manifestFile); err != nil {
		t.Errorf("it is not as applied: %v\n%s%s", err, stderr, stdout)
	}
}

// The pods of the manifest are taken where Kubernetes' strictest profile is
// enforced. That the NetworkPolicy is accepted is all that is seen here: the
// network of the project's own cluster does not enforce any.
func TestE2EManifestKeepsToTheRestrictedProfile(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	cluster.Kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
	cluster.Apply(t, rendered(t, cluster, namespace))
	cluster.Kubectl(t, "wait", "-n", namespace, "--for=create", "pod", "-l", "app=inference-service", "--timeout=60s")
	if _, stderr, err := cluster.TryKubectl(t, "", "run", "-n", namespace, "any", "--image=registry.k8s.io/pause:3.10"); err == nil || !strings.Contains(stderr, "PodSecurity") {
		t.Errorf("the profile is not enforced: %v %s", err, stderr)
	}
	if policy := cluster.Kubectl(t, "get", "networkpolicy", "inference-service", "-n", namespace, "-o", "jsonpath={.spec.ingress[*].ports[*].port}"); policy != "8000" {
		t.Errorf("the policy lets in to port %q", policy)
	}
}

// Applied again over a model that serves, whichever way, the manifest puts its
// placeholder back, and no request is lost: the pods that serve stay, and the
// next run puts the image back without starting one.
func TestE2EManifestAppliedAgainLosesNothing(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Kubectl(t, "label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
		c.Apply(t, rendered(t, c, namespace))
	}, "odds", "forest")
	c.promote("champion", "1")
	c.outcome(0, "deploy", c.champion())
	c.kubectl("wait", "deployment", deployment, "--for=jsonpath={.status.readyReplicas}=2", "--timeout=60s")
	serving := c.endpoints()
	load := c.traffic("1")
	for _, way := range [][]string{{}, {"--server-side", "--force-conflicts"}, {"--server-side"}, {}} {
		refused := c.applyAgain(way)
		if !refused {
			c.placeholderBeside(serving)
			c.applyAgain(way)
		}
		got := c.outcome(0, "deploy", c.champion())
		if want := map[bool]string{true: "nothing-to-do", false: "live"}[refused]; got.Kind != want {
			t.Errorf("kubectl apply %v, then deploy: %s, want %s", way, got.Kind, want)
		}
		c.consistent(string(got.Serving.Image.Digest), 2)
		if now := c.endpoints(); !slices.Equal(serving, now) {
			t.Errorf("kubectl apply %v, then deploy: pods were replaced: %v, before %v", way, now, serving)
		}
	}
	c.applyAgain(nil)
	c.placeholderBeside(serving)
	load.allow("1", "2")
	c.promote("champion", "2")
	c.outcome(0, "deploy", c.champion())
	load.report(t, "applying the manifest again")
}

// applyAgain applies the manifest over what there is, and reports whether it
// was refused because the image is slipway's.
func (c *clustered) applyAgain(way []string) (refused bool) {
	c.t.Helper()
	args := slices.Concat([]string{"apply", "-f", "-"}, way)
	stdout, stderr, err := c.cluster.TryKubectl(c.t, rendered(c.t, c.cluster, c.namespace), args...)
	const conflict = `conflict with "slipway": .spec.template.spec.containers[name="inference-service"].image`
	refused = err != nil && strings.Contains(stderr, conflict)
	if polite := slices.Equal(way, []string{"--server-side"}); refused != polite || err != nil && !refused {
		c.t.Fatalf("kubectl %v: %v\n%s%s", args, err, stderr, stdout)
	}
	return refused
}

// placeholderBeside waits until pods of the placeholder exist, and wants the
// given ones to serve as before.
func (c *clustered) placeholderBeside(serving []string) {
	c.t.Helper()
	c.kubectl("wait", "deployment", deployment, "--for=jsonpath={.spec.template.spec.containers[0].image}=registry.k8s.io/pause:3.10", "--timeout=10s")
	c.kubectl("wait", "deployment", deployment, "--for=jsonpath={.status.unavailableReplicas}=2", "--timeout=30s")
	if now := c.endpoints(); !slices.Equal(serving, now) {
		c.t.Errorf("behind the Service are %v, want %v", now, serving)
	}
}
