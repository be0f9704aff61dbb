package kube_test

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode"

	"k8s.io/client-go/rest"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

const secret = "token-that-nobody-may-see"

// What API servers answer, word for word, and what it means.
func TestAPIErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		code    int
		message string
		want    slipway.Code
		say     []string // in the error or its hint
	}{
		{
			"a missing right", 403,
			`configmaps "inference-service-slipway" is forbidden: User "system:serviceaccount:production:ci" cannot get resource "configmaps" in API group "" in the namespace "production"`,
			slipway.Unauthorized,
			[]string{"the right to get configmaps in the namespace production is missing", "kubectl create rolebinding", "--serviceaccount=production:ci -n production", "k8s/deployment-production.yaml"},
		},
		{
			"a missing right in a group", 403,
			`deployments.apps "x" is forbidden: User "ada" cannot patch resource "deployments" in API group "apps" in the namespace "n"`,
			slipway.Unauthorized, []string{"the right to patch deployments.apps in the namespace n is missing", "--role=slipway --user=ada -n n", "has the Role slipway-NAME"},
		},
		{
			"a missing right to a subresource", 403,
			`pods "http:p:8000" is forbidden: User "ada@example.com" cannot get resource "pods/proxy" in API group "" in the namespace "n"`,
			slipway.Unauthorized, []string{"the right to get pods/proxy in the namespace n is missing", "--user=ada@example.com"},
		},
		{
			"a missing right to what has no namespace", 403,
			`namespaces is forbidden: User "ada" cannot create resource "namespaces" in API group "" at the cluster scope`,
			slipway.Unauthorized, []string{"the right to create namespaces is missing", "kubectl create clusterrole NAME --verb=create --resource=namespaces"},
		},
		{
			"a user whose name is a command", 403,
			`pods is forbidden: User "x; rm -rf /" cannot list resource "pods" in API group "" in the namespace "n"`,
			slipway.Unauthorized, []string{"--user=USER"},
		},
		{
			"a quota", 403,
			`pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=3, limited: pods=3`,
			slipway.Exhausted, []string{"exceeded quota: small", "kubectl describe resourcequota"},
		},
		{
			"an admission webhook", 403, `admission webhook "policy.example.com" denied the request: no :latest here`,
			slipway.Invalid, []string{"no :latest here", "validatingwebhookconfigurations"},
		},
		{
			"an admission webhook that says 500", 500, `admission webhook "policy.example.com" denied the request: no`,
			slipway.Invalid, []string{"denied the request"},
		},
		{
			"an admission policy", 422,
			`deployments.apps "x" is forbidden: ValidatingAdmissionPolicy 'limits' with binding 'all' denied request: too many`,
			slipway.Invalid, []string{"too many", "validatingadmissionpolicies"},
		},
		{
			"a webhook that is down", 500,
			`Internal error occurred: failed calling webhook "policy.example.com": failed to call webhook: Post "https://policy.default.svc": dial tcp: refused`,
			slipway.Unavailable, []string{"policy.example.com", "see why the webhook does not answer"},
		},
		{"a namespace that ends", 403, `configmaps "x" is forbidden: unable to create new content in namespace n because it is being terminated`, slipway.Invalid, []string{"being deleted"}},
		{"credentials that are over", 401, "Unauthorized", slipway.Unauthorized, []string{"does not accept the credentials", "kubectl auth whoami"}},
		{"bad request", 400, "the object is malformed", slipway.Invalid, []string{"malformed"}},
		{"invalid", 422, `ConfigMap "x" is invalid: data: Forbidden: field is immutable when ` + "`immutable` is set", slipway.Invalid, []string{"immutable"}},
		{"too large", 413, "Request entity too large: limit is 3145728", slipway.Exhausted, nil},
		{"too many requests", 429, "too many requests, please try again later", slipway.Unavailable, nil},
		{"internal", 500, "etcdserver: leader changed", slipway.Unavailable, nil},
		{"unavailable", 503, "apiserver is shutting down", slipway.Unavailable, nil},
		{"timeout", 504, "Timeout: request did not complete within requested timeout", slipway.Unavailable, nil},
		{"what a terminal would obey", 400, "\x1b[2Jcleared \u202eback\nnext line", slipway.Invalid, []string{"[2Jcleared back next line"}},
		{"a book", 400, strings.Repeat("long ", 10000), slipway.Invalid, []string{"long"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := answering(t, statusHandler(tt.code, tt.message)).Journal().Load(t.Context())
			checkError(t, err, tt.want, tt.say)
		})
	}
}

func TestAnAPIServerThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	_, err := targetAt(t, server.URL).Journal().Load(t.Context())
	checkError(t, err, slipway.Unavailable, []string{"the API server does not answer", "kubectl cluster-info"})
}

func TestACertificateNobodyKnowsIsNoOutage(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	_, err := targetAt(t, server.URL).Journal().Load(t.Context())
	checkError(t, err, slipway.Invalid, []string{"certificate", "kubectl config view --minify"})
}

func checkError(t *testing.T, err error, want slipway.Code, say []string) {
	t.Helper()
	text := fmt.Sprintf("%v\n%s", err, slipway.HintOf(err))
	if slipway.CodeOf(err) != want {
		t.Errorf("code %q, want %q: %s", slipway.CodeOf(err), want, text)
	}
	for _, s := range say {
		if !strings.Contains(text, s) {
			t.Errorf("%q is not in: %s", s, text)
		}
	}
	if len(text) > 4<<10 {
		t.Errorf("%d bytes of text", len(text))
	}
	if strings.Contains(text, secret) {
		t.Errorf("the token is in: %s", text)
	}
	for _, r := range strings.ReplaceAll(text, "\n", "") {
		if unicode.IsControl(r) || r == '\u202e' {
			t.Errorf("%q is in %q", r, text)
		}
	}
	if strings.Contains(err.Error(), "\n") {
		t.Errorf("more than a line: %q", err)
	}
}

// statusHandler answers every request as an API server does.
func statusHandler(code int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{
			"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code,
		})
	}
}

func answering(t *testing.T, h http.Handler, deployment ...string) *kube.Target {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return targetAt(t, server.URL, deployment...)
}

func targetAt(t *testing.T, url string, deployment ...string) *kube.Target {
	t.Helper()
	name := append(deployment, "inference-service")[0]
	target, err := kube.New(kube.Config{
		Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: "n", Name: name},
		Getenv: func(string) string { return "" },
		Rest:   &rest.Config{Host: url, BearerToken: secret},
	})
	if err != nil {
		t.Fatal(err)
	}
	return target
}
