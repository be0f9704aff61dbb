package kube_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

// apiServer answers what a probe asks for, by path.
type apiServer struct {
	objects map[string]string // JSON by the path's end
	denied  func(verb, resource, name string) bool

	mu    sync.Mutex
	asked []string // "verb group/resource/subresource name" of each access review
}

func (a *apiServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	switch {
	case strings.HasSuffix(r.URL.Path, "/selfsubjectreviews"):
		_, _ = io.WriteString(w, `{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview","status":{"userInfo":{"username":"ada"}}}`)
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		a.review(w, r)
	default:
		for path, object := range a.objects {
			if strings.HasSuffix(r.URL.Path, path) {
				_, _ = io.WriteString(w, object)
				return
			}
		}
		statusHandler(404, "not found")(w, r)
	}
}

func (a *apiServer) review(w http.ResponseWriter, r *http.Request) {
	var review struct {
		Spec struct {
			ResourceAttributes struct{ Namespace, Verb, Group, Resource, Subresource, Name string }
		}
	}
	_ = json.NewDecoder(r.Body).Decode(&review)
	at := review.Spec.ResourceAttributes
	a.mu.Lock()
	a.asked = append(a.asked, fmt.Sprintf("%s %s/%s/%s %s in %s", at.Verb, at.Group, at.Resource, at.Subresource, at.Name, at.Namespace))
	a.mu.Unlock()
	allowed := a.denied == nil || !a.denied(at.Verb, at.Resource, at.Name)
	fmt.Fprintf(w, `{"apiVersion":"authorization.k8s.io/v1","kind":"SelfSubjectAccessReview","spec":{},"status":{"allowed":%v}}`, allowed)
}

func TestReach(t *testing.T) {
	t.Parallel()
	got, err := answering(t, &apiServer{objects: map[string]string{"/version": `{"major":"1","gitVersion":"v1.37.2"}`}}).Reach(t.Context())
	if err != nil || got.Version != "v1.37.2" || !strings.HasPrefix(got.Server, "127.0.0.1:") || got.User != "ada" || got.Time.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		code   slipway.Code
		says   string
	}{
		"credentials":         {statusHandler(401, "Unauthorized"), slipway.Unauthorized, "does not accept the credentials"},
		"a missing right":     {statusHandler(403, `forbidden: User "ada" cannot get path "/version"`), slipway.Unauthorized, "/version"},
		"not an API server":   {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, slipway.Invalid, "is no API server"},
		"nothing behind":      {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "<html>", 502) }, slipway.Invalid, "502"},
		"a login page":        {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/login", 302) }, slipway.Invalid, "302"},
		"it breaks in answer": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, slipway.Unavailable, "does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, tt.answer).Reach(t.Context())
			checkError(t, err, tt.code, []string{tt.says})
		})
	}
}

// The Role of the manifest is what is asked for, right by right, under the
// names of the reference.
func TestRightsAreThoseOfTheRole(t *testing.T) {
	t.Parallel()
	server := &apiServer{}
	rights, err := answering(t, server, "spam").Rights(t.Context())
	if err != nil || len(rights) != len(server.asked) {
		t.Fatalf("%d rights, %d asked for, %v", len(rights), len(server.asked), err)
	}
	for _, want := range []string{
		"patch apps/deployments/ spam in n", "list apps/replicasets/  in n", "create /pods/proxy  in n",
		"get /services/proxy http:spam:8000 in n", "update coordination.k8s.io/leases/ spam-slipway in n", "create /configmaps/  in n",
	} {
		if !slices.Contains(server.asked, want) {
			t.Errorf("%q was not asked for: %q", want, server.asked)
		}
	}
	for _, r := range rights {
		if r.Missing != nil {
			t.Errorf("%s: %v", r.Name, r.Missing)
		}
	}
}

func TestRightsThatAreMissing(t *testing.T) {
	t.Parallel()
	server := &apiServer{denied: func(verb, resource, _ string) bool { return verb == "patch" || resource == "leases" }}
	rights, err := answering(t, server).Rights(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var missing []string
	for _, r := range rights {
		if r.Missing != nil {
			missing = append(missing, r.Name)
			checkError(t, r.Missing, slipway.Unauthorized, []string{"the right to", "ada may not"})
		}
	}
	want := []string{
		"patch deployments.apps inference-service",
		"get leases.coordination.k8s.io inference-service-slipway", "update leases.coordination.k8s.io inference-service-slipway",
		"create leases.coordination.k8s.io",
	}
	if diff := cmp.Diff(want, missing); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// What gives the rights is the Role of the target, under its name.
func TestMissingRightsNameTheTargetsRole(t *testing.T) {
	t.Parallel()
	all := &apiServer{denied: func(string, string, string) bool { return true }}
	for _, tt := range []struct {
		namespace, name string
		says            []string
		not             string
	}{
		{"production", "inference-service", []string{"kubectl apply -f k8s/deployment-production.yaml creates the Role slipway;", "--role=slipway --user=ada -n production"}, "init"},
		{"n", "inference-service", []string{"slipway deploy --create makes the Role slipway, or slipway init", "--role=slipway --user=ada -n n"}, "k8s/"},
		{"production", "spam", []string{"slipway deploy --create makes the Role slipway-spam,", "--role=slipway-spam --user=ada -n production"}, "k8s/"},
	} {
		target := answeringIn(t, all, tt.namespace, tt.name)
		rights, err := target.Rights(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		checkError(t, rights[0].Missing, slipway.Unauthorized, tt.says)
		if hint := slipway.HintOf(rights[0].Missing); strings.Contains(hint, tt.not) {
			t.Errorf("%s: %q", tt.name, hint)
		}
		if want := tt.says[1][len("--role="):strings.Index(tt.says[1], " ")]; target.Role() != want {
			t.Errorf("the Role is %s, want %s", target.Role(), want)
		}
	}
}

func answeringIn(t *testing.T, h http.Handler, namespace, name string) *kube.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	target, err := kube.New(kube.Config{
		Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: namespace, Name: name},
		Getenv: func(string) string { return "" },
		Rest:   &rest.Config{Host: server.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestRightsThatCannotBeAskedFor(t *testing.T) {
	t.Parallel()
	denied := statusHandler(403, `selfsubjectaccessreviews.authorization.k8s.io is forbidden: User "ada" cannot create resource "selfsubjectaccessreviews" in API group "authorization.k8s.io" at the cluster scope`)
	_, err := answering(t, denied).Rights(t.Context())
	checkError(t, err, slipway.Unauthorized, []string{"selfsubjectaccessreviews"})
}

// A Deployment as the manifest makes it, in short. %s is more of its spec, of
// its metadata, and of its container.
const preparedDeployment = `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"inference-service","namespace":"n"%s},
	"spec":{"selector":{"matchLabels":{"app":"x"}},"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0}}%s,
	"template":{"metadata":{"labels":{"app":"x"}},"spec":{"containers":[{"name":"inference-service","image":"registry.k8s.io/pause:3.10"%s}]}}}}`

const (
	readiness     = `,"readinessProbe":{"httpGet":{"path":"/ready","port":8000}}`
	ourService    = `{"apiVersion":"v1","kind":"ServiceList","items":[{"metadata":{"name":"inference-service"},"spec":{"selector":{"app":"x"},"ports":[{"port":8000}]}}]}`
	ourAutoscaler = `{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscalerList","items":[{"metadata":{"name":"hpa"},"spec":{"scaleTargetRef":{"kind":"Deployment","name":"inference-service"}}}]}`
	none          = `{"apiVersion":"v1","kind":"List","items":[]}`
)

func TestPrepared(t *testing.T) {
	t.Parallel()
	deployment := fmt.Sprintf(preparedDeployment, "", "", readiness)
	for name, tt := range map[string]struct {
		deployment, services, autoscalers string
		want                              []string
		code                              slipway.Code
		says                              string
	}{
		"all of it":            {deployment, ourService, ourAutoscaler, []string{"Deployment", "Service", "HorizontalPodAutoscaler"}, "", ""},
		"without autoscaler":   {deployment, ourService, strings.Replace(ourAutoscaler, "inference-service", "other", 1), []string{"Deployment", "Service"}, "", ""},
		"no Deployment":        {"", ourService, ourAutoscaler, nil, slipway.NotFound, "has no Deployment inference-service"},
		"no Service":           {deployment, strings.Replace(ourService, "inference-service", "other", 1), ourAutoscaler, nil, slipway.NotFound, "has no Service inference-service"},
		"another port":         {deployment, strings.Replace(ourService, "8000", "80", 1), ourAutoscaler, nil, slipway.Invalid, "no port 8000"},
		"no readiness probe":   {fmt.Sprintf(preparedDeployment, "", "", ""), ourService, ourAutoscaler, nil, slipway.Invalid, "no readiness probe"},
		"paused":               {fmt.Sprintf(preparedDeployment, "", `,"paused":true`, readiness), ourService, ourAutoscaler, nil, slipway.Invalid, "paused"},
		"scaled to nothing":    {fmt.Sprintf(preparedDeployment, "", `,"replicas":0`, readiness), ourService, ourAutoscaler, nil, slipway.Invalid, "scaled to 0"},
		"Argo CD's":            {fmt.Sprintf(preparedDeployment, `,"annotations":{"argocd.argoproj.io/tracking-id":"x"}`, "", readiness), ourService, ourAutoscaler, nil, slipway.Invalid, "Argo CD"},
		"all pods end at once": {strings.Replace(deployment, `"RollingUpdate","rollingUpdate":{"maxUnavailable":0}`, `"Recreate"`, 1), ourService, ourAutoscaler, nil, slipway.Invalid, "Recreate"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := map[string]string{"/services": tt.services, "/horizontalpodautoscalers": tt.autoscalers}
			if tt.deployment != "" {
				objects["/deployments/inference-service"] = tt.deployment
			}
			got, err := answering(t, &apiServer{objects: objects}).Prepared(t.Context())
			if tt.code != "" {
				checkError(t, err, tt.code, []string{tt.says})
				return
			}
			if diff := cmp.Diff(tt.want, got.Objects); diff != "" || err != nil {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

// podWith is a pod of the Deployment, with an image and what the node says of it.
func podWith(name, image, status string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"n","uid":%[1]q,"labels":{"app":"x"},"creationTimestamp":"2026-01-01T00:00:00Z"},
		"spec":{"containers":[{"name":"inference-service","image":%[2]q}]},
		"status":{"phase":"Pending","containerStatuses":[{"name":"inference-service","image":%[2]q,%[3]s}]}}`, name, image, status)
}

func TestPulls(t *testing.T) {
	t.Parallel()
	const (
		runs    = `"imageID":"r.example/iris@sha256:1","state":{"running":{}}`
		refused = `"imageID":"","state":{"waiting":{"reason":"ErrImagePull","message":"failed to pull and unpack image \"r.example/iris:1\": failed to authorize: 401 Unauthorized"}}`
		gone    = `"imageID":"","state":{"waiting":{"reason":"ErrImagePull","message":"rpc error: code = NotFound desc = r.example/iris:1: not found"}}`
		starts  = `"imageID":"","state":{"waiting":{"reason":"ContainerCreating"}}`
	)
	for name, tt := range map[string]struct {
		pods    []string
		proof   string
		problem string
	}{
		"one runs":                  {[]string{podWith("a", "r.example/iris:1", runs)}, "a", ""},
		"another registry's":        {[]string{podWith("a", "other.example/iris:1", runs)}, "", ""},
		"a name that begins so":     {[]string{podWith("a", "r.example.org/iris:1", runs)}, "", ""},
		"one may not":               {[]string{podWith("a", "r.example/iris:1", refused)}, "", "may not be pulled"},
		"one ran, and one may not":  {[]string{podWith("a", "r.example/iris:1", runs), podWith("b", "r.example/iris:2", refused)}, "a", "may not be pulled"},
		"the image is gone":         {[]string{podWith("a", "r.example/iris:1", gone)}, "", ""},
		"it starts":                 {[]string{podWith("a", "r.example/iris:1", starts)}, "", ""},
		"there is none":             {nil, "", ""},
		"one of the manifest's own": {[]string{podWith("a", "registry.k8s.io/pause:3.10", runs)}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deployment := fmt.Sprintf(preparedDeployment, "", "", readiness)
			deployment = strings.Replace(deployment, `"containers"`, `"imagePullSecrets":[{"name":"regcred"}],"containers"`, 1)
			got, err := answering(t, &apiServer{objects: map[string]string{
				"/deployments/inference-service": deployment, "/services": ourService, "/replicasets": none, "/endpointslices": none, "/events": none,
				"/pods": `{"apiVersion":"v1","kind":"PodList","items":[` + strings.Join(tt.pods, ",") + `]}`,
			}}).Pulls(t.Context(), "r.example")
			if err != nil || got.Proof != tt.proof || !slices.Equal(got.Secrets, []string{"regcred"}) {
				t.Errorf("%+v, %v, want the proof %q", got, err, tt.proof)
			}
			if (got.Problem != nil) != (tt.problem != "") || got.Problem != nil && !strings.Contains(got.Problem.Message, tt.problem) {
				t.Errorf("problem %+v, want %q", got.Problem, tt.problem)
			}
		})
	}
}

func TestPullsWithoutDeployment(t *testing.T) {
	t.Parallel()
	if got, err := answering(t, &apiServer{}).Pulls(t.Context(), "r.example"); err != nil || !cmp.Equal(got, kube.Pulls{}) {
		t.Errorf("%+v, %v, want nothing", got, err)
	}
}
