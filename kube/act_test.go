package kube_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/k8s"
	"github.com/slipway-dev/slipway/kube"
)

var reference = slipway.TargetRef{Scheme: "kubernetes", Namespace: "shop", Name: "iris"}

func deploymentOf(t *testing.T, text string) *appsv1.Deployment {
	t.Helper()
	d := &appsv1.Deployment{}
	if err := yaml.Unmarshal([]byte(text), d); err != nil {
		t.Fatal(err)
	}
	return d
}

// bare is a Deployment as its manifest has it, with annotations, strategy and
// container to be filled in.
const bare = `
metadata: {name: iris, namespace: shop, uid: u, resourceVersion: "7"%s}
spec:
  replicas: 2
  strategy: {type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}}
  template:
    spec:
      containers:
        - {name: main, image: "pause:1"%s}
`

func release(change ...func(*slipway.Release)) slipway.Release {
	r := slipway.Release{
		ID:    "01R1",
		Model: slipway.ModelVersion{Name: "iris", Version: "3"},
		Image: slipway.Image{Repository: "registry/iris", Digest: slipway.Digest("sha256:" + strings.Repeat("a", 64))},
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

// applied is the part of a document that differs between releases.
type applied struct {
	Metadata struct {
		UID, ResourceVersion string
		Annotations          map[string]string
	}
	Spec struct {
		Replicas *int
		Strategy struct{ RollingUpdate struct{ MaxUnavailable any } }
		Template struct {
			Spec struct{ Containers []map[string]any }
		}
	}
}

func decide(t *testing.T, d *appsv1.Deployment, a slipway.Action) (applied, []string) {
	t.Helper()
	claims, document, err := kube.Decide(d, reference, a)
	if err != nil {
		t.Fatal(err)
	}
	var got applied
	if len(claims) == 0 {
		if err := json.Unmarshal(document, &got); err != nil {
			t.Fatal(err)
		}
	}
	return got, claims
}

func TestWhatAReleaseSets(t *testing.T) {
	t.Parallel()
	image := "registry/iris@sha256:" + strings.Repeat("a", 64)
	variable := func(name, text string) any { return map[string]any{"name": name, "value": text} }
	own := []any{variable("MODEL_NAME", "iris"), variable("MODEL_VERSION", "3")}
	secret := func(name, from, key string) any {
		return map[string]any{"name": name, "valueFrom": map[string]any{"secretKeyRef": map[string]any{"name": from, "key": key}}}
	}
	tests := []struct {
		name      string
		container string // beside name and image
		release   slipway.Release
		want      map[string]any // beside name and image
	}{
		{"nothing more", "", release(), map[string]any{"env": own}},
		{"its environment", "", release(func(r *slipway.Release) {
			r.Env = map[string]string{"Z": "$(A) $$", "A": ""}
			r.SecretEnv = []string{"T", "K=other/k.1"}
		}), map[string]any{"env": []any{variable("A", ""), secret("K", "other", "k.1"), own[0], own[1], secret("T", "iris", "T"), variable("Z", "$$(A) $$$$")}}},
		{"others' variables stay where they are", `, env: [{name: THEIRS, value: "1"}, {name: MODEL_VERSION, value: "0"}]`, release(),
			map[string]any{"env": []any{own[1], own[0]}}},
		{"requests", "", release(func(r *slipway.Release) { r.Requests = slipway.Requests{CPU: "0.25", Memory: "1Gi"} }),
			map[string]any{"env": own, "resources": map[string]any{"requests": map[string]any{"cpu": "250m", "memory": "1Gi"}}}},
		{"a longer start", ", startupProbe: {periodSeconds: 4, initialDelaySeconds: 5, failureThreshold: 3}",
			release(func(r *slipway.Release) { r.Startup = 90*time.Second + time.Millisecond }),
			map[string]any{"env": own, "startupProbe": map[string]any{"failureThreshold": 22.0}}},
		{"a start shorter than the delay", ", startupProbe: {periodSeconds: 4, initialDelaySeconds: 5}",
			release(func(r *slipway.Release) { r.Startup = time.Second }),
			map[string]any{"env": own, "startupProbe": map[string]any{"failureThreshold": 1.0}}},
		{"a limit where there was no probe", "", release(func(r *slipway.Release) { r.Startup = time.Minute }),
			map[string]any{"env": own, "startupProbe": map[string]any{
				"httpGet": map[string]any{"path": "/ready", "port": 8000.0}, "periodSeconds": 1.0, "failureThreshold": 60.0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := deploymentOf(t, fmt.Sprintf(bare, "", tt.container))
			got, claims := decide(t, d, slipway.Action{Kind: slipway.Apply, Fence: 4, Release: tt.release})
			tt.want["name"], tt.want["image"] = "main", image
			if diff := cmp.Diff([]map[string]any{tt.want}, got.Spec.Template.Spec.Containers); diff != "" {
				t.Errorf("containers (-want +got):\n%s", diff)
			}
			if got.Metadata.UID != "u" || got.Metadata.ResourceVersion != "7" || len(claims) > 0 || got.Spec.Replicas != nil {
				t.Errorf("%+v, claims %v", got, claims)
			}
			a := got.Metadata.Annotations
			if a["slipway.dev/release"] != "01R1" || a["slipway.dev/fence"] != "4" || a["slipway.dev/model"] != `{"name":"iris","version":"3"}` {
				t.Errorf("annotations %v", a)
			}
		})
	}
}

func TestTheChangeCauseIsOneLineOfABoundedLength(t *testing.T) {
	t.Parallel()
	r := release(func(r *slipway.Release) {
		r.Actor, r.Reason = "ad\x1b[31ma\n", strings.Repeat("é", 1000)
	})
	d := deploymentOf(t, fmt.Sprintf(bare, "", ""))
	got, _ := decide(t, d, slipway.Action{Kind: slipway.Apply, Release: r})
	cause := got.Metadata.Annotations["kubernetes.io/change-cause"]
	if len(cause) > 310 || strings.ContainsAny(cause, "\x1b\n") || !strings.HasPrefix(cause, "slipway: iris 3 (01R1), éé") {
		t.Errorf("%d bytes: %q", len(cause), cause)
	}
}

func TestWhatCannotTakeARelease(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name       string
		from, to   string // in the Deployment
		change     func(*slipway.Release)
		says, hint string
	}{
		{"Argo CD", "uid: u", "uid: u, annotations: {argocd.argoproj.io/tracking-id: x}", nil, "Argo CD", "commit"},
		{"Flux", "uid: u", "uid: u, labels: {kustomize.toolkit.fluxcd.io/name: x}", nil, "Flux", "commit"},
		{"Helm by Flux", "uid: u", "uid: u, labels: {helm.toolkit.fluxcd.io/name: x}", nil, "Flux", "commit"},
		{"paused", "replicas: 2", "paused: true", nil, "paused", "kubectl rollout resume deployment/iris -n shop"},
		{"scaled to nothing", "replicas: 2", "replicas: 0", nil, "scaled to 0", "kubectl scale deployment/iris -n shop"},
		{"Recreate", "type: RollingUpdate, rollingUpdate: {maxUnavailable: 0}", "type: Recreate", nil, "Recreate", `"maxUnavailable":0,"maxSurge":"100%"`},
		{"all at once", "maxUnavailable: 0", `maxUnavailable: "100%"`, nil, "all of its 2 replicas", "kubectl patch deployment/iris"},
		{"as many as there are", "maxUnavailable: 0", `maxUnavailable: 2`, nil, "all of its 2 replicas", "kubectl patch deployment/iris"},
		{"several containers", "name: main", "name: a}\n        - {name: b", nil, "several containers: a, b", "kubernetes://shop/iris?container=NAME"},
		{"a variable twice", "", "", func(r *slipway.Release) { r.SecretEnv = []string{"A"}; r.Env = map[string]string{"A": "1"} }, "A is set twice", "secretEnv"},
		{"a variable of ours", "", "", func(r *slipway.Release) { r.Env = map[string]string{"MODEL_NAME": "1"} }, "MODEL_NAME is set twice", "slipway's"},
		{"a variable that is none", "", "", func(r *slipway.Release) { r.Env = map[string]string{"A=B": "1"} }, `"A=B"`, "letters"},
		{"a Secret that is none", "", "", func(r *slipway.Release) { r.SecretEnv = []string{"A=../x"} }, `"A=../x"`, "SECRET/KEY"},
		{"a quantity that is none", "", "", func(r *slipway.Release) { r.Requests.Memory = "1 GB" }, `"1 GB"`, "512Mi"},
		{"no repository", "", "", func(r *slipway.Release) { r.Image.Repository = "" }, "no image repository", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text := fmt.Sprintf(bare, "", "")
			if !strings.Contains(text, tt.from) {
				t.Fatal("the test changes nothing")
			}
			r := release()
			if tt.change != nil {
				tt.change(&r)
			}
			d := deploymentOf(t, strings.Replace(text, tt.from, tt.to, 1))
			_, _, err := kube.Decide(d, reference, slipway.Action{Kind: slipway.Apply, Fence: 1, Release: r})
			if slipway.CodeOf(err) != slipway.Invalid || !strings.Contains(fmt.Sprint(err), tt.says) || !strings.Contains(slipway.HintOf(err), tt.hint) {
				t.Errorf("%q: %v (%s); want %q (%q)", slipway.CodeOf(err), err, slipway.HintOf(err), tt.says, tt.hint)
			}
		})
	}
}

func TestOneOfSeveralContainersIsNamed(t *testing.T) {
	t.Parallel()
	d := deploymentOf(t, strings.Replace(fmt.Sprintf(bare, "", ""), "name: main", "name: a}\n        - {name: b", 1))
	named := reference
	named.Query = map[string][]string{"container": {"b"}}
	_, document, err := kube.Decide(d, named, slipway.Action{Kind: slipway.Apply, Release: release()})
	if err != nil || !strings.Contains(string(document), `"name":"b"}`) {
		t.Errorf("%v\n%s", err, document)
	}
	named.Query = map[string][]string{"container": {"c"}}
	if _, _, err = kube.Decide(d, named, slipway.Action{Kind: slipway.Apply, Release: release()}); !strings.Contains(fmt.Sprint(err), `no container "c", but a, b`) {
		t.Errorf("%v", err)
	}
}

// mine is the entry of the managed fields that says what we set.
func mine(fields string) string {
	return `, managedFields: [{manager: slipway, operation: Apply, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {` +
		`"f:metadata": {"f:annotations": {"f:slipway.dev/release": {}}}, "f:spec": {` + fields + `}}}]`
}

func ours(fields string) string {
	return mine(`"f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {` + fields + `}}}}`)
}

func TestWhatARemovalPutsBack(t *testing.T) {
	t.Parallel()
	env := `"f:env": {'k:{"name":"MODEL_NAME"}': {".": {}, "f:name": {}, "f:value": {}}, 'k:{"name":"Z"}': {".": {}, "f:name": {}, "f:value": {}}}`
	annotations := func(found string) string {
		return `, annotations: {slipway.dev/release: 01R0, slipway.dev/fence: "2", slipway.dev/found: '` + found + `'}`
	}
	container := `, env: [{name: MODEL_NAME, value: x}, {name: Z, value: ours}]`
	found := `{"container":"main","served":%v,"fields":{"image":"was:1","env/MODEL_NAME":null,"env/Z":{"name":"Z","value":"theirs"}}}`
	tests := []struct {
		name           string
		served         bool
		maxUnavailable any
	}{
		{"a placeholder, which lets nothing serve", false, "100%"},
		{"an image that served", true, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := deploymentOf(t, fmt.Sprintf(bare, annotations(fmt.Sprintf(found, tt.served))+ours(`"f:image": {}, `+env), container))
			got, claims := decide(t, d, slipway.Action{Kind: slipway.Remove, Fence: 3})
			want := []map[string]any{{"name": "main", "image": "was:1", "env": []any{map[string]any{"name": "Z", "value": "theirs"}}}}
			if diff := cmp.Diff(want, got.Spec.Template.Spec.Containers); diff != "" || len(claims) > 0 {
				t.Errorf("claims %v, containers (-want +got):\n%s", claims, diff)
			}
			if diff := cmp.Diff(tt.maxUnavailable, got.Spec.Strategy.RollingUpdate.MaxUnavailable); diff != "" {
				t.Errorf("maxUnavailable (-want +got):\n%s", diff)
			}
			a := got.Metadata.Annotations
			if _, ok := a["slipway.dev/release"]; ok || a["slipway.dev/fence"] != "3" {
				t.Errorf("annotations %v", a)
			}
		})
	}
	d := deploymentOf(t, fmt.Sprintf(bare, annotations("{")+ours(`"f:image": {}`), ""))
	if _, _, err := kube.Decide(d, reference, slipway.Action{Kind: slipway.Remove}); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
		t.Errorf("without a word on what was there: %v", err)
	}
	untouched := deploymentOf(t, fmt.Sprintf(bare, "", container))
	got, _ := decide(t, untouched, slipway.Action{Kind: slipway.Remove, Fence: 3})
	if diff := cmp.Diff(map[string]string{"slipway.dev/fence": "3"}, got.Metadata.Annotations); diff != "" || len(got.Spec.Template.Spec.Containers) > 0 {
		t.Errorf("a Deployment without a release gets %+v\n%s", got, diff)
	}
}

// What somebody else's undo or a source of another kind would leave behind is
// taken over first.
func TestWhatIsTakenOver(t *testing.T) {
	t.Parallel()
	theirs := func(metadata, fields string) string {
		return `, managedFields: [{manager: kubectl, operation: Update, apiVersion: apps/v1, fieldsType: FieldsV1, fieldsV1: {` + metadata +
			`"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"main"}': {` + fields + `}}}}}}}]`
	}
	undone := `, annotations: {slipway.dev/release: 01R0, slipway.dev/found: '{"fields":{"image":"was:1","env/A":null}}'}` +
		theirs(`"f:metadata": {"f:annotations": {"f:slipway.dev/release": {}}}, `, `"f:image": {}, "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}}`)
	source := theirs("", `"f:env": {'k:{"name":"MODEL_NAME"}': {".": {}, "f:name": {}, "f:valueFrom": {"f:fieldRef": {}}}}`)
	tests := []struct {
		name, metadata, container string
		want                      []string
	}{
		{"an undone rollout", undone, `, env: [{name: A, value: x}]`, []string{
			".metadata.annotations.slipway.dev/release",
			`.spec.template.spec.containers[name="main"].env[name="A"]`,
			`.spec.template.spec.containers[name="main"].image`,
		}},
		{"a value where there was a source", source, `, env: [{name: MODEL_NAME, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]`,
			[]string{`.spec.template.spec.containers[name="main"].env[name="MODEL_NAME"].valueFrom`}},
		{"a value where there was another", theirs("", `"f:env": {'k:{"name":"MODEL_NAME"}': {".": {}, "f:name": {}, "f:value": {}}}`),
			`, env: [{name: MODEL_NAME, value: x}]`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			d := deploymentOf(t, fmt.Sprintf(bare, tt.metadata, tt.container))
			_, claims := decide(t, d, slipway.Action{Kind: slipway.Apply, Release: release()})
			slices.Sort(claims)
			if diff := cmp.Diff(tt.want, claims); diff != "" {
				t.Errorf("taken over (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatOthersChangedInTheTemplate(t *testing.T) {
	t.Parallel()
	const old = `
metadata: {annotations: {slipway.dev/release: 01R0, slipway.dev/found: '{"fields":{"env/A":null,"requests/cpu":"1"}}'}}
spec:
  template:
    metadata: {labels: {app: iris, pod-template-hash: x}, annotations: {a.b/c: "1"}}
    spec:
      containers:
        - {name: main, image: i@sha256:1, env: [{name: A, value: "1"}, {name: B, value: "1"}], resources: {requests: {cpu: "2"}, limits: {memory: 1Gi}}}
        - {name: sidecar, image: x:1}
`
	tests := []struct {
		name     string
		from, to string
		want     []string
	}{
		{name: "nothing"},
		{name: "a variable", from: `{name: B, value: "1"}`, to: `{name: B, value: "2"}`, want: []string{"spec.containers[main].env[B].value"}},
		{name: "another variable", from: `{name: B, value: "1"}`, to: `{name: B, value: "1"}, {name: C}`, want: []string{"spec.containers[main].env[C]"}},
		{name: "a limit", from: "memory: 1Gi", to: "memory: 2Gi", want: []string{"spec.containers[main].resources.limits.memory"}},
		{name: "no limits", from: ", limits: {memory: 1Gi}", want: []string{"spec.containers[main].resources.limits.memory"}},
		{name: "a restart", from: `annotations: {a.b/c: "1"}`, to: `annotations: {a.b/c: "1", kubectl.kubernetes.io/restartedAt: now}`,
			want: []string{"metadata.annotations[kubectl.kubernetes.io/restartedAt]"}},
		{name: "a container less", from: "        - {name: sidecar, image: x:1}\n", want: []string{"spec.containers[sidecar]"}},
		{name: "what is ours", from: `cpu: "2"`, to: `cpu: "3"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var set appsv1.ReplicaSet
			if err := yaml.Unmarshal([]byte(old), &set); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(old, tt.from) {
				t.Fatal("the test changes nothing")
			}
			now := deploymentOf(t, strings.Replace(old, tt.from, tt.to, 1))
			if tt.name == "what is ours" { // and was not when the release was rolled out
				now.Annotations["slipway.dev/found"] = "{}"
				delete(set.Annotations, "slipway.dev/found")
				set.Annotations["slipway.dev/found"] = `{"fields":{"requests/cpu":"1"}}`
			}
			if diff := cmp.Diff(tt.want, kube.Drift(now, []appsv1.ReplicaSet{set}, "main")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The template of a release is the one it came with, however soon somebody
// changed it, and however often the release came back.
func TestTheTemplateARollbackPutsBack(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		sets []string // as listed: name, release, second it was made in, revisions
		want string
	}{
		{"changed within the second", []string{"c 01A 0 4", "b 01A 0 3", "a 01A 0 2"}, "a"},
		{"changed later", []string{"a 01A 9 3", "b 01A 0 2"}, "b"},
		{"back, and noticed by the controller", []string{"a 01A 0 3", "b 01B 0 2,6"}, "b"},
		{"back and changed again", []string{"a 01A 0 3", "b 01B 0 2,6", "c 01B 3 7"}, "b"},
		{"not numbered yet", []string{"a 01A 0 ", "b 01A 0 2"}, "b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var sets []appsv1.ReplicaSet
			for _, line := range tt.sets {
				sets = append(sets, replicaSetOf(line))
			}
			if got := kube.FirstOf(sets, "main", "i@sha256:1"); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func replicaSetOf(line string) appsv1.ReplicaSet {
	f := strings.Split(line, " ")
	second, _ := strconv.Atoi(f[2])
	var r appsv1.ReplicaSet
	r.Name, r.CreationTimestamp = f[0], metav1.Unix(int64(second), 0)
	r.Annotations = map[string]string{"slipway.dev/release": f[1]}
	history, last, more := strings.Cut(f[3], ",")
	if more {
		r.Annotations["deployment.kubernetes.io/revision-history"] = history
	} else {
		last = history
	}
	if last != "" {
		r.Annotations["deployment.kubernetes.io/revision"] = last
	}
	r.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Image: "i@sha256:1"}}
	return r
}

// The project's manifest under other names has none of its own left, and each
// thing still finds the others.
func TestTheManifestUnderOtherNames(t *testing.T) {
	t.Parallel()
	same, err := kube.Renamed(k8s.Production, slipway.TargetRef{Namespace: "production", Name: "inference-service"})
	if err != nil {
		t.Fatal(err)
	}
	other, err := kube.Renamed(k8s.Production, slipway.TargetRef{Namespace: "shop", Name: "iris"})
	if err != nil {
		t.Fatal(err)
	}
	for i := range other {
		was, is := jsonOf(t, same[i]), jsonOf(t, other[i])
		if strings.Contains(is, "inference-service") || strings.Contains(is, "production") {
			t.Errorf("left over: %s", is)
		}
		if same[i]["kind"] == "Role" || same[i]["kind"] == "RoleBinding" {
			was = strings.ReplaceAll(was, `"name":"slipway","namespace":"production"},"r`, `"name":"slipway-iris","namespace":"production"},"r`)
			was = strings.ReplaceAll(was, `"kind":"Role","name":"slipway"`, `"kind":"Role","name":"slipway-iris"`)
		}
		was = strings.ReplaceAll(strings.ReplaceAll(was, "inference-service", "iris"), `"production"`, `"shop"`)
		if diff := cmp.Diff(was, is); diff != "" {
			t.Errorf("%v (-want +got):\n%s", same[i]["kind"], diff)
		}
	}
	if last := other[len(other)-1]["kind"]; last != "Deployment" {
		t.Errorf("the last one is a %v", last)
	}
}

func jsonOf(t *testing.T, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Whatever the annotation holds, only fields that releases set come of it, and
// writing them again says the same.
func FuzzFound(f *testing.F) {
	f.Add(`{"container":"main","served":true,"fields":{"image":"pause:1","env/A":null,"env/B":{"name":"B","value":"x"},"requests/cpu":"1"}}`)
	f.Add(`{"fields":{"startupProbe":{"httpGet":{"path":"/"}},"startupProbe/failureThreshold":3,"maxUnavailable":"25%","change-cause":"x"}}`)
	f.Add(`{"fields":{"../../x":1,"env/":null,"env/A":{"name":"B"}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		again, err := kube.FoundAgain(text)
		if err != nil {
			t.Fatal(err)
		}
		twice, err := kube.FoundAgain(again)
		if err != nil || twice != again {
			t.Errorf("%q becomes %q, then %q (%v)", text, again, twice, err)
		}
		for key, v := range kube.FoundFields(text) {
			name, variable := strings.CutPrefix(key, "env/")
			known := slices.Contains([]string{"image", "requests/cpu", "requests/memory", "startupProbe", "startupProbe/failureThreshold", "change-cause", "maxUnavailable"}, key)
			var entry struct{ Name string }
			if variable && string(v) != "null" && (json.Unmarshal(v, &entry) != nil || entry.Name != name) || !variable && !known || len(v) > 0 && !json.Valid(v) {
				t.Errorf("%q: %s", key, v)
			}
		}
	})
}
