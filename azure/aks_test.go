package azure_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
)

// pemOf is a PEM block with the text for its contents.
func pemOf(kind, text string) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)}))
}

// kubeconfigOf is a kubeconfig as Azure gives it, with the user's lines.
func kubeconfigOf(user string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
current-context: prod
clusters:
- {name: other, cluster: {server: "https://other.example:443"}}
- name: prod
  cluster:
    certificate-authority-data: %s
    server: https://prod-dns-1234.hcp.westeurope.azmk8s.io:443
contexts:
- {name: other, context: {cluster: other, user: nobody}}
- {name: prod, context: {cluster: prod, user: clusterUser_rg_prod}}
preferences: {}
users:
- {name: nobody, user: {token: nothing}}
- name: clusterUser_rg_prod
  user:
%s`, base64.StdEncoding.EncodeToString([]byte(pemOf("CERTIFICATE", "ca"))), user)
}

var (
	certificateUser = "    client-certificate-data: " + base64.StdEncoding.EncodeToString([]byte(pemOf("CERTIFICATE", "me"))) +
		"\n    client-key-data: " + base64.StdEncoding.EncodeToString([]byte(pemOf("RSA PRIVATE KEY", theKey))) + "\n    token: " + theToken + "\n"
	tokenUser = "    token: " + theToken + "\n"
	entraUser = `    exec:
      apiVersion: client.authentication.k8s.io/v1beta1
      command: /bin/sh
      args: [-c, "touch /tmp/owned"]
      env: null
`
	providerUser = `    auth-provider:
      name: azure
      config: {apiserver-id: 6dae42f8-4368-4678-94ff-3960e28e3630}
`
)

var prod = azure.ClusterRef{Subscription: "sub", Group: "rg", Name: "prod"}

func TestCluster(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user, token string
		cert        bool
	}{
		"local account":      {certificateUser, "", true},
		"token":              {tokenUser, theToken, false},
		"Entra":              {entraUser, theToken + "2", false},
		"Entra, an old form": {providerUser, theToken + "2", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.cluster(kubeconfigOf(c.user), 0, "")
			got, err := w.account().Cluster(t.Context(), prod)
			if err != nil {
				t.Fatal(err)
			}
			if got.Server != "https://prod-dns-1234.hcp.westeurope.azmk8s.io:443" || string(got.CA) != pemOf("CERTIFICATE", "ca") {
				t.Errorf("got %s with %q", got.Server, got.CA)
			}
			if c.cert != bytes.Equal(got.ClientCert, []byte(pemOf("CERTIFICATE", "me"))) || c.cert != bytes.Equal(got.ClientKey, []byte(pemOf("RSA PRIVATE KEY", theKey))) {
				t.Errorf("the certificate is %q", got.ClientCert)
			}
			if (got.Token == nil) != (c.token == "") {
				t.Fatalf("a token is there: %v", got.Token != nil)
			}
			if got.Token == nil {
				return
			}
			if token, err := got.Token(t.Context()); err != nil || token != c.token {
				t.Errorf("the token is %q and %v, want %q", token, err, c.token)
			}
		})
	}
}

// A cluster's token is of AKS's own application, and another one before it ends.
func TestClusterTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.cluster(kubeconfigOf(entraUser), 0, "")
	c, err := w.account().Cluster(t.Context(), prod)
	if err != nil {
		t.Fatal(err)
	}
	w.lives = 250
	var tokens []string
	for range 2 {
		token, err := c.Token(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	if tokens[0] == tokens[1] {
		t.Error("a token that is about to expire was used again")
	}
	if scope := w.lastForm().Get("scope"); !strings.HasPrefix(scope, "6dae42f8-4368-4678-94ff-3960e28e3630/.default") {
		t.Errorf("the scope is %q", scope)
	}
}

func TestClusterRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		status     int
		errorCode  string
		code       slipway.Code
		says, hint string
	}{
		{"no role", 403, "AuthorizationFailed", slipway.Unauthorized, "AuthorizationFailed", `az role assignment create --assignee ` + clientID +
			` --role "Azure Kubernetes Service Cluster User Role" --scope /subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/prod`},
		{"gone", 404, "ResourceNotFound", slipway.NotFound, "ResourceNotFound", "az aks list --subscription sub"},
		{"no such group", 404, "ResourceGroupNotFound", slipway.NotFound, "ResourceGroupNotFound", "AKS_RESOURCE_GROUP"},
		{"wrong tenant", 401, "InvalidAuthenticationTokenTenant", slipway.Unauthorized, "InvalidAuthenticationTokenTenant", "az role assignment create"},
		{"malformed", 400, "InvalidSubscriptionId", slipway.Invalid, "InvalidSubscriptionId", "AZURE_SUBSCRIPTION_ID"},
		{"down", 503, "ServiceUnavailable", slipway.Unavailable, "ServiceUnavailable", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.cluster("", c.status, c.errorCode)
			_, err := w.account().Cluster(t.Context(), prod)
			fails(t, err, c.code, c.says, c.hint)
		})
	}
}

// The body of a refusal is told, but for what must not be.
func TestClusterRefusedInWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.on("management.azure.com", func(rw http.ResponseWriter, _ *http.Request) {
		answer(rw, 403, map[string]any{"error": map[string]string{"code": "AuthorizationFailed",
			"message": "The client 'x' does not have authorization to perform action 'listClusterUserCredential/action'.\n" + theToken}})
	})
	_, err := w.account().Cluster(t.Context(), prod)
	fails(t, err, slipway.Unauthorized, "does not have authorization to perform action", "az role assignment create")
}

func TestClusterNotUnderstood(t *testing.T) {
	t.Parallel()
	certificate, key, _ := strings.Cut(certificateUser, "\n")
	for name, c := range map[string]struct{ body, says string }{
		"no JSON":      {`<p>` + theToken, "is not understood"},
		"no base64":    {`{"kubeconfigs": [{"value": "` + theToken + `!"}]}`, "is not understood"},
		"nothing":      {`{"kubeconfigs": []}`, "without credentials"},
		"other":        {credentials("token: " + theToken), "no current context"},
		"no YAML":      {credentials("{" + theToken), "no YAML"},
		"plain http":   {credentials(strings.Replace(kubeconfigOf(tokenUser), "https://prod", "http://prod", 1)), "no https URL"},
		"no way in":    {credentials(kubeconfigOf("    {}\n")), "neither a certificate, nor a token"},
		"a half cert":  {credentials(kubeconfigOf(certificate[:len(certificate)-20] + "\n" + key)), "client certificate or its key is malformed"},
		"cert, no key": {credentials(kubeconfigOf(certificate + "\n")), "client certificate or its key is malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.on("management.azure.com", func(rw http.ResponseWriter, _ *http.Request) {
				rw.Header().Set("Content-Type", "application/json")
				fmt.Fprint(rw, c.body)
			})
			_, err := w.account().Cluster(t.Context(), prod)
			code := slipway.Invalid
			if c.says == "is not understood" {
				code = slipway.Corrupt
			}
			notGivenAway(t, err, code, c.says)
		})
	}
}

// credentials is Azure Resource Manager's answer with the kubeconfig.
func credentials(kubeconfig string) string {
	return `{"kubeconfigs": [{"value": "` + base64.StdEncoding.EncodeToString([]byte(kubeconfig)) + `"}]}`
}

// An answer that breaks off is no reason to give up for good.
func TestClusterBreaks(t *testing.T) {
	t.Parallel()
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(protocol, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.http1 = protocol == "HTTP/1.1"
			w.on("management.azure.com", func(rw http.ResponseWriter, r *http.Request) {
				if r.Proto != protocol {
					t.Errorf("asked by %s", r.Proto)
				}
				breakOff(rw)
			})
			_, err := w.account().Cluster(t.Context(), prod)
			fails(t, err, slipway.Unavailable, "Azure Resource Manager is out of reach", "HTTPS_PROXY")
		})
	}
}

// breakOff begins an answer and hangs up.
func breakOff(rw http.ResponseWriter) {
	rw.Header().Set("Content-Length", "100")
	fmt.Fprint(rw, "half")
	rw.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

func TestClusterFrom(t *testing.T) {
	t.Parallel()
	vars := map[string]string{"AKS_CLUSTER_NAME": "prod\n", "AKS_RESOURCE_GROUP": " rg", "AZURE_SUBSCRIPTION_ID": "sub\r\n"}
	if ref, ok := azure.ClusterFrom(func(name string) string { return vars[name] }); !ok || ref != prod {
		t.Errorf("got %+v, %v", ref, ok)
	}
	for name := range vars {
		if _, ok := azure.ClusterFrom(func(n string) string {
			if n == name {
				return " "
			}
			return vars[n]
		}); ok {
			t.Errorf("without %s there is a cluster", name)
		}
	}
}

// An interrupt ends waiting for Azure.
func TestClusterInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorld(t, bySecret())
	w.on("management.azure.com", func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := w.account().Cluster(ctx, prod)
	fails(t, err, slipway.Unavailable, "context canceled", "")
}

func FuzzKubeconfig(f *testing.F) {
	for _, user := range []string{certificateUser, tokenUser, entraUser, providerUser, "    {}\n"} {
		f.Add([]byte(kubeconfigOf(user)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		server, _, err := azure.ParseKubeconfig(data)
		if err == nil && !strings.HasPrefix(server, "https://") {
			t.Errorf("took the server %q", server)
		}
		if err != nil && len(data) > 40 && strings.Contains(err.Error(), string(data)) {
			t.Errorf("quotes what it read: %v", err)
		}
	})
}

func FuzzReadFailure(f *testing.F) {
	f.Add([]byte(`{"error": {"code": "AuthorizationFailed", "message": "no"}}`))
	f.Add([]byte(`{"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}`))
	f.Add([]byte("\uFEFF<?xml version=\"1.0\"?><Error><Code>AuthenticationFailed</Code><Message>no\nRequestId:1</Message></Error>"))
	f.Add([]byte(`{"error": "invalid_client"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if text := azure.ReadFailure(body); strings.ContainsAny(text, "\n\r\x1b") || len(text) > 8<<10 {
			t.Errorf("%q", text)
		}
	})
}
