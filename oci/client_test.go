package oci_test

import (
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
)

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestPlainHTTPOnlyOnLoopback(t *testing.T) {
	t.Parallel()
	for host, allowed := range map[string]bool{
		"127.0.0.1:5000": true, "localhost:5000": true, "[::1]:5000": true,
		"10.0.0.1:5000": false, "192.168.1.1:5000": false, "registry.local:5000": false, "registry.example.com": false,
		"localhost.example.com": false, "127.0.0.1.example.com": false,
	} {
		plain := false
		c := quick(oci.Config{Attempts: 1, Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			plain = plain || r.URL.Scheme == "http"
			return nil, errors.New("not reached")
		})})
		err := c.Check(t.Context(), slipway.Image{Repository: host + "/x", Digest: slipway.Digest("sha256:" + strings.Repeat("0", 64))})
		if plain != allowed || err == nil {
			t.Errorf("%s: plain HTTP %v, want %v (%v)", host, plain, allowed, err)
		}
	}
}

func TestDown(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	host := strings.TrimPrefix(server.URL, "http://")
	server.Close()
	_, err := quick(oci.Config{Attempts: 2}).Push(t.Context(), host+"/x", image(t, map[string]string{"MLmodel": "x"}), nil, nil)
	wantCode(t, err, slipway.Unavailable, host+" is out of reach")
}

func TestNames(t *testing.T) {
	t.Parallel()
	c := quick(oci.Config{})
	for _, bad := range []string{"", "HOST/Iris", "host/iris:3", "host/iris@sha256:00", "host/..", "host/a b"} {
		_, err := c.Plan(t.Context(), bad, image(t, map[string]string{"MLmodel": "x"}))
		if slipway.CodeOf(err) != slipway.Invalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	_, err := c.Push(t.Context(), "host/iris", image(t, map[string]string{"MLmodel": "x"}), []string{"not a tag"}, nil)
	wantCode(t, err, slipway.Invalid, "tag")
}

func TestKeychain(t *testing.T) {
	config := t.TempDir()
	t.Setenv("HOME", config)
	t.Setenv("DOCKER_CONFIG", config)
	helper := filepath.Join(config, "docker-credential-test")
	write(t, helper, "#!/bin/sh\necho '{\"Username\":\"helped\",\"Secret\":\"h\"}'\n", 0o755)
	t.Setenv("PATH", config+":"+os.Getenv("PATH"))
	write(t, filepath.Join(config, "config.json"), `{
		"auths": {"stored.example.com": {"auth": "c3RvcmVkOnM="}, "my.azurecr.io": {"auth": "c3RvcmVkOnM="}},
		"credHelpers": {"helped.example.com": "test"}
	}`, 0o600)
	acr := map[string]string{"ACR_LOGIN_SERVER": "https://My.azurecr.io/", "ACR_USERNAME": "acr", "ACR_PASSWORD": "a"}
	noPassword := map[string]string{"ACR_LOGIN_SERVER": "my.azurecr.io", "ACR_USERNAME": "acr"}
	for _, test := range []struct {
		host, want string
		env        map[string]string
	}{
		{"my.azurecr.io", "acr:a", acr},
		{"my.azurecr.io", "stored:s", noPassword},
		{"my.azurecr.io", "stored:s", nil},
		{"other.azurecr.io", ":", acr},
		{"stored.example.com", "stored:s", acr},
		{"helped.example.com", "helped:h", nil},
		{"none.example.com", ":", nil},
	} {
		repo, err := name.NewRepository(test.host + "/x")
		if err != nil {
			t.Fatal(err)
		}
		auth, err := authn.Resolve(t.Context(), oci.Keychain(func(key string) string { return test.env[key] }), repo)
		if err != nil {
			t.Fatal(err)
		}
		got, err := authn.Authorization(t.Context(), auth)
		if err != nil || got.Username+":"+got.Password != test.want {
			t.Errorf("%s with %v: %s:%s, %v, want %s", test.host, test.env, got.Username, got.Password, err, test.want)
		}
	}
}

func write(t testing.TB, path, content string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

// TestSecretsAreNotTold has an image registry echo what it was sent.
func TestSecretsAreNotTold(t *testing.T) {
	t.Parallel()
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, _, ok := r.BasicAuth()
		if !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
		}
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprintf(w, "bad login for %s", user)
	})
	server := httptest.NewServer(echo)
	t.Cleanup(server.Close)
	c := quick(oci.Config{Keychain: fixed{"user", "very-secret"}})
	_, err := c.Push(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/x", image(t, map[string]string{"MLmodel": "x"}), nil, nil)
	wantCode(t, err, slipway.Unauthorized, "401")
	if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, "very-secret") || strings.Contains(text, "dXNlcjp2ZXJ5LXNlY3JldA") {
		t.Errorf("the error tells the password: %s", text)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	date := time.Now().Add(10 * time.Second).UTC().Format(http.TimeFormat)
	for header, want := range map[string][2]time.Duration{
		"": {0, 0}, "7": {7 * time.Second, 7 * time.Second}, "-1": {0, 0}, "soon": {0, 0}, "99999999999999": {0, 0},
		date: {8 * time.Second, 10 * time.Second},
	} {
		if got := oci.RetryAfter(header); got < want[0] || got > want[1] {
			t.Errorf("%q: %s, want %s to %s", header, got, want[0], want[1])
		}
	}
}

func TestOneLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"a\r\nb\x1b[31m": "a b [31m", "\xff": "?", strings.Repeat("é", 200): strings.Repeat("é", 150) + "…",
	} {
		if got := oci.OneLine(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestPrivateAuthority pushes over TLS in a child process, for SSL_CERT_FILE is
// read once by a process.
func TestPrivateAuthority(t *testing.T) {
	if host := os.Getenv("SLIPWAY_TEST_PUSH_TO"); host != "" {
		_, err := quick(oci.Config{Attempts: 1}).Push(t.Context(), host+"/x", image(t, map[string]string{"MLmodel": "x"}), nil, nil)
		fmt.Fprintln(os.Stdout, "pushed with", err)
		return
	}
	t.Parallel()
	server := httptest.NewUnstartedServer(newRegistry())
	server.Config.ErrorLog = nil
	server.StartTLS()
	t.Cleanup(server.Close)
	authority := filepath.Join(t.TempDir(), "ca.pem")
	writePEM(t, authority, server)
	for _, test := range []struct{ file, want string }{
		{authority, "pushed with <nil>"},
		{os.DevNull, "shows a certificate that is not trusted"},
	} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestPrivateAuthority$")
		cmd.Env = append(os.Environ(), "SLIPWAY_TEST_PUSH_TO="+strings.TrimPrefix(server.URL, "https://"), "SSL_CERT_FILE="+test.file, "SSL_CERT_DIR=/nonexistent")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), test.want) {
			t.Errorf("SSL_CERT_FILE=%s: %v, want %q in\n%s", test.file, err, test.want, out)
		}
	}
}

func writePEM(t testing.TB, path string, server *httptest.Server) {
	t.Helper()
	block := &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}
	write(t, path, string(pem.EncodeToMemory(block)), 0o644)
}

// noKeychain is a credential helper that does not work.
type noKeychain struct{}

func (noKeychain) Resolve(authn.Resource) (authn.Authenticator, error) {
	return nil, errors.New("docker-credential-none: not found")
}

func TestBase(t *testing.T) {
	t.Parallel()
	f := newFront(t, newRegistry())
	c := quick(oci.Config{})
	push(t, c, f.repository(), image(t, map[string]string{"MLmodel": "x"}), "1")
	if base, err := c.Base(t.Context(), "scratch", "linux/amd64"); base != nil || err != nil {
		t.Errorf("scratch: %v, %v", base, err)
	}
	for _, test := range []struct {
		ref, platform string
		code          slipway.Code
		says          string
	}{
		{f.repository() + ":none", "linux/amd64", slipway.NotFound, "does not have it"},
		{f.repository() + ":1", "linux/a/b/c/d", slipway.Invalid, "platform"},
		{"HOST/Bad:tag:tag", "linux/amd64", slipway.Invalid, ""},
		{f.host + "/../x:1", "linux/amd64", slipway.Invalid, `".."`},
	} {
		_, err := c.Base(t.Context(), test.ref, test.platform)
		wantCode(t, err, test.code, test.says)
	}
}

func TestCredentialHelperFails(t *testing.T) {
	t.Parallel()
	_, err := quick(oci.Config{Keychain: noKeychain{}}).Tags(t.Context(), "registry.example.com/x")
	wantCode(t, err, slipway.Unauthorized, "docker-credential-none")
	if !strings.Contains(slipway.HintOf(err), "~/.docker/config.json") {
		t.Errorf("hint %q", slipway.HintOf(err))
	}
}

// TestReadBackNotices pushes to an image registry that takes everything and
// keeps something else.
func TestReadBackNotices(t *testing.T) {
	t.Parallel()
	large := map[string]string{"weights": noise(t, 5<<20)} // above what is read back byte for byte
	for name, test := range map[string]struct {
		rule  rule
		files map[string]string
		code  slipway.Code
	}{
		"another manifest":     {rule{method: "GET", part: "/manifests/", do: change(flip)}, nil, slipway.Corrupt},
		"another blob":         {rule{method: "GET", part: "/blobs/", do: change(flip)}, nil, slipway.Corrupt},
		"a large blob cut off": {rule{method: "HEAD", part: "/blobs/", skip: 4, do: setHeader("Content-Length", "5")}, large, slipway.Corrupt},
		"a large blob is gone": {rule{method: "HEAD", part: "/blobs/", skip: 4, do: answer(404, "")}, large, slipway.Corrupt},
		"a manifest is gone":   {rule{method: "GET", part: "/manifests/", do: answer(404, "")}, nil, slipway.NotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if test.files == nil {
				test.files = map[string]string{"MLmodel": "x"}
			}
			f := newFront(t, newRegistry(), &test.rule)
			_, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, test.files), []string{"3"}, nil)
			wantCode(t, err, test.code, "")
		})
	}
}

// Two releases of one alias push at the same time: the tag is one's, the image
// of the other is complete all the same.
func TestATagThatSomebodyElseSet(t *testing.T) {
	t.Parallel()
	f := newFront(t, newRegistry(), &rule{method: "GET", part: "/manifests/champion", do: answer(200, "{}")})
	p, err := quick(oci.Config{}).Push(t.Context(), f.repository(), image(t, map[string]string{"MLmodel": "x"}), []string{"3", "champion"}, nil)
	if err != nil || p.Image.Digest == "" {
		t.Fatalf("%+v, %v", p, err)
	}
	wantCode(t, p.TagProblem, slipway.Conflict, "champion")
}
