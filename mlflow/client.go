package mlflow

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/slipway-dev/slipway"
)

// Client talks to one MLflow server. It is safe for concurrent use.
type Client struct {
	config Config
	base   *url.URL
	home   *http.Client // the configured server: with credentials, redirects refused
	away   *http.Client // any other host: without credentials
}

// New checks the settings and returns a client. It sends nothing yet. Code
// Invalid: an address, a certificate file that cannot be used.
func New(c Config) (*Client, error) {
	base, user, err := parseURI(c.URI)
	if err != nil {
		return nil, err
	}
	c = c.withDefaults()
	if user != nil && c.Username == "" {
		c.Username = user.Username()
		c.Password, _ = user.Password()
	}
	c.URI = base.String()
	if c.Password != "" && c.Username == "" {
		return nil, slipway.Errorf(slipway.Invalid, readingConfig, "there is a password but no user name").
			WithHint("set MLFLOW_TRACKING_USERNAME")
	}
	trust, own, err := c.tlsConfigs()
	if err != nil {
		return nil, err
	}
	return &Client{
		config: c,
		base:   base,
		home:   &http.Client{Transport: &signer{config: c, base: base, next: transport(own, c)}, CheckRedirect: refuseRedirect},
		away:   &http.Client{Transport: transport(trust, c), CheckRedirect: boundedRedirect},
	}, nil
}

// URI returns the server's address, without credentials.
func (c *Client) URI() string { return c.config.URI }

// transport honours HTTP proxies. It never unpacks compressed answers, so that
// byte counts are those of the files.
func transport(t *tls.Config, c Config) *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        t,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    c.Jobs + 1,
		IdleConnTimeout:        30 * time.Second,
		TLSHandshakeTimeout:    20 * time.Second,
		ResponseHeaderTimeout:  c.Stall,
		MaxResponseHeaderBytes: 1 << 20,
	}
}

// tlsConfigs returns the settings for other hosts and for our own, which alone
// is shown the client certificate and alone may go unchecked.
func (c Config) tlsConfigs() (trust, own *tls.Config, err error) {
	trust = &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		if trust.RootCAs, err = readAuthorities(c.CAFile); err != nil {
			return nil, nil, err
		}
	}
	own = trust.Clone()
	own.InsecureSkipVerify = c.InsecureTLS
	if c.ClientCertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.ClientCertFile, c.ClientCertFile)
		if err != nil {
			return nil, nil, &slipway.Error{Op: readingConfig, Code: slipway.Invalid, Message: "the client certificate cannot be used", Err: err,
				Hint: "MLFLOW_TRACKING_CLIENT_CERT_PATH names one PEM file with the certificate and its key"}
		}
		own.Certificates = []tls.Certificate{pair}
	}
	return trust, own, nil
}

func readAuthorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		return nil, &slipway.Error{Op: readingConfig, Code: slipway.Invalid, Message: "no certificate authority could be read from " + path, Err: err,
			Hint: "MLFLOW_TRACKING_SERVER_CERT_PATH names a PEM file of certificates"}
	}
	return pool, nil
}

// signer adds the credentials, as the last thing before the wire and only for
// the configured server: net/http never gets to copy them to another host.
type signer struct {
	config Config
	base   *url.URL
	next   http.RoundTripper
}

func (s *signer) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != s.base.Scheme || r.URL.Host != s.base.Host {
		return nil, slipway.Errorf(slipway.Internal, "asking MLflow", "a request to %s would have carried credentials of %s", r.URL.Host, s.base.Host)
	}
	r = r.Clone(r.Context())
	switch {
	case s.config.Username != "" && (s.config.Password != "" || s.config.Token == ""):
		r.SetBasicAuth(s.config.Username, s.config.Password)
	case s.config.Token != "":
		r.Header.Set("Authorization", "Bearer "+s.config.Token)
	}
	if s.config.Workspace != "" {
		r.Header.Set("X-MLFLOW-WORKSPACE", s.config.Workspace)
	}
	return s.next.RoundTrip(r)
}

// refuseRedirect makes a redirect an answer like any other. MLflow never sends
// one; a login page or a wrong scheme does, and the user should hear of it.
func refuseRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// boundedRedirect follows what object stores do between regions, but neither
// to plain http nor to another protocol.
func boundedRedirect(r *http.Request, via []*http.Request) error {
	secure := via[0].URL.Scheme == "https"
	if len(via) > 5 || (r.URL.Scheme != "https" && (secure || r.URL.Scheme != "http")) {
		return slipway.Errorf(slipway.Unavailable, "downloading", "%s redirects to where it is not safe to follow", via[0].URL.Host)
	}
	return nil
}

// endpoint returns the URL of a route below the base, its path already escaped.
func (c *Client) endpoint(escapedPath string, query url.Values) string {
	s := c.base.String() + "/" + strings.TrimLeft(escapedPath, "/")
	if len(query) > 0 {
		s += "?" + query.Encode()
	}
	return s
}
