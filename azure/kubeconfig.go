package azure

import (
	"encoding/base64"
	"encoding/pem"
	"errors"
	"net/url"

	"github.com/goccy/go-yaml"
)

// kubeconfig is what we take of a kubeconfig (client-go, clientcmd/api/v1).
// What it asks to run, and files it names, are left where they are.
type kubeconfig struct {
	server    string
	ca        []byte
	cert, key []byte
	token     string
	entra     bool // it wants tokens of Microsoft Entra
}

type wireKubeconfig struct {
	Current  string `yaml:"current-context"`
	Contexts []struct {
		Name    string `yaml:"name"`
		Context struct {
			Cluster string `yaml:"cluster"`
			User    string `yaml:"user"`
		} `yaml:"context"`
	} `yaml:"contexts"`
	Clusters []struct {
		Name    string      `yaml:"name"`
		Cluster wireCluster `yaml:"cluster"`
	} `yaml:"clusters"`
	Users []struct {
		Name string   `yaml:"name"`
		User wireUser `yaml:"user"`
	} `yaml:"users"`
}

type wireCluster struct {
	Server string `yaml:"server"`
	CA     string `yaml:"certificate-authority-data"`
}

type wireUser struct {
	Cert  string `yaml:"client-certificate-data"`
	Key   string `yaml:"client-key-data"`
	Token string `yaml:"token"`
	Exec  *struct {
		Command string `yaml:"command"`
	} `yaml:"exec"`
	Provider *struct {
		Name string `yaml:"name"`
	} `yaml:"auth-provider"`
}

// maxKubeconfig bounds a kubeconfig, in bytes.
const maxKubeconfig = 1 << 20

// parseKubeconfig reads the current context. No error quotes what is read.
func parseKubeconfig(data []byte) (kubeconfig, error) {
	var w wireKubeconfig
	if len(data) > maxKubeconfig {
		return kubeconfig{}, errors.New("a kubeconfig of more than 1 MB")
	}
	if yaml.Unmarshal(data, &w) != nil {
		return kubeconfig{}, errors.New("the kubeconfig is no YAML of the expected form")
	}
	cluster, user, err := w.current()
	if err != nil {
		return kubeconfig{}, err
	}
	k := kubeconfig{server: cluster.Server}
	if k.ca, err = authorityOf(cluster); err != nil {
		return kubeconfig{}, err
	}
	return k, k.by(user)
}

func (w wireKubeconfig) current() (wireCluster, wireUser, error) {
	for _, c := range w.Contexts {
		if c.Name != w.Current {
			continue
		}
		for _, cluster := range w.Clusters {
			for _, user := range w.Users {
				if cluster.Name == c.Context.Cluster && user.Name == c.Context.User {
					return cluster.Cluster, user.User, nil
				}
			}
		}
	}
	return wireCluster{}, wireUser{}, errors.New("the kubeconfig has no current context with cluster and user")
}

// authorityOf checks where the API server is, and returns who signed its
// certificate.
func authorityOf(c wireCluster) (ca []byte, err error) {
	u, err := url.Parse(c.Server)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the API server's address is no https URL")
	}
	if ca, err = certificate(c.CA); err != nil {
		return nil, errors.New("the API server's certificate authority is missing or malformed")
	}
	return ca, nil
}

// by finds out how to sign in to it.
func (k *kubeconfig) by(u wireUser) (err error) {
	switch {
	case u.Exec != nil || u.Provider != nil:
		k.entra = true // in a kubeconfig of Azure's it is kubelogin, or the provider it came from
	case u.Cert != "":
		if k.cert, err = certificate(u.Cert); err == nil {
			k.key, err = certificate(u.Key)
		}
		if err != nil {
			return errors.New("the client certificate or its key is malformed")
		}
	case u.Token != "":
		k.token = u.Token
	default:
		return errors.New("the kubeconfig's user has neither a certificate, nor a token, nor a login with Microsoft Entra")
	}
	return nil
}

// certificate decodes base64 of PEM.
func certificate(text string) ([]byte, error) {
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	if block, _ := pem.Decode(data); block == nil {
		return nil, errors.New("no PEM")
	}
	return data, nil
}
