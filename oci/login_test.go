package oci_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/oci"
)

// tokenRegistry is an image registry with a token service: each login is good
// for one token, each token for a few requests.
type tokenRegistry struct {
	images http.Handler

	mu     sync.Mutex
	logins int // that were given out
	used   int // of them
	last   int // the number of the last one that was used: an older one has ended
	left   int // requests of the token that is out
}

func (r *tokenRegistry) login(string) (func(context.Context) (string, string, error), bool) {
	return func(context.Context) (string, string, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.logins++
		return "robot", fmt.Sprint("password", r.logins), nil
	}, true
}

func (r *tokenRegistry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	user, password, _ := req.BasicAuth()
	number, err := strconv.Atoi(strings.TrimPrefix(password, "password"))
	switch {
	case req.URL.Path == "/token" && user == "robot" && err == nil && number > r.last:
		r.used, r.last, r.left = r.used+1, number, 3
		_ = json.NewEncoder(w).Encode(map[string]string{"token": "access"})
	case req.Header.Get("Authorization") == "Bearer access" && r.left > 0:
		r.left--
		r.images.ServeHTTP(w, req)
	default:
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="x"`, req.Host))
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// A login is asked for anew whenever it is needed: one that is kept would end
// in the middle of a long push.
func TestLoginsAreFresh(t *testing.T) {
	t.Parallel()
	r := &tokenRegistry{images: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	c := oci.New(oci.Config{Keychain: oci.Keychain(func(string) string { return "" }, r.login), Jobs: 1})
	files := map[string]string{"MLmodel": "x", "a": "1", "b": "2", "c": "3"}
	if _, err := c.Push(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/iris", image(t, files), []string{"1"}, nil); err != nil {
		t.Fatal(err)
	}
	if r.used < 3 {
		t.Errorf("%d logins were given out, %d used", r.logins, r.used)
	}
}

// Why there is no login is told as it is.
func TestLoginFails(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(&tokenRegistry{})
	t.Cleanup(server.Close)
	refuse := func(string) (func(context.Context) (string, string, error), bool) {
		return func(context.Context) (string, string, error) {
			return "", "", slipway.Errorf(slipway.Unauthorized, "signing in", "the secret is wrong").WithHint("make another one")
		}, true
	}
	c := oci.New(oci.Config{Keychain: oci.Keychain(func(string) string { return "" }, refuse)})
	_, err := c.Resolve(t.Context(), strings.TrimPrefix(server.URL, "http://")+"/iris:1")
	wantCode(t, err, slipway.Unauthorized, "the secret is wrong")
	if hint := slipway.HintOf(err); hint != "make another one" {
		t.Errorf("the hint is %q", hint)
	}
}
