//go:build e2e

package kube_test

import (
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/examples"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
)

// wrong makes the release one of a server with the fault: see
// e2e/testdata/wrongserver.
func wrong(name string) func(*scene, *slipway.Release) {
	return func(s *scene, r *slipway.Release) {
		r.Image = wrongImage(s.t).image
		r.Env = maps.Clone(r.Env)
		if r.Env == nil {
			r.Env = map[string]string{}
		}
		r.Env["FAULT"] = name
	}
}

// oven is what is made once for a test binary.
type oven struct {
	sync.Mutex
	golden map[string]mlmodel.Golden // by version
	done   bool
	image  slipway.Image // of a model that is right and a server that is not
	index  slipway.Image // of the same, for a platform that no node has
}

var baked = oven{golden: map[string]mlmodel.Golden{}}

// wrongImage makes the images of servers that do what $FAULT says, once.
func wrongImage(t *testing.T) *oven {
	t.Helper()
	baked.Lock()
	defer baked.Unlock()
	if baked.done {
		return &baked
	}
	dir := t.TempDir()
	server := filepath.Join(dir, "wrongserver")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", server, "../e2e/testdata/wrongserver")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := makeImages(t)[2]
	model := filepath.Join(dir, "model")
	copyModel(t, "2", model)
	golden := goldenOf(t, model)
	packed, err := pack.Image(t.Context(), pack.Config{
		ModelDir: model, Server: server, Golden: golden,
		Manifest: mlmodel.Manifest{SchemaVersion: slipway.RecordSchema, Model: r.Model, Engine: "sklearn", Golden: golden.Source},
	})
	must(t, err)
	baked.image = push(t, packed)
	config, err := packed.ConfigFile()
	must(t, err)
	config = config.DeepCopy()
	config.Architecture = "s390x"
	foreign, err := mutate.ConfigFile(packed, config)
	must(t, err)
	index, err := pack.Index(foreign)
	must(t, err)
	baked.index = push(t, index)
	baked.done = true
	return &baked
}

func push(t *testing.T, what oci.Artifact) slipway.Image {
	t.Helper()
	pushed, err := oci.New(oci.Config{}).Push(t.Context(), e2e.ImageRegistry(t)+"/faults/iris", what, nil, nil)
	must(t, err)
	return pushed.Image
}

func copyModel(t *testing.T, version, dir string) {
	t.Helper()
	source, err := fs.Sub(examples.Models, "demo/models/iris-"+version)
	must(t, err)
	must(t, os.CopyFS(dir, source))
}

// goldenFor returns the golden predictions of the version's model.
func goldenFor(t *testing.T, r slipway.Release) mlmodel.Golden {
	baked.Lock()
	defer baked.Unlock()
	version := string(r.Model.Version)
	golden, ok := baked.golden[version]
	if !ok {
		dir := filepath.Join(t.TempDir(), "model")
		copyModel(t, version, dir)
		golden = goldenOf(t, dir)
		baked.golden[version] = golden
	}
	return golden
}

func otherImage(digest string) func(*scene, *slipway.Release) {
	return func(_ *scene, r *slipway.Release) { r.Image.Digest = slipway.Digest("sha256:" + digest) }
}

func requests(cpu string) func(*scene, *slipway.Release) {
	return func(_ *scene, r *slipway.Release) { r.Requests.CPU = cpu }
}

// fromRegistry makes the release's image one of an image registry that is not
// well: it answers with that code, "503-once" until that was seen, or "slow".
func fromRegistry(how string) func(*scene, *slipway.Release) {
	return func(s *scene, r *slipway.Release) {
		host, path, _ := strings.Cut(r.Image.Repository, "/")
		to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: host})
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			code, err := strconv.Atoi(how[:min(3, len(how))])
			switch {
			case !strings.Contains(req.URL.Path, "/manifests/"):
			case how == "slow":
				time.Sleep(2 * time.Second) //nolint:forbidigo // it is slow
			case err == nil && (len(how) == 3 || !s.mended.Load()):
				http.Error(w, `{"errors":[{"code":"NO","message":"not today \u001b[31m"}]}`, code)
				return
			}
			to.ServeHTTP(w, req)
		}))
		s.t.Cleanup(server.Close)
		r.Image.Repository = strings.TrimPrefix(server.URL, "http://") + "/" + path
	}
}

func (s *scene) registryRecovers() {
	s.await("pull-fails")
	s.mended.Store(true)
}

// patch changes the Deployment as a person does.
func (s *scene) patch(spec string) {
	s.t.Helper()
	s.kubectl("patch", "deployment/iris", "-p", `{"spec":{"template":{"spec":`+spec+`}}}`)
}

func patchContainer(fields string) func(*scene) {
	return func(s *scene) { s.patch(`{"containers":[{"name":"iris",` + fields + `}]}`) }
}

func patchPod(fields string) func(*scene) {
	return func(s *scene) { s.patch("{" + fields + "}") }
}

// mount mounts a volume of that source.
func mount(source string) func(*scene) {
	return func(s *scene) {
		s.patch(`{"volumes":[{"name":"v",` + source + `}],"containers":[{"name":"iris","volumeMounts":[{"name":"v","mountPath":"/v"}]}]}`)
	}
}

func initContainer(s *scene) {
	image := wrongImage(s.t).image
	s.patch(fmt.Sprintf(`{"initContainers":[{"name":"prepare","image":"%s@%s","env":[{"name":"FAULT","value":"dies"}],"terminationMessagePolicy":"FallbackToLogsOnError"}]}`, image.Repository, image.Digest))
}

func memoryLimit(limit string) func(*scene) {
	return func(s *scene) {
		s.kubectl("set", "resources", "deployment/iris", "--limits=memory="+limit)
		s.kubectl("rollout", "status", "deployment/iris", "--timeout=90s")
	}
}

func quota(s *scene) {
	s.kubectl("create", "quota", "small", "--hard=pods=2")
	s.kubectl("wait", "resourcequota/small", "--for=jsonpath={.status.used.pods}=2", "--timeout=60s")
}

// policy has the API server refuse every pod of the namespace.
func policy(s *scene) {
	s.cluster.Apply(s.t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: %[1]s}
spec:
  matchConstraints:
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  validations: [{expression: "false", message: only on Tuesdays}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: %[1]s}
spec: {policyName: %[1]s, validationActions: [Deny]}
`, s.namespace))
	s.t.Cleanup(func() {
		_, _, _ = s.cluster.TryKubectl(s.t, "", "delete", "validatingadmissionpolicy,validatingadmissionpolicybinding", s.namespace, "--wait=false")
	})
	s.awaitRefusal("only on Tuesdays")
}

// webhook has the API server ask a webhook about every pod of the namespace,
// and nobody is there to answer.
func webhook(s *scene) {
	s.cluster.Apply(s.t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
  - name: hook.slipway.example
    clientConfig: {url: "https://127.0.0.1:1/"}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: %[1]s}}
    rules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
    sideEffects: None
    admissionReviewVersions: [v1]
    timeoutSeconds: 1
`, s.namespace))
	s.t.Cleanup(s.dropWebhook)
	s.awaitRefusal("hook.slipway.example")
}

func (s *scene) dropWebhook() {
	_, _, _ = s.cluster.TryKubectl(s.t, "", "delete", "validatingwebhookconfiguration", s.namespace, "--ignore-not-found")
}

func (s *scene) webhookGoes() {
	s.await("admission")
	s.dropWebhook()
}

// awaitRefusal waits until the API server has noticed that it is to refuse pods.
func (s *scene) awaitRefusal(why string) {
	s.t.Helper()
	for range 60 {
		if _, stderr, err := s.cluster.TryKubectl(s.t, "", "-n", s.namespace, "run", "probe", "--image=none", "--dry-run=server"); err != nil && strings.Contains(stderr, why) {
			return
		}
		time.Sleep(200 * time.Millisecond) //nolint:forbidigo // nothing tells when the API server has noticed
	}
	s.t.Fatalf("pods are still allowed")
}

// await waits until a problem of the kind is seen.
func (s *scene) await(kind string) {
	for range 600 {
		s.mu.Lock()
		seen := slices.ContainsFunc(s.events, func(e slipway.Event) bool { return sees(e, kind) })
		s.mu.Unlock()
		if seen {
			return
		}
		time.Sleep(100 * time.Millisecond) //nolint:forbidigo // the look at what was seen so far
	}
	s.t.Errorf("no problem %s within a minute", kind)
}

// newPods returns the names and UIDs of the bad release's pods.
func (s *scene) newPods() [][2]string {
	var pods [][2]string
	out := s.kubectl("get", "pods", "-l", "app=iris", "--sort-by=.metadata.creationTimestamp", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.spec.containers[0].env}{"\n"}{end}`)
	for _, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if f := strings.Fields(line); len(f) > 1 && strings.Contains(line, `"MODEL_VERSION","value":"2"`) {
			pods = append(pods, [2]string{f[0], f[1]})
		}
	}
	return pods
}

func (s *scene) podDeleted() {
	pods := s.newPods()
	if len(pods) == 0 {
		s.t.Error("no new pod to delete")
		return
	}
	s.kubectl("delete", "pod", pods[0][0], "--wait=false")
}

// autoscalerRefuses says of the new pods what the cluster autoscaler says when
// no node it could order has room for them.
func (s *scene) autoscalerRefuses() {
	s.await("no-room")
	now := time.Now().UTC().Format(time.RFC3339)
	for _, p := range s.newPods() {
		s.cluster.Apply(s.t, fmt.Sprintf(`
apiVersion: v1
kind: Event
metadata: {namespace: %[1]s, name: %[2]s.autoscaler}
type: Normal
reason: NotTriggerScaleUp
message: "pod didn't trigger scale-up: 1 Insufficient cpu"
involvedObject: {apiVersion: v1, kind: Pod, namespace: %[1]s, name: %[2]s, uid: %[3]s}
firstTimestamp: %[4]s
lastTimestamp: %[4]s
count: 1
source: {component: cluster-autoscaler}
`, s.namespace, p[0], p[1], now))
	}
}
