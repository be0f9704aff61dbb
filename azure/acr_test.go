package azure_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
)

// registry answers POST /oauth2/exchange with tokens that end when ends says.
func (w *world) registry(host string, ends func() time.Time) *int {
	exchanged := 0
	w.on(host, func(rw http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			w.t.Error(err)
		}
		if r.Method != http.MethodPost || r.URL.Path != "/oauth2/exchange" || r.Form.Get("grant_type") != "access_token" ||
			r.Form.Get("service") != host || r.Form.Get("tenant") != tenantID || r.Form.Get("access_token") != fmt.Sprint(theToken, 1) {
			w.t.Errorf("%s %s with %v", r.Method, r.URL, r.Form)
		}
		exchanged++
		answer(rw, 200, map[string]string{"refresh_token": endingAt(ends(), exchanged)})
	})
	return &exchanged
}

// endingAt is a token that says when it ends.
func endingAt(end time.Time, number int) string {
	claims := fmt.Sprintf(`{"exp": %d, "n": %d}`, end.Unix(), number)
	return "eyJhbGciOiJSUzI1NiJ9." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func TestLogin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	left := time.Minute // not worth keeping
	exchanged := w.registry("myregistry.azurecr.io", func() time.Time { return time.Now().Add(left) })
	a := w.account()
	for _, want := range []int{1, 2, 3, 3} {
		if want == 3 {
			left = 3 * time.Hour
		}
		login, err := a.Login(t.Context(), "myregistry.azurecr.io")
		if err != nil {
			t.Fatal(err)
		}
		if login.Username != "00000000-0000-0000-0000-000000000000" || login.Password == "" || *exchanged != want {
			t.Errorf("logged in as %s, after %d exchanges, want %d", login.Username, *exchanged, want)
		}
	}
}

func TestLoginRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status     int
		body       any
		code       slipway.Code
		says, hint string
	}{
		"no role": {401, map[string]any{"errors": []any{map[string]string{"code": "UNAUTHORIZED", "message": "authentication required, visit https://aka.ms/acr/authorization. " + theToken}}},
			slipway.Unauthorized, "UNAUTHORIZED: authentication required", "az role assignment create --assignee " + clientID + " --role AcrPush --scope $(az acr show --name myregistry --query id -o tsv)"},
		"closed network": {403, map[string]any{"errors": []any{map[string]string{"code": "DENIED", "message": "client with IP '1.2.3.4' is not allowed access"}}},
			slipway.Unauthorized, "client with IP", "AcrPush"},
		"gone":     {404, "", slipway.NotFound, "404", "az acr list"},
		"limited":  {429, map[string]any{}, slipway.Unavailable, "limits the rate", ""},
		"nothing":  {200, map[string]string{"access_token": theToken}, slipway.Corrupt, "without a token", ""},
		"not JSON": {200, theToken, slipway.Corrupt, "no JSON", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.on("myregistry.azurecr.io", func(rw http.ResponseWriter, _ *http.Request) { answer(rw, c.status, c.body) })
			_, err := w.account().Login(t.Context(), "myregistry.azurecr.io")
			if c.hint == "" {
				notGivenAway(t, err, c.code, c.says)
				return
			}
			fails(t, err, c.code, c.says, c.hint)
		})
	}
}

// Without anything that names an identity, an image registry is asked as
// anybody: some let everybody pull. Why is told once, and az is not run for each
// layer.
func TestLoginAsNobody(t *testing.T) {
	calls := fakeAZ(t, "echo \"ERROR: Please run 'az login' to setup account.\" >&2; exit 1")
	w := newWorld(t, map[string]string{"SYSTEM_OIDCREQUESTURI": "https://ci.example/oidc", "SYSTEM_ACCESSTOKEN": theCIToken})
	a := w.account()
	for range 2 {
		if login, err := a.Login(t.Context(), "myregistry.azurecr.io"); err != nil || login != (azure.Login{}) {
			t.Errorf("got %v and %v", login, err)
		}
	}
	if calls() != 1 {
		t.Errorf("az was run %d times", calls())
	}
	now := time.Now().Add(2 * time.Hour)
	a.At(func() time.Time { return now })
	if _, err := a.Login(t.Context(), "myregistry.azurecr.io"); err != nil || calls() != 2 {
		t.Errorf("az was run %d times in two hours: %v", calls(), err)
	}
	if len(w.told) != 2 || !strings.HasPrefix(w.told[1], "asks myregistry.azurecr.io as anybody: az login: ") || !strings.Contains(w.told[1], "Please run 'az login'") {
		t.Errorf("told %q", w.told)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := a.Login(ctx, "other.azurecr.io")
	notGivenAway(t, err, slipway.Unavailable, "interrupted")
	w = newWorld(t, map[string]string{"AZURE_CLIENT_ID": clientID})
	_, err = w.account().Login(t.Context(), "myregistry.azurecr.io")
	fails(t, err, slipway.Unauthorized, "a client secret: AZURE_TENANT_ID, AZURE_CLIENT_SECRET is not set", "az login")
}

// Our tokens go to Azure's image registries and to nobody else.
func TestIsRegistry(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"myregistry.azurecr.io": true, "myregistry.azurecr.cn": true, "myregistry.azurecr.us": true, "myregistry-abc123.azurecr.io": true,
		"myregistry.westeurope.data.azurecr.io": false,
		"azurecr.io":                            false, "my.azurecr.io.evil.example": false, "evil.example/my.azurecr.io": false, "my@registry.azurecr.io": false,
		"myregistry.azurecr.io:8443": false, "ghcr.io": false, "": false, "my.registry.azurecr.io": false, "MyRegistry.azurecr.io": false,
	} {
		if got := azure.IsRegistry(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
	if _, err := newWorld(t, bySecret()).account().Login(t.Context(), "evil.example"); slipway.CodeOf(err) != slipway.Internal {
		t.Errorf("logged in to evil.example: %v", err)
	}
}

func FuzzExpiry(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	f.Add(endingAt(now, 1))
	f.Add("a.b.c")
	f.Add("a.eyJleHAiOjFlOTl9.c")
	f.Fuzz(func(t *testing.T, token string) {
		if end := azure.Expiry(token, now); end.Unix() < 1 || end.Unix() > 1<<40 {
			t.Errorf("%s", end)
		}
	})
}
