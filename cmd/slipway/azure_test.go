package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/rogpeppe/go-internal/testscript"
)

// TestAzure runs testdata/azure: slipway as users run it, behind a proxy and
// under a certificate authority of its own, at the other side of which is
// Azure.
func TestAzure(t *testing.T) {
	t.Parallel()
	server := buildServer(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/azure",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			if err := setUp(env, server); err != nil {
				return err
			}
			return setUpAzure(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "register": register, "promote": promote, "asked": asked,
		},
	})
}

type azureKey struct{}

// asked looks at who asked a host last: asked HOST AUTHORIZATION
func asked(ts *testscript.TestScript, _ bool, args []string) {
	if got := ts.Value(azureKey{}).(*fakeAzure).last(args[0]); got != args[1] {
		ts.Fatalf("%s was asked with %q, want %q", args[0], got, args[1])
	}
}

// setUpAzure gives a script Azure, and an identity there.
func setUpAzure(env *testscript.Env) error {
	a, err := newFakeAzure(env.WorkDir)
	if err != nil {
		return err
	}
	env.Defer(a.close)
	env.Values[azureKey{}] = a
	for name, value := range map[string]string{
		"HTTPS_PROXY": a.proxy.URL, "SSL_CERT_FILE": filepath.Join(env.WorkDir, "ca.pem"), "PATH": azureless(env.Getenv("PATH")),
		"AZURE_TENANT_ID": "11111111-2222-3333-4444-555555555555", "AZURE_CLIENT_ID": "99999999-8888-7777-6666-555555555555", "AZURE_CLIENT_SECRET": "right~secret",
		"AZURE_SUBSCRIPTION_ID": "sub", "AKS_RESOURCE_GROUP": "rg", "AKS_CLUSTER_NAME": "prod",
	} {
		env.Setenv(name, value)
	}
	return nil
}

// azureless is a PATH without an az, which might be logged in.
func azureless(path string) string {
	return strings.Join(slices.DeleteFunc(filepath.SplitList(path), func(dir string) bool {
		_, err := os.Stat(filepath.Join(dir, "az"))
		return err == nil
	}), string(filepath.ListSeparator))
}

// fakeAzure is what slipway needs of Azure, by host.
type fakeAzure struct {
	proxy, azure *httptest.Server
	images       http.Handler
	ca           []byte

	api   string // the API server of the cluster "prod", whose certificate is of apiCA
	apiCA []byte
	user  func() (t string, lives int) // a token for it, and the seconds it lives; nil: any will do

	mu   sync.Mutex
	seen map[string]string // host → the last Authorization
}

func newFakeAzure(dir string) (*fakeAzure, error) {
	a := &fakeAzure{images: registry.New(registry.Logger(log.New(io.Discard, "", 0))), seen: map[string]string{}}
	a.api = "https://prod-dns.hcp.westeurope.azmk8s.io:443"
	certificate, err := a.certify("login.microsoftonline.com", "login.microsoft.com", "management.azure.com", "myregistry.azurecr.io", "prod-dns.hcp.westeurope.azmk8s.io")
	if err != nil {
		return nil, err
	}
	a.apiCA = a.ca
	if err := os.WriteFile(filepath.Join(dir, "ca.pem"), a.ca, 0o600); err != nil {
		return nil, err
	}
	a.azure = httptest.NewUnstartedServer(a)
	a.azure.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}}
	a.azure.Config.ErrorLog = log.New(io.Discard, "", 0)
	a.azure.StartTLS()
	a.proxy = httptest.NewServer(http.HandlerFunc(a.tunnel))
	return a, nil
}

func (a *fakeAzure) close() {
	a.proxy.Close()
	a.azure.CloseClientConnections()
	a.azure.Close()
}

// certify makes a certificate for the hosts.
func (a *fakeAzure) certify(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: hosts}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	a.ca = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	return tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}, err
}

// tunnel is the proxy: whatever host is asked for, Azure is there.
func (a *fakeAzure) tunnel(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	there, err := net.Dial("tcp", a.azure.Listener.Addr().String())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	fmt.Fprint(here, "HTTP/1.1 200 OK\r\n\r\n")
	go pipe(there, here)
	pipe(here, there)
}

func pipe(to, from net.Conn) {
	_, _ = io.Copy(to, from) // it ends when one side has had enough
	to.Close()
}

func (a *fakeAzure) last(host string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.seen[host]
}

func (a *fakeAzure) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host, _, _ := strings.Cut(r.Host, ":")
	a.mu.Lock()
	a.seen[host] = r.Header.Get("Authorization")
	a.mu.Unlock()
	switch host {
	case "login.microsoftonline.com", "login.microsoft.com":
		a.entra(w, r)
	case "management.azure.com":
		a.manager(w, r)
	case "myregistry.azurecr.io":
		a.registry(w, r)
	default:
		sayJSON(w, http.StatusNotFound, map[string]any{"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound", "message": "nothing is there"})
	}
}

func sayJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that left misses it
}

// entra gives tokens that say what they are for.
func (a *fakeAzure) entra(w http.ResponseWriter, r *http.Request) {
	authority := "https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555"
	switch {
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		sayJSON(w, 200, map[string]any{"tenant_discovery_endpoint": authority + "/v2.0/.well-known/openid-configuration", "metadata": []any{}})
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		sayJSON(w, 200, map[string]any{"token_endpoint": authority + "/oauth2/v2.0/token", "authorization_endpoint": authority + "/authorize", "issuer": authority + "/v2.0"})
	case r.FormValue("client_secret") != "right~secret":
		sayJSON(w, 401, map[string]any{"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."})
	default:
		audience, _, _ := strings.Cut(r.FormValue("scope"), "/.default")
		token, lives := "token-of-"+audience, 3600
		if a.user != nil && audience == "6dae42f8-4368-4678-94ff-3960e28e3630" {
			token, lives = a.user()
		}
		sayJSON(w, 200, map[string]any{"token_type": "Bearer", "expires_in": lives, "access_token": token})
	}
}

// manager is Azure Resource Manager: one cluster that is there, one that is
// closed to us, and no other.
func (a *fakeAzure) manager(w http.ResponseWriter, r *http.Request) {
	const cluster = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/"
	if r.Header.Get("Authorization") != "Bearer token-of-https://management.core.windows.net/" && r.Header.Get("Authorization") != "Bearer token-of-https://management.azure.com" {
		sayJSON(w, 401, map[string]any{"error": map[string]string{"code": "InvalidAuthenticationToken", "message": "of " + r.Header.Get("Authorization")}})
		return
	}
	switch name, _ := strings.CutPrefix(r.URL.Path, cluster); name {
	case "prod/listClusterUserCredential":
		value := fmt.Sprintf(`{"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
			"clusters": [{"name": "c", "cluster": {"server": %q, "certificate-authority-data": %q}}],
			"users": [{"name": "u", "user": {"exec": {"command": "kubelogin"}}}]}`, a.api, base64.StdEncoding.EncodeToString(a.apiCA))
		sayJSON(w, 200, map[string]any{"kubeconfigs": []any{map[string]string{"name": "clusterUser", "value": base64.StdEncoding.EncodeToString([]byte(value))}}})
	case "closed/listClusterUserCredential":
		sayJSON(w, 403, map[string]any{"error": map[string]string{"code": "AuthorizationFailed", "message": "no"}})
	default:
		sayJSON(w, 404, map[string]any{"error": map[string]string{"code": "ResourceNotFound", "message": "no"}})
	}
}

// registry is an Azure Container Registry: it lets in who shows a token of its
// own, had for one of Entra's or for a user's password.
func (a *fakeAzure) registry(w http.ResponseWriter, r *http.Request) {
	user, password, _ := r.BasicAuth()
	switch {
	case r.URL.Path == "/oauth2/exchange" && r.FormValue("access_token") == "token-of-https://containerregistry.azure.net":
		sayJSON(w, 200, map[string]string{"refresh_token": "refresh"})
	case r.URL.Path == "/oauth2/token" && (user == "00000000-0000-0000-0000-000000000000" && password == "refresh" || user == "robot" && password == "of-the-robot"):
		sayJSON(w, 200, map[string]string{"access_token": "access"})
	case r.Header.Get("Authorization") == "Bearer access":
		a.images.ServeHTTP(w, r)
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://myregistry.azurecr.io/oauth2/token",service="myregistry.azurecr.io"`)
		sayJSON(w, 401, map[string]any{"errors": []any{map[string]string{"code": "UNAUTHORIZED", "message": "authentication required"}}})
	}
}
