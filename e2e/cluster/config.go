package main

import (
	"bytes"
	"embed"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").ParseFS(templateFiles, "templates/*"))

// render fills the template called name.
func render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, data); err != nil {
		return nil, fmt.Errorf("rendering %s: %w", name, err)
	}
	return b.Bytes(), nil
}

// writeConfig writes what the programs read. Certificates must be there.
func (c cluster) writeConfig() error {
	for _, f := range []struct{ template, path string }{
		{"containerd.toml", "containerd.toml"},
		{"cni.conflist", "cni/10-pods.conflist"},
		{"hosts.toml", "registries/registry.k8s.io/hosts.toml"},
		{"kubelet.yaml", "kubelet.yaml"},
		{"kube-proxy.yaml", "kube-proxy.yaml"},
	} {
		if err := c.renderTo(c.run(f.path), f.template, c); err != nil {
			return err
		}
	}
	for _, user := range []string{"admin", "kubelet", "kube-proxy", "kube-controller-manager", "kube-scheduler", "metrics-server"} {
		if err := c.writeKubeconfig(user); err != nil {
			return err
		}
	}
	return nil
}

func (c cluster) renderTo(path, template string, data any) error {
	content, err := render(template, data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// writeKubeconfig makes a kubeconfig that needs no other file, so that it can
// be copied elsewhere.
func (c cluster) writeKubeconfig(user string) error {
	data := struct {
		cluster
		User, Authority, Certificate, Key string
	}{cluster: c, User: user}
	for _, f := range []struct {
		name string
		into *string
	}{{"ca.crt", &data.Authority}, {user + ".crt", &data.Certificate}, {user + ".key", &data.Key}} {
		content, err := os.ReadFile(filepath.Join(c.PKI(), f.name))
		if err != nil {
			return err
		}
		*f.into = base64.StdEncoding.EncodeToString(content)
	}
	return c.renderTo(c.kubeconfig(user), "kubeconfig.yaml", data)
}
