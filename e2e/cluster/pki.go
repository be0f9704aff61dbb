package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// validity of every certificate: a cluster that runs longer is started again.
const validity = 365 * 24 * time.Hour

// identity is who a certificate speaks for. Kubernetes reads a client's name
// and groups from it; programs' own rights hang on those names.
type identity struct {
	file   string
	name   string
	groups []string
	ips    []string
	hosts  []string
}

var identities = []identity{
	{
		file: "apiserver", name: "kube-apiserver", ips: []string{nodeIP, serviceIP, "127.0.0.1"},
		hosts: []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"},
	},
	{file: "kubelet-server", name: nodeName, ips: []string{nodeIP}, hosts: []string{nodeName}},
	{file: "apiserver-to-kubelet", name: "kube-apiserver-kubelet-client", groups: []string{"system:masters"}},
	{file: "front-proxy", name: "front-proxy"},
	{file: "admin", name: "admin", groups: []string{"system:masters"}},
	{file: "kubelet", name: "system:node:" + nodeName, groups: []string{"system:nodes"}},
	{file: "kube-proxy", name: "system:kube-proxy"},
	{file: "kube-controller-manager", name: "system:kube-controller-manager"},
	{file: "kube-scheduler", name: "system:kube-scheduler"},
	{file: "metrics-server", name: "system:metrics-server"},
}

// writeCertificates makes an authority (ca.crt; its key is forgotten), a
// certificate and key for each identity, and the key that signs the tokens of
// service accounts (tokens.key).
func writeCertificates(dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	ca, caKey, err := authority(now)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, "ca.crt"), "CERTIFICATE", ca.Raw); err != nil {
		return err
	}
	for _, who := range identities {
		if err := who.write(dir, ca, caKey, now); err != nil {
			return fmt.Errorf("making the certificate %s: %w", who.file, err)
		}
	}
	tokens, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, "tokens.key"), tokens)
}

func authority(now time.Time) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	template := x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: contextName},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	ca, err := x509.ParseCertificate(der)
	return ca, key, err
}

func (who identity) write(dir string, ca *x509.Certificate, caKey *ecdsa.PrivateKey, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificate(rand.Reader, who.template(serial, now), ca, &key.PublicKey, caKey)
	if err != nil {
		return err
	}
	if err := writePEM(filepath.Join(dir, who.file+".crt"), "CERTIFICATE", der); err != nil {
		return err
	}
	return writeKey(filepath.Join(dir, who.file+".key"), key)
}

func (who identity) template(serial *big.Int, now time.Time) *x509.Certificate {
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: who.name, Organization: who.groups},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(validity), DNSNames: who.hosts,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	for _, ip := range who.ips {
		c.IPAddresses = append(c.IPAddresses, net.ParseIP(ip))
	}
	return c
}

func writeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der)
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}
