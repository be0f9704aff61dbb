//go:build e2e

package kube_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/kube"
)

// field is a Deployment with no pods to speak of, whose fields many hands
// change.
type field struct {
	*kube.Target
	cluster   *e2e.KubeCluster
	namespace string
}

// newField makes a Deployment "iris" of the manifest that never starts a pod's
// container: its image does not exist.
func newField(t *testing.T, manifest string) field {
	t.Helper()
	cluster := e2e.Cluster(t)
	namespace := cluster.Namespace(t)
	f := field{newTarget(t, cluster, namespace, "iris", nil), cluster, namespace}
	f.apply(t, manifest)
	f.awaitRevision(t, 1)
	return f
}

func (f field) apply(t *testing.T, manifest string, flags ...string) {
	t.Helper()
	f.stdin(t, manifest, append([]string{"apply", "-f", "-"}, flags...)...)
}

func (f field) stdin(t *testing.T, input string, args ...string) string {
	t.Helper()
	stdout, stderr, err := f.cluster.TryKubectl(t, input, append([]string{"-n", f.namespace}, args...)...)
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(args, " "), err, stderr, stdout)
	}
	return stdout
}

func (f field) kubectl(t *testing.T, args ...string) string {
	t.Helper()
	return f.stdin(t, "", args...)
}

func (f field) act(t *testing.T, fence uint64, r slipway.Release) {
	t.Helper()
	if err := f.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: fence, Release: r}); err != nil {
		t.Fatalf("Apply of %s: %v (%s)", r.ID, err, slipway.HintOf(err))
	}
}

func (f field) remove(t *testing.T, fence uint64) {
	t.Helper()
	if err := f.Act(t.Context(), slipway.Action{Kind: slipway.Remove, Fence: fence}); err != nil {
		t.Fatalf("Remove: %v (%s)", err, slipway.HintOf(err))
	}
}

// deployment is what the tests look at of a Deployment.
type deployment struct {
	Metadata struct {
		Generation  int
		Annotations map[string]string
	}
	Spec struct {
		Replicas int
		Strategy struct{ RollingUpdate map[string]any }
		Template map[string]any
	}
}

func (f field) get(t *testing.T) deployment {
	t.Helper()
	var d deployment
	if err := json.Unmarshal([]byte(f.kubectl(t, "get", "deployment", "iris", "-o", "json")), &d); err != nil {
		t.Fatal(err)
	}
	delete(d.Metadata.Annotations, "deployment.kubernetes.io/revision") // comes whenever its controller gets to it
	return d
}

// container returns the first container of the template.
func (d deployment) container() map[string]any {
	return d.Spec.Template["spec"].(map[string]any)["containers"].([]any)[0].(map[string]any)
}

// env returns the entries of the first container as NAME=VALUE or NAME<-SECRET/KEY.
func (d deployment) env() []string {
	var all []string
	entries, _ := d.container()["env"].([]any)
	for _, e := range entries {
		entry := e.(map[string]any)
		text := fmt.Sprintf("%v=%v", entry["name"], entry["value"])
		if from, ok := entry["valueFrom"].(map[string]any); ok {
			ref, _ := from["secretKeyRef"].(map[string]any)
			text = fmt.Sprintf("%v<-%v/%v", entry["name"], ref["name"], ref["key"])
			if field, ok := from["fieldRef"].(map[string]any); ok {
				text = fmt.Sprintf("%v<-%v", entry["name"], field["fieldPath"])
			}
		}
		all = append(all, text)
	}
	return all
}

// paper is release n of a model whose image nobody can pull.
func paper(n int, change ...func(*slipway.Release)) slipway.Release {
	r := slipway.Release{
		SchemaVersion: slipway.RecordSchema,
		ID:            slipway.ReleaseID(fmt.Sprintf("01PAPER%03d", n)),
		Model:         slipway.ModelVersion{Name: "iris $(HOME) é", Version: slipway.Version(fmt.Sprint(n))},
		Image:         slipway.Image{Repository: "127.0.0.1:1/iris", Digest: slipway.Digest(fmt.Sprintf("sha256:%064x", n))},
		Strategy:      slipway.Rolling(),
		Actor:         "ada",
		Reason:        "@champion points at it",
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

const fieldManifest = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: iris, labels: {app: iris}}
spec:
  replicas: 1
  selector: {matchLabels: {app: iris}}
  strategy: {rollingUpdate: {maxUnavailable: 0, maxSurge: 100%}}
  template:
    metadata: {labels: {app: iris}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - name: iris
          image: registry.k8s.io/pause:3.10
          env:
            - {name: ZONE, value: manifest}
            - {name: WHERE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
          startupProbe: {httpGet: {path: /ready, port: 8000}, periodSeconds: 2, initialDelaySeconds: 1, failureThreshold: 60}
          resources: {requests: {cpu: 10m, memory: 32Mi}, limits: {memory: 1Gi}}
        - {name: sidecar, image: registry.k8s.io/pause:3.10, resources: {requests: {cpu: 1m}}}
`

// What a release sets is set, what the next one does not set any more is as it
// was, and going back gives the very template there was.
func TestE2EReleasesComeAndGo(t *testing.T) {
	t.Parallel()
	f := newField(t, fieldManifest)
	fresh := f.get(t)
	one := paper(1, func(r *slipway.Release) { r.Env = map[string]string{"LEVEL": "$(ZONE)", "EMPTY": ""} })
	two := paper(2, func(r *slipway.Release) {
		r.Env = map[string]string{"ALPHA": "1", "ZONE": "release", "WHERE": "here"}
		r.SecretEnv = []string{"TOKEN", "KEY=other/part.a"}
		r.Requests = slipway.Requests{CPU: "20m"}
		r.Startup = 90 * time.Second
	})
	f.act(t, 1, one)
	first := f.get(t)
	wantEnv(t, first, "ZONE=manifest", "WHERE<-spec.nodeName", "EMPTY=<nil>", "LEVEL=$$(ZONE)", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=1")
	if got := first.container()["image"]; got != one.Image.Ref() {
		t.Errorf("image %v", got)
	}
	if got := first.Metadata.Annotations["kubernetes.io/change-cause"]; got != "slipway: iris $(HOME) é 1 (01PAPER001), @champion points at it, by ada" {
		t.Errorf("change cause %q", got)
	}
	f.act(t, 2, two)
	second := f.get(t)
	wantEnv(t, second, "ZONE=release", "WHERE=here", "ALPHA=1", "KEY<-other/part.a", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=2", "TOKEN<-iris/TOKEN")
	if probe := second.container()["startupProbe"].(map[string]any); probe["failureThreshold"] != 45.0 || probe["httpGet"] == nil {
		t.Errorf("startup probe %v", probe)
	}
	if got := fmt.Sprint(second.container()["resources"]); got != "map[limits:map[memory:1Gi] requests:map[cpu:20m memory:32Mi]]" {
		t.Errorf("resources %s", got)
	}
	f.act(t, 2, two)
	if diff := cmp.Diff(second, f.get(t)); diff != "" {
		t.Errorf("the same again (-before +after):\n%s", diff)
	}
	f.act(t, 2, one)
	wantTemplate(t, first, f.get(t))
	f.act(t, 3, two)
	wantTemplate(t, second, f.get(t))
	f.remove(t, 3)
	gone := f.get(t)
	wantTemplate(t, fresh, gone)
	if a := gone.Metadata.Annotations; a["slipway.dev/release"]+a["slipway.dev/model"]+a["kubernetes.io/change-cause"] != "" || a["slipway.dev/fence"] != "3" {
		t.Errorf("annotations of a removed release: %v", a)
	}
	if diff := cmp.Diff(fresh.Spec.Strategy, gone.Spec.Strategy); diff != "" {
		t.Errorf("strategy of a removed release (-manifest +after):\n%s", diff)
	}
	f.act(t, 4, one)
	again := f.get(t)
	wantTemplate(t, first, again)
	if diff := cmp.Diff(fresh.Spec.Strategy, again.Spec.Strategy); diff != "" {
		t.Errorf("strategy (-manifest +after):\n%s", diff)
	}
}

func wantEnv(t *testing.T, d deployment, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, d.env()); diff != "" {
		t.Errorf("environment (-want +got):\n%s", diff)
	}
}

func wantTemplate(t *testing.T, want, got deployment) {
	t.Helper()
	if diff := cmp.Diff(want.Spec.Template, got.Spec.Template); diff != "" {
		t.Errorf("template (-want +got):\n%s", diff)
	}
}
