package azure_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	azfake "github.com/Azure/azure-sdk-for-go/sdk/azcore/fake"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/containerservice/armcontainerservice/v6/fake"

	"github.com/slipway-dev/slipway/azure"
)

// What must never be seen in an error.
const (
	theSecret     = "S3cr3t~client-secret"
	theAssertion  = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhc3NlcnRpb24ifQ.c2lnbmF0dXJl"
	theToken      = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJhY2Nlc3MifQ.dG9rZW4"
	theRefresh    = "eyJ0eXAiOiJKV1QifQ.eyJhdWQiOiJyZWZyZXNoIn0.cmVmcmVzaA"
	theCIToken    = "ci-bearer-token-1234567890"
	theWrongToken = "ci-bearer-token-that-is-wrong"
	theKey        = "c3RvcmFnZS1rZXktc3RvcmFnZS1rZXk="
	tenantID      = "11111111-2222-3333-4444-555555555555"
	clientID      = "99999999-8888-7777-6666-555555555555"
)

var allSecrets = []string{theSecret, theAssertion, theToken, theRefresh, theCIToken, theWrongToken, theKey}

// world is all of Azure that a test needs, on loopback: every host leads to it.
type world struct {
	t    testing.TB
	vars map[string]string

	mu     sync.Mutex
	asked  []string     // of the token endpoint: the scopes
	forms  []url.Values // and all that was sent
	lives  int          // seconds a token lives; default an hour
	hosts  map[string]http.HandlerFunc
	told   []string
	http1  bool // it is asked by HTTP/1.1; else by HTTP/2, as Azure is
	server *httptest.Server
	plain  *httptest.Server // the same without TLS
}

func newWorld(t testing.TB, vars map[string]string) *world {
	t.Helper()
	w := &world{t: t, vars: vars, lives: 3600, hosts: map[string]http.HandlerFunc{}}
	w.hosts["login.microsoftonline.com"] = w.entra
	w.hosts["login.microsoft.com"] = w.entra
	w.server, w.plain = httptest.NewUnstartedServer(w), httptest.NewServer(w)
	w.server.EnableHTTP2 = true
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	t.Cleanup(w.plain.Close)
	return w
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	handler := w.handler(r.Host)
	if handler == nil {
		http.Error(rw, "nobody is "+r.Host, http.StatusTeapot)
		return
	}
	handler(rw, r)
}

// account is one whose every connection ends at the world.
func (w *world) account() *azure.Account {
	return azure.New(azure.Config{Getenv: func(name string) string { return w.vars[name] }, Transport: w.transport(), Backoff: time.Millisecond,
		Told: func(message string) { w.told = append(w.told, message) }})
}

func (w *world) transport() *http.Transport {
	transport := w.server.Client().Transport.(*http.Transport).Clone()
	transport.Proxy, transport.ForceAttemptHTTP2 = nil, !w.http1
	transport.TLSClientConfig = &tls.Config{RootCAs: transport.TLSClientConfig.RootCAs, ServerName: "example.com"}
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, _ := net.SplitHostPort(address)
		to := w.server
		if port == "80" {
			to = w.plain
		}
		if w.handler(host) == nil {
			return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
		}
		return (&net.Dialer{}).DialContext(ctx, network, to.Listener.Addr().String())
	}
	return transport
}

func (w *world) handler(host string) http.HandlerFunc {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.hosts[host]
}

func (w *world) on(host string, handler http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[host] = handler
}

// entra is Microsoft Entra: discovery and the token endpoint.
func (w *world) entra(rw http.ResponseWriter, r *http.Request) {
	const authority = "https://login.microsoftonline.com/" + tenantID
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		answer(rw, 200, map[string]any{"tenant_discovery_endpoint": authority + "/v2.0/.well-known/openid-configuration", "api-version": "1.1", "metadata": []any{}})
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		answer(rw, 200, map[string]any{"token_endpoint": authority + "/oauth2/v2.0/token", "authorization_endpoint": authority + "/oauth2/v2.0/authorize",
			"issuer": authority + "/v2.0", "jwks_uri": authority + "/keys"})
	case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
		w.token(rw, r)
	default:
		http.NotFound(rw, r)
	}
}

func (w *world) token(rw http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		w.t.Error(err)
	}
	w.mu.Lock()
	w.asked = append(w.asked, r.Form.Get("scope"))
	w.forms = append(w.forms, maps.Clone(r.Form))
	n, lives := len(w.forms), w.lives
	w.mu.Unlock()
	answer(rw, 200, map[string]any{"token_type": "Bearer", "expires_in": lives, "ext_expires_in": lives, "access_token": fmt.Sprintf("%s%d", theToken, n)})
}

// refuse lets the token endpoint complain as Entra does.
func (w *world) refuse(status int, kind, description string) {
	w.on("login.microsoftonline.com", func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/token") {
			w.entra(rw, r)
			return
		}
		answer(rw, status, map[string]any{"error": kind, "error_description": description +
			"\r\nTrace ID: 0000\r\nCorrelation ID: 1111\r\nTimestamp: 2026-01-01 00:00:00Z", "error_codes": []int{1}})
	})
}

func (w *world) lastForm() url.Values {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.forms) == 0 {
		w.t.Fatal("the token endpoint was not asked")
	}
	return w.forms[len(w.forms)-1]
}

func answer(rw http.ResponseWriter, status int, body any) {
	rw.Header().Set("Content-Type", "application/json")
	rw.WriteHeader(status)
	if err := json.NewEncoder(rw).Encode(body); err != nil {
		panic(err)
	}
}

// cluster lets Azure Resource Manager, as the SDK fakes it, give the kubeconfig
// or fail.
func (w *world) cluster(kubeconfig string, status int, code string) {
	w.t.Helper()
	server := fake.NewManagedClustersServerTransport(&fake.ManagedClustersServer{
		ListClusterUserCredentials: func(_ context.Context, group, name string, o *armcontainerservice.ManagedClustersClientListClusterUserCredentialsOptions) (
			resp azfake.Responder[armcontainerservice.ManagedClustersClientListClusterUserCredentialsResponse], errs azfake.ErrorResponder) {
			if group != "rg" || name != "prod" || o.Format == nil || *o.Format != armcontainerservice.FormatExec {
				w.t.Errorf("asked for %s of %s, format %v", name, group, o.Format)
			}
			if status != 0 {
				errs.SetResponseError(status, code)
				return resp, errs
			}
			resp.SetResponse(http.StatusOK, armcontainerservice.ManagedClustersClientListClusterUserCredentialsResponse{
				CredentialResults: armcontainerservice.CredentialResults{Kubeconfigs: []*armcontainerservice.CredentialResult{{Value: []byte(kubeconfig)}}}}, nil)
			return resp, errs
		},
	})
	w.on("management.azure.com", func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.Header.Get("Authorization"), "Bearer "+theToken) {
			w.t.Errorf("Azure Resource Manager is asked with %q", r.Header.Get("Authorization"))
		}
		r.URL.Scheme, r.URL.Host, r.RequestURI = "https", r.Host, ""
		ctx := context.WithValue(r.Context(), runtime.CtxAPINameKey{}, "ManagedClustersClient.ListClusterUserCredentials")
		resp, err := server.Do(r.WithContext(ctx))
		var refused *azcore.ResponseError
		if errors.As(err, &refused) {
			answer(rw, refused.StatusCode, map[string]any{"error": map[string]string{"code": refused.ErrorCode, "message": "no"}})
			return
		}
		if err != nil {
			w.t.Error(err)
			return
		}
		defer resp.Body.Close()
		maps.Copy(rw.Header(), resp.Header)
		rw.WriteHeader(resp.StatusCode)
		if _, err := fmt.Fprint(rw, bodyOf(w.t, resp)); err != nil {
			w.t.Error(err)
		}
	})
}

// bySecret is what a client secret needs.
func bySecret() map[string]string {
	return map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID, "AZURE_CLIENT_SECRET": theSecret}
}
