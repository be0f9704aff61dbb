package mlflowtest

import (
	"context"
	"crypto/subtle"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// Version is the MLflow whose behaviour the server shows.
const Version = "3.17.2"

// Storage is what keeps the artifacts behind the server's proxy.
type Storage int

// The kinds of storage.
const (
	LocalDisk   Storage = iota // sizes, ETags and ranges; no presigned URLs
	S3                         // chunked answers without sizes or ranges; a folder answers as an empty file
	S3Presigned                // S3, and the proxy gives presigned URLs
)

// Config is how a Server behaves. The zero value is a server without users, at
// the root of its address, that serves artifacts from local disk.
type Config struct {
	Prefix           string // --static-prefix: "/mlflow"
	Users            []User // with any, all but the health check asks for one
	Storage          Storage
	NoServeArtifacts bool             // --no-serve-artifacts
	LooseWebhooks    bool             // MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS=true, MLFLOW_WEBHOOK_ALLOWED_SCHEMES=http,https
	ArtifactRoot     string           // where logged models and runs are put; default "mlflow-artifacts:", with NoServeArtifacts "/srv/mlflow/artifacts"
	Now              func() time.Time // default time.Now
	SignedFor        time.Duration    // how long presigned URLs live; default 5 minutes
}

// User may use the server; with ReadOnly it may not change anything, nor see
// webhooks, as only admins may.
type User struct {
	Name, Password string
	ReadOnly       bool
}

// Server is an MLflow in memory. It is an http.Handler; Start makes it listen.
type Server struct {
	config Config
	mux    *http.ServeMux
	bucket *bucket

	mu     sync.Mutex // guards what follows
	state  state
	faults []*Fault

	url     string
	servers []*http.Server
}

// NewServer returns an empty model registry.
func NewServer(c Config) *Server {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.ArtifactRoot == "" {
		c.ArtifactRoot = "mlflow-artifacts:"
		if c.NoServeArtifacts {
			c.ArtifactRoot = "/srv/mlflow/artifacts"
		}
	}
	if c.SignedFor == 0 {
		c.SignedFor = 5 * time.Minute
	}
	s := &Server{config: c, mux: http.NewServeMux(), state: newState()}
	s.bucket = newBucket(s)
	s.route()
	return s
}

// Start listens on a free port of 127.0.0.1, and on a second one for the
// object store that presigned URLs lead to, and returns the server's address.
func (s *Server) Start() (url string, err error) {
	main, err := s.listen(s)
	if err != nil {
		return "", err
	}
	if s.bucket.address, err = s.listen(s.bucket); err != nil {
		return "", errors.Join(err, s.Close())
	}
	s.url = "http://" + main + s.config.Prefix
	return s.url, nil
}

func (s *Server) listen(h http.Handler) (address string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 30 * time.Second}
	s.servers = append(s.servers, srv)
	go srv.Serve(l) //nolint:errcheck // ends with ErrServerClosed
	return l.Addr().String(), nil
}

// URL is the address after Start, with the prefix.
func (s *Server) URL() string { return s.url }

// Close ends the server at once, also for requests in flight.
func (s *Server) Close() error {
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Close())
	}
	return errors.Join(errs...)
}

// Shutdown ends the server after the requests in flight.
func (s *Server) Shutdown(ctx context.Context) error {
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Shutdown(ctx))
	}
	return errors.Join(errs...)
}

// ServeHTTP answers like MLflow behind its security middleware.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w, ok := s.misbehave(w, r)
	if !ok {
		return
	}
	path := strings.TrimPrefix(r.URL.Path, s.config.Prefix)
	if path == "/health" {
		respond(w, http.StatusOK, "text/plain; charset=utf-8", "OK")
		return
	}
	if path != "/version" && !hostAllowed(r.Host) {
		respond(w, http.StatusForbidden, "text/plain", "Invalid Host header - possible DNS rebinding attack detected")
		return
	}
	if r.Header.Get("Origin") != "" && r.Method != http.MethodGet {
		respond(w, http.StatusForbidden, "text/plain", "Cross-origin request blocked")
		return
	}
	if path != "/api/3.0/mlflow/server-info" && !s.authorized(w, r, path) {
		return
	}
	if rest, ok := cutAny(path, "/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"); ok {
		s.artifacts(w, r, rest)
		return
	}
	if !strings.HasPrefix(r.URL.Path, s.config.Prefix+"/") {
		notFoundPage(w)
		return
	}
	http.StripPrefix(s.config.Prefix, s.mux).ServeHTTP(w, r)
}

// hostAllowed is the server's default list: loopback and private addresses,
// with any port.
func hostAllowed(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if host == "localhost" || host == "0.0.0.0" {
		return true
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return err == nil && (ip.IsLoopback() || (ip.Is4() && ip.IsPrivate()))
}

// authorized answers 401 and 403 itself, in the bare words of MLflow's
// basic-auth app.
func (s *Server) authorized(w http.ResponseWriter, r *http.Request, path string) bool {
	if len(s.config.Users) == 0 {
		return true
	}
	media := "text/html; charset=utf-8"
	if strings.Contains(path, "/mlflow-artifacts/artifacts/") {
		media = "text/plain; charset=utf-8"
	}
	name, password, _ := r.BasicAuth()
	for _, u := range s.config.Users {
		if u.Name != name || subtle.ConstantTimeCompare([]byte(u.Password), []byte(password)) == 0 {
			continue
		}
		if u.ReadOnly && (r.Method != http.MethodGet || strings.Contains(path, "/2.0/mlflow/webhooks")) {
			respond(w, http.StatusForbidden, media, "Permission denied")
			return false
		}
		return true
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="mlflow"`)
	respond(w, http.StatusUnauthorized, media, "You are not authenticated. Please see "+
		"https://www.mlflow.org/docs/latest/auth/index.html#authenticating-to-mlflow on how to authenticate.")
	return false
}

func cutAny(s string, prefixes ...string) (string, bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return rest, true
		}
	}
	return s, false
}
