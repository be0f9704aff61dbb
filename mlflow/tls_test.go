package mlflow_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
)

// overTLS serves one version over TLS and returns the address and the PEM file
// of the authority.
func overTLS(t *testing.T, change func(*tls.Config)) (uri, ca string) {
	t.Helper()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"model_version":{"name":"iris","version":"1"}}`))
	}))
	srv.TLS = &tls.Config{}
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // refused handshakes are what is tested
	if change != nil {
		change(srv.TLS)
	}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ca = filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, ca, "CERTIFICATE", srv.Certificate().Raw)
	return srv.URL, ca
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := pem.Encode(f, &pem.Block{Type: kind, Bytes: der}); err != nil {
		t.Fatal(err)
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	uri, ca := overTLS(t, nil)
	resolve := func(c mlflow.Config) error {
		c.Retries = -1
		_, err := client(t, c).Resolve(t.Context(), iris1)
		return err
	}
	if err := resolve(mlflow.Config{URI: uri, CAFile: ca}); err != nil {
		t.Errorf("with the authority: %v", err)
	}
	if err := resolve(mlflow.Config{URI: uri, InsecureTLS: true}); err != nil {
		t.Errorf("unchecked: %v", err)
	}
	wantError(t, resolve(mlflow.Config{URI: uri}), slipway.Invalid, "not trusted", "MLFLOW_TRACKING_SERVER_CERT_PATH")
	other := strings.Replace(uri, "127.0.0.1", "localhost", 1)
	wantError(t, resolve(mlflow.Config{URI: other, CAFile: ca}), slipway.Invalid, "not valid", "name the certificate was issued for")
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	wantError(t, resolve(mlflow.Config{URI: strings.Replace(plain.URL, "http:", "https:", 1)}), slipway.Invalid, "does not speak TLS", "http://")
}

func TestClientCertificate(t *testing.T) {
	t.Parallel()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cd"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "client.pem")
	writePEM(t, file, "CERTIFICATE", cert)
	writePEM(t, file, "PRIVATE KEY", private)
	known := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	known.AddCert(parsed)
	uri, ca := overTLS(t, func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, known })
	if _, err := client(t, mlflow.Config{URI: uri, CAFile: ca, ClientCertFile: file}).Resolve(t.Context(), iris1); err != nil {
		t.Errorf("with the certificate: %v", err)
	}
	_, err = client(t, mlflow.Config{URI: uri, CAFile: ca, Retries: -1}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Unauthorized, "MLFLOW_TRACKING_CLIENT_CERT_PATH")
}

// HTTP proxies are honoured. The proxy's address is read once a process and
// never used for loopback, so this runs in a process of its own against a name
// that only the proxy knows.
func TestHTTPProxy(t *testing.T) {
	if os.Getenv("SLIPWAY_TEST_PROXIED") != "" {
		v, err := client(t, mlflow.Config{URI: "http://mlflow.invalid:5000", Retries: -1}).Resolve(t.Context(), iris1)
		if err != nil || v.Name != "iris" {
			t.Fatalf("through the proxy: %+v, %v", v, err)
		}
		return
	}
	t.Parallel()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Host != "mlflow.invalid:5000" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"model_version":{"name":"iris","version":"1"}}`))
	}))
	t.Cleanup(proxy.Close)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestHTTPProxy$", "-test.v")
	cmd.Env = append(os.Environ(), "SLIPWAY_TEST_PROXIED=1", "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=", "http_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "PASS: TestHTTPProxy") {
		t.Errorf("%v\n%s", err, out)
	}
}
