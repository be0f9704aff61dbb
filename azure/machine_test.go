package azure_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
)

// With nothing to sign in with, each way says what it lacks. This test's own
// az, if there is one, must not help it out.
func TestNothingToSignInWith(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	for name, c := range map[string]struct {
		vars map[string]string
		hint string
	}{
		"a laptop":        {map[string]string{}, "az login"},
		"GitHub":          {map[string]string{"GITHUB_ACTIONS": "true", "AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID}, "id-token: write"},
		"Azure Pipelines": {map[string]string{"TF_BUILD": "True"}, "addSpnToEnvironment: true"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.vars)
			_, err := w.account().Token(t.Context(), armScope)
			fails(t, err, slipway.Unauthorized, "nothing to sign in with was found", c.hint)
			want := "GitHub's OIDC token: AZURE_TENANT_ID, AZURE_CLIENT_ID, ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set"
			if name == "GitHub" {
				want = "GitHub's OIDC token: ACTIONS_ID_TOKEN_REQUEST_URL, ACTIONS_ID_TOKEN_REQUEST_TOKEN is not set"
			}
			if !strings.Contains(err.Error(), want) {
				t.Errorf("does not say %q:\n%v", want, err)
			}
		})
	}
}

// fakeAZ puts an az into the PATH that does what the script says.
func fakeAZ(t *testing.T, script string) (calls func() int) {
	t.Helper()
	dir := t.TempDir()
	log := filepath.Join(dir, "calls")
	if err := os.WriteFile(filepath.Join(dir, "az"), []byte("#!/bin/sh\necho \"$@\" >>"+log+"\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
	return func() int {
		data, err := os.ReadFile(log)
		if err != nil {
			t.Error(err)
		}
		return strings.Count(string(data), "\n")
	}
}

// az login is the last way, and az is run once for a token.
func TestAZLogin(t *testing.T) {
	calls := fakeAZ(t, `echo '{"accessToken": "`+theToken+`", "expires_on": `+fmt.Sprint(time.Now().Add(time.Hour).Unix())+`}'`)
	w := newWorld(t, nil)
	a := w.account()
	for range 2 {
		if token, err := a.Token(t.Context(), armScope); err != nil || token != theToken {
			t.Errorf("got %q and %v", token, err)
		}
	}
	if calls() != 1 || len(w.told) != 1 || w.told[0] != "signs in to Azure with az login" {
		t.Errorf("az was run %d times, told %q", calls(), w.told)
	}
	w.cluster("", 403, "AuthorizationFailed")
	_, err := a.Cluster(t.Context(), prod)
	fails(t, err, slipway.Unauthorized, "AuthorizationFailed", "--assignee $(az ad signed-in-user show --query id -o tsv)")
}

func TestAZNotLoggedIn(t *testing.T) {
	fakeAZ(t, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
	_, err := newWorld(t, nil).account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unauthorized, "Please run 'az login'", "az login")
}

// On a machine of Azure's its identity is asked for first; one that has none
// leaves az login.
func TestManagedIdentity(t *testing.T) {
	fakeAZ(t, `echo '{"accessToken": "of-az", "expires_on": `+fmt.Sprint(time.Now().Add(time.Hour).Unix())+`}'`)
	for name, c := range map[string]struct {
		status int
		answer map[string]any
		vars   map[string]string
		want   string
	}{
		"its own":        {200, map[string]any{"access_token": theToken, "expires_in": "3600", "token_type": "Bearer", "resource": "x"}, nil, theToken},
		"one of several": {200, map[string]any{"access_token": theToken, "expires_in": "3600", "token_type": "Bearer", "resource": "x"}, map[string]string{"AZURE_CLIENT_ID": clientID}, theToken},
		"none":           {400, map[string]any{"error": "invalid_request", "error_description": "Identity not found"}, nil, "of-az"},
		"another one":    {400, map[string]any{"error": "invalid_request", "error_description": "Identity not found"}, map[string]string{"AZURE_CLIENT_ID": clientID}, "of-az"},
		"closed":         {403, map[string]any{"error": "forbidden"}, nil, "of-az"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, c.vars)
			w.on("169.254.169.254", func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Metadata") != "true" {
					answer(rw, 400, map[string]any{"error": "no header"})
					return
				}
				if got := r.URL.Query().Get("client_id"); got != c.vars["AZURE_CLIENT_ID"] {
					t.Errorf("asked for %q", got)
				}
				answer(rw, c.status, c.answer)
			})
			scope := "https://" + strings.ReplaceAll(name, " ", "-") + ".example/.default" // the library keeps tokens across accounts
			if token, err := w.account().Token(t.Context(), scope); err != nil || token != c.want {
				t.Errorf("got %q and %v", token, err)
			}
			if len(w.told) != 1 || !strings.HasPrefix(w.told[0], "signs in to Azure with the machine's managed identity, else az login") {
				t.Errorf("told %q", w.told)
			}
		})
	}
}

// Where nothing signs in on a machine of Azure's, both ways say why.
func TestNeitherMachineNorAZ(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	w := newWorld(t, map[string]string{"AZURE_CLIENT_ID": clientID})
	w.on("169.254.169.254", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, 400, map[string]any{"error": theToken}) })
	_, err := w.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unauthorized, "the machine's managed identity cannot be had: the answer is 400", "az login")
	w.on("169.254.169.254", func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Metadata") == "true" {
			panic(http.ErrAbortHandler)
		}
	})
	_, err = w.account().Token(t.Context(), "https://broken.example/.default")
	fails(t, err, slipway.Unauthorized, "nothing to sign in with was found", "az login")
}

// Who was interrupted while looking for a machine's identity looks again.
func TestChoiceInterrupted(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	w := newWorld(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	w.on("169.254.169.254", func(rw http.ResponseWriter, r *http.Request) {
		if ctx.Err() == nil {
			cancel()
			<-r.Context().Done()
			return
		}
		answer(rw, 200, map[string]any{"access_token": theToken, "expires_in": "3600", "token_type": "Bearer", "resource": "x"})
	})
	a := w.account()
	const scope = "https://interrupted.example/.default"
	_, err := a.Token(ctx, scope)
	notGivenAway(t, err, slipway.Unavailable, "interrupted")
	if token, err := a.Token(t.Context(), scope); err != nil || token != theToken {
		t.Errorf("got %q and %v", token, err)
	}
}

// Behind a proxy there is another machine's identity, or none.
func TestDefaultWire(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.example:3128") // read once in a process
	t.Setenv("NO_PROXY", "")
	wire := azure.DefaultWire()
	for address, want := range map[string]bool{
		"http://169.254.169.254/metadata/identity/oauth2/token": false,
		"http://169.254.130.2:8081/msi/token":                   false,
		"http://elsewhere.example/":                             true,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := wire.Proxy(req); err != nil || (proxy != nil) != want {
			t.Errorf("%s goes by %v, %v", address, proxy, err)
		}
	}
	if wire.ResponseHeaderTimeout <= 0 {
		t.Error("a host that says nothing is waited for")
	}
}
