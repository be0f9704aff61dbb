package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// APICall is one call of a client of the API server.
type APICall struct {
	Number int    // in the order in which they came, from 1
	Kind   string // verb and resource, as a Role names them: "patch deployments", "create pods/proxy /predict"
	Name   string // of the object; empty: many, or a new one
	Reads  bool   // it leaves no trace in the cluster
	Body   []byte // what was sent
}

type callKey struct{}

// in returns the request with the call, for callOf.
func (c APICall) in(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), callKey{}, c))
}

func callOf(r *http.Request) APICall {
	c, _ := r.Context().Value(callKey{}).(APICall)
	return c
}

// newAPICall reads a request of the Kubernetes API:
// /api/v1/namespaces/NS/RESOURCE/NAME/SUBRESOURCE, or with /apis/GROUP/VERSION.
func newAPICall(r *http.Request) APICall {
	call := APICall{Body: bodyOf(r)}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case len(parts) > 2 && parts[0] == "api":
		parts = parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		parts = parts[3:]
	default: // the API's description of itself
		call.Kind, call.Reads = strings.ToLower(r.Method)+" "+r.URL.Path, true
		return call
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	resource := parts[0]
	if len(parts) > 1 {
		call.Name = parts[1]
	}
	proxied := len(parts) > 2 && parts[2] == "proxy"
	if len(parts) > 2 {
		resource += "/" + parts[2]
	}
	if proxied {
		resource += " /" + strings.Join(parts[3:], "/")
	}
	dry := r.URL.Query().Has("dryRun")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	call.Kind = verb(r, call.Name, proxied) + " " + resource
	if dry {
		call.Kind += " (dry run)"
	}
	call.Reads = reads || dry || proxied || strings.HasPrefix(resource, "selfsubject") // a question of a pod leaves no trace
	return call
}

func verb(r *http.Request, name string, proxied bool) string {
	q := r.URL.Query()
	switch {
	case r.Method == http.MethodGet && q.Get("watch") != "" && q.Get("watch") != "false":
		return "watch"
	case r.Method == http.MethodGet && name == "" && !proxied:
		return "list"
	case r.Method == http.MethodPost:
		return "create"
	case r.Method == http.MethodPut:
		return "update"
	case r.Method == http.MethodPatch && strings.HasPrefix(r.Header.Get("Content-Type"), "application/apply-patch"):
		return "apply"
	}
	return strings.ToLower(r.Method)
}

// bodyOf reads what a request sends and leaves it there. A body that cannot be
// read is the API server's to complain of.
func bodyOf(r *http.Request) []byte {
	if r.Body == nil || r.Header.Get("Upgrade") != "" {
		return nil
	}
	sent, _ := io.ReadAll(r.Body) //nolint:errcheck // see above
	r.Body = io.NopCloser(bytes.NewReader(sent))
	return sent
}

// upstream is the API server behind a proxy, and how to reach it.
type upstream struct {
	server    *url.URL
	token     string
	transport *http.Transport
}

func (u upstream) authorize(r *http.Request) {
	r.Header.Del("Authorization")
	if u.token != "" {
		r.Header.Set("Authorization", "Bearer "+u.token)
	}
}

// parseUpstream reads the one cluster and the one user of
// `kubectl config view --raw --minify --flatten -o json`.
func parseUpstream(data []byte) (u upstream, err error) {
	var config struct {
		Clusters []struct {
			Cluster struct {
				Server string
				CA     []byte `json:"certificate-authority-data"`
				Trust  bool   `json:"insecure-skip-tls-verify"`
			}
		}
		Users []struct {
			User struct {
				Certificate []byte `json:"client-certificate-data"`
				Key         []byte `json:"client-key-data"`
				Token       string
			}
		}
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return u, fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if len(config.Clusters) != 1 || len(config.Users) != 1 {
		return u, errors.New("the kubeconfig's context names no cluster, or no user")
	}
	cluster, user := config.Clusters[0].Cluster, config.Users[0].User
	if u.server, err = url.Parse(cluster.Server); err != nil || u.server.Host == "" {
		return u, fmt.Errorf("the kubeconfig's server %q is no URL", cluster.Server)
	}
	secure := &tls.Config{InsecureSkipVerify: cluster.Trust} //nolint:gosec // as the kubeconfig says
	if len(cluster.CA) > 0 {
		secure.RootCAs = x509.NewCertPool()
		secure.RootCAs.AppendCertsFromPEM(cluster.CA)
	}
	if len(user.Certificate) > 0 {
		pair, err := tls.X509KeyPair(user.Certificate, user.Key)
		if err != nil {
			return u, fmt.Errorf("the kubeconfig's client certificate: %w", err)
		}
		secure.Certificates = []tls.Certificate{pair}
	} else if user.Token == "" {
		return u, errors.New("the kubeconfig has neither a client certificate nor a token: a proxy cannot use it")
	}
	u.token = user.Token
	// Without HTTP/2, over which nothing can be upgraded (port-forward, exec).
	u.transport = &http.Transport{TLSClientConfig: secure, MaxIdleConnsPerHost: 100, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}
	return u, nil
}
