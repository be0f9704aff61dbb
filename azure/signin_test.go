package azure_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/azure"
)

const armScope = "https://management.azure.com/.default"

func bodyOf(t testing.TB, resp *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// fails checks an error's code, what it says, the command that mends it, and
// that it gives nothing away.
func fails(t *testing.T, err error, code slipway.Code, says, hint string) {
	t.Helper()
	notGivenAway(t, err, code, says)
	if !strings.Contains(slipway.HintOf(err), hint) || slipway.HintOf(err) == "" && code != slipway.Unavailable {
		t.Errorf("does not advise %q:\n%s", hint, slipway.HintOf(err))
	}
}

// notGivenAway checks an error that has no command to mend it.
func notGivenAway(t *testing.T, err error, code slipway.Code, says string) {
	t.Helper()
	if slipway.CodeOf(err) != code {
		t.Fatalf("code %q, want %q: %v", slipway.CodeOf(err), code, err)
	}
	if !strings.Contains(err.Error(), says) {
		t.Errorf("does not say %q:\n%s", says, err)
	}
	for _, s := range allSecrets {
		if strings.Contains(err.Error()+slipway.HintOf(err), s) {
			t.Errorf("gives away %s:\n%s\n%s", s, err, slipway.HintOf(err))
		}
	}
}

// Each way is taken when its variables are there, and sends what it should.
func TestWays(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(theAssertion+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		vars map[string]string
		told string
		form map[string]string
	}{
		{"secret", map[string]string{"AZURE_CLIENT_SECRET": theSecret}, "a client secret", map[string]string{"client_secret": theSecret}},
		{"file", map[string]string{"AZURE_FEDERATED_TOKEN_FILE": file}, "a federated token file", map[string]string{"client_assertion": theAssertion}},
		{"GitHub", map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": "https://ci.example/token?a=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": theCIToken},
			"GitHub's OIDC token", map[string]string{"client_assertion": theAssertion + "api://AzureADTokenExchange"}},
		{"Azure DevOps", map[string]string{"SYSTEM_OIDCREQUESTURI": "https://ci.example/oidc", "SYSTEM_ACCESSTOKEN": theCIToken, "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "connection",
			"AZURE_CLIENT_ID": "another-application", "AZURESUBSCRIPTION_CLIENT_ID": clientID},
			"an Azure DevOps service connection", map[string]string{"client_assertion": theAssertion + "connection"}},
		{"AzureCLI@2", map[string]string{"AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": "", "servicePrincipalId": clientID, "tenantId": tenantID, "idToken": theAssertion},
			"AzureCLI@2's idToken", map[string]string{"client_assertion": theAssertion}},
		{"AzureCLI@2 with a secret", map[string]string{"AZURE_CLIENT_ID": "", "AZURE_TENANT_ID": "", "servicePrincipalId": clientID, "tenantId": tenantID, "servicePrincipalKey": theSecret},
			"AzureCLI@2's service principal", map[string]string{"client_secret": theSecret}},
		{"a secret before what CI gives", map[string]string{"AZURE_CLIENT_SECRET": theSecret, "servicePrincipalId": "other", "tenantId": "other", "idToken": theAssertion}, "a client secret", map[string]string{"client_secret": theSecret}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			vars := map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID}
			for name, value := range c.vars {
				vars[name] = value
			}
			w := newWorld(t, vars)
			w.on("ci.example", ci(t))
			token, err := w.account().Token(t.Context(), armScope)
			if err != nil {
				t.Fatal(err)
			}
			if token != theToken+"1" {
				t.Errorf("the token is %s", token)
			}
			for name, value := range c.form {
				if got := w.lastForm().Get(name); got != value {
					t.Errorf("%s is %q, want %q", name, got, value)
				}
			}
			if len(w.told) != 1 || w.told[0] != "signs in to Azure with "+c.told+", as "+clientID {
				t.Errorf("told %q", w.told)
			}
		})
	}
}

// ci is the token service of both CI systems.
func ci(t testing.TB) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+theCIToken {
			answer(rw, http.StatusUnauthorized, map[string]string{"message": "who are you? not " + r.Header.Get("Authorization")})
			return
		}
		q := r.URL.Query()
		switch {
		case r.URL.Path == "/token" && r.Method == http.MethodGet && q.Get("a") == "b":
			answer(rw, 200, map[string]string{"value": theAssertion + q.Get("audience")})
		case r.URL.Path == "/oidc" && r.Method == http.MethodPost && q.Get("api-version") == "7.1":
			answer(rw, 200, map[string]string{"oidcToken": theAssertion + q.Get("serviceConnectionId")})
		default:
			t.Errorf("%s %s", r.Method, r.URL)
		}
	}
}

// An assertion lives for minutes: each token takes a fresh one, and a token is
// asked for once while it lives.
func TestAssertionsAreFresh(t *testing.T) {
	t.Parallel()
	w := newWorld(t, map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID,
		"ACTIONS_ID_TOKEN_REQUEST_URL": "https://ci.example/token", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": theCIToken})
	minted := 0
	w.on("ci.example", func(rw http.ResponseWriter, _ *http.Request) {
		minted++
		answer(rw, 200, map[string]string{"value": fmt.Sprint(theAssertion, minted)})
	})
	a := w.account()
	for i, scope := range []string{armScope, "https://storage.azure.com/.default", armScope} {
		if _, err := a.Token(t.Context(), scope); err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprint(theAssertion, min(i+1, 2)); w.lastForm().Get("client_assertion") != want {
			t.Errorf("token %d was had with %q, want %q", i, w.lastForm().Get("client_assertion"), want)
		}
	}
}

// A token that is about to expire is replaced; one that cannot be replaced is
// used as long as it is good.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	a := w.account()
	token := func(want string) {
		t.Helper()
		if got, err := a.Token(t.Context(), armScope); err != nil || got != theToken+want {
			t.Errorf("got %q and %v, want token %s", got, err, want)
		}
	}
	now := time.Now()
	a.At(func() time.Time { return now })
	w.lives = 200 // less than the five minutes before the end
	token("1")
	token("2")
	w.refuse(500, "server_error", "AADSTS90033: A transient error has occurred.")
	token("2")
	w.on("login.microsoftonline.com", w.entra)
	token("2") // it is not tried each time
	now = now.Add(31 * time.Second)
	token("3")
	w.refuse(500, "server_error", "AADSTS90033: A transient error has occurred.")
	now = now.Add(160 * time.Second) // the token is good for less than 30 seconds
	_, err := a.Token(t.Context(), armScope)
	fails(t, err, slipway.Unavailable, "AADSTS90033", "")
	w.on("login.microsoftonline.com", w.entra)
	w.lives = 3600
	token("4")
	token("4")
}

// limits notes how long the token endpoint is given.
type limits struct {
	http.RoundTripper
	seen []time.Duration
}

func (l *limits) RoundTrip(r *http.Request) (*http.Response, error) {
	if end, ok := r.Context().Deadline(); ok && strings.HasSuffix(r.URL.Path, "/token") {
		l.seen = append(l.seen, time.Until(end))
	}
	return l.RoundTripper.RoundTrip(r)
}

// Whoever has a good token does not wait long for another one.
func TestTokenInAHurry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.lives = 200
	wire := &limits{RoundTripper: w.transport()}
	a := azure.New(azure.Config{Getenv: func(name string) string { return w.vars[name] }, Transport: wire})
	for range 2 {
		if _, err := a.Token(t.Context(), armScope); err != nil {
			t.Fatal(err)
		}
	}
	if len(wire.seen) != 2 || wire.seen[0] < 3*time.Second || wire.seen[1] > 2*time.Second {
		t.Errorf("the token endpoint was given %v", wire.seen)
	}
}

// held keeps a request for a token back until it is released.
type held struct {
	http.RoundTripper
	asked    int
	begun    chan struct{}
	released chan struct{}
}

func (h *held) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		if h.asked++; h.asked == 2 {
			close(h.begun)
			select {
			case <-h.released:
			case <-time.After(10 * time.Second):
				return nil, errors.New("nobody else was given the token")
			}
		}
	}
	return h.RoundTripper.RoundTrip(r)
}

// While one replaces a token that is still good, the others are given it.
func TestTokenMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.lives = 200
	wire := &held{w.transport(), 0, make(chan struct{}), make(chan struct{})}
	a := azure.New(azure.Config{Getenv: func(name string) string { return w.vars[name] }, Transport: wire})
	if _, err := a.Token(t.Context(), armScope); err != nil {
		t.Fatal(err)
	}
	replaced := make(chan struct{})
	go func() {
		defer close(replaced)
		if _, err := a.Token(t.Context(), armScope); err != nil {
			t.Error(err)
		}
	}()
	<-wire.begun
	token, err := a.Token(t.Context(), armScope)
	select {
	case <-replaced:
		t.Error("whoever has a good token waits for another one")
	default:
	}
	if err != nil || token != theToken+"1" {
		t.Errorf("got %q and %v", token, err)
	}
	close(wire.released)
	<-replaced
}

func TestCloud(t *testing.T) {
	t.Parallel()
	for authority, want := range map[string]string{
		"":                                         "https://login.microsoftonline.com/",
		"https://login.microsoftonline.com/":       "https://login.microsoftonline.com/",
		"https://login.microsoftonline.us/":        "https://login.microsoftonline.us/",
		"https://Login.MicrosoftOnline.us:443":     "https://login.microsoftonline.us/",
		"login.microsoftonline.us":                 "https://login.microsoftonline.us/",
		"https://login.chinacloudapi.cn":           "https://login.chinacloudapi.cn/",
		"login.partner.microsoftonline.cn/":        "https://login.chinacloudapi.cn/",
		"http://login.microsoftonline.us":          "",
		"https://login.microsoftonline.us.example": "",
		"https://adfs.example/adfs":                "",
		"https://login.microsoftonline.us\nx":      "",
		"https://":                                 "",
	} {
		got, err := azure.Cloud(authority)
		if want == "" {
			fails(t, err, slipway.Invalid, "AZURE_AUTHORITY_HOST", "az cloud show")
		} else if err != nil || got != want {
			t.Errorf("%q is %s, %v", authority, got, err)
		}
	}
}

// Nothing is sent to another cloud than the one that was meant. An end of line
// means nothing.
func TestUnknownCloud(t *testing.T) {
	t.Parallel()
	for host, code := range map[string]slipway.Code{"login.example": slipway.Invalid, "https://login.microsoftonline.com/\n": ""} {
		w := newWorld(t, bySecret())
		w.vars["AZURE_AUTHORITY_HOST"] = host
		if _, err := w.account().Token(t.Context(), armScope); slipway.CodeOf(err) != code || code != "" && len(w.asked) > 0 {
			t.Errorf("%q: %v, asked for %v", host, err, w.asked)
		}
	}
}

func TestSignInRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name              string
		status            int
		kind, description string
		code              slipway.Code
		says, hint        string
	}{
		{"wrong secret", 401, "invalid_client", "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent is the client secret value, not the client secret ID, for a secret added to app '" + clientID + "'.",
			slipway.Unauthorized, "AADSTS7000215: Invalid client secret", "az ad app credential reset --id " + clientID},
		{"expired secret", 401, "invalid_client", "AADSTS7000222: The provided client secret keys for app are expired.", slipway.Unauthorized, "AADSTS7000222", "az ad app credential reset"},
		{"no such app", 400, "unauthorized_client", "AADSTS700016: Application with identifier was not found in the directory.", slipway.Unauthorized, "AADSTS700016", "az ad app show --id " + clientID},
		{"no such tenant", 400, "invalid_request", "AADSTS90002: Tenant not found.", slipway.Unauthorized, "AADSTS90002", "AZURE_TENANT_ID"},
		{"no trust", 400, "invalid_request", "AADSTS70021: No matching federated identity record found for presented assertion. Assertion Issuer: 'https://token.actions.githubusercontent.com'. Assertion Subject: 'repo:org/app:environment:production'. Assertion Audience: 'api://AzureADTokenExchange'.",
			slipway.Unauthorized, "No matching federated identity", `"subject":"repo:org/app:environment:production"`},
		{"no trust for the subject", 401, "invalid_client", "AADSTS700213: No matching federated identity record found for presented assertion subject 'repo:org/app:ref:refs/heads/main'. Check your federated identity credential Subject, Audience and Issuer against the presented assertion.",
			slipway.Unauthorized, "AADSTS700213", `"subject":"repo:org/app:ref:refs/heads/main"`},
		{"hostile subject", 401, "invalid_client", "AADSTS700213: subject '$(rm -rf /)'", slipway.Unauthorized, "AADSTS700213", `"subject":"SUBJECT"`},
		{"assertion ran out", 401, "invalid_client", "AADSTS700024: Client assertion is not within its valid time range.", slipway.Unauthorized, "AADSTS700024", "SYSTEM_ACCESSTOKEN"},
		{"unknown", 400, "interaction_required", "AADSTS50076: " + theSecret + " and " + theAssertion, slipway.Unauthorized, "AADSTS50076", "error?code=50076"},
		{"down", 503, "temporarily_unavailable", "AADSTS90033: A transient error has occurred.", slipway.Unavailable, "AADSTS90033", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.refuse(c.status, c.kind, c.description)
			_, err := w.account().Token(t.Context(), armScope)
			fails(t, err, c.code, c.says, c.hint)
			if strings.Contains(err.Error(), "Trace ID") {
				t.Errorf("has noise: %v", err)
			}
		})
	}
}

// What is no answer of Entra must not be quoted: a broken success holds a token.
func TestSignInNotUnderstood(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"broken":    `{"access_token": "` + theToken + `", "expires_in": `,
		"not JSON":  `<html>` + theToken + `</html>`,
		"no token":  `{"note": "` + theToken + `"}`,
		"too large": `{"token_type": "Bearer", "expires_in": 3600, "access_token": "` + strings.Repeat(theToken, 200_000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, bySecret())
			w.on("login.microsoftonline.com", func(rw http.ResponseWriter, r *http.Request) {
				if !strings.HasSuffix(r.URL.Path, "/token") {
					w.entra(rw, r)
					return
				}
				rw.Header().Set("Content-Type", "application/json")
				io.WriteString(rw, body) //nolint:errcheck // the client hangs up on the one that is too large
			})
			_, err := w.account().Token(t.Context(), armScope)
			fails(t, err, slipway.Unauthorized, "no answer that is understood", "AZURE_TENANT_ID")
		})
	}
}

// An answer that breaks off is worth another try.
func TestSignInBreaks(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.on("login.microsoftonline.com", func(rw http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/token") {
			w.entra(rw, r)
			return
		}
		breakOff(rw)
	})
	_, err := w.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unavailable, "Microsoft Entra is out of reach", "HTTPS_PROXY")
}

func TestSignInOutOfReach(t *testing.T) {
	t.Parallel()
	w := newWorld(t, bySecret())
	w.on("login.microsoftonline.com", nil)
	w.on("login.microsoft.com", nil)
	_, err := w.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unavailable, "Microsoft Entra is out of reach", "HTTPS_PROXY")
}

func TestAssertionRefused(t *testing.T) {
	t.Parallel()
	github := map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID,
		"ACTIONS_ID_TOKEN_REQUEST_URL": "https://ci.example/token?a=b", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": theWrongToken}
	w := newWorld(t, github)
	w.on("ci.example", ci(t))
	_, err := w.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unauthorized, "ci.example refuses", "id-token: write")

	devops := newWorld(t, map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID, "SYSTEM_OIDCREQUESTURI": "http://ci.example/oidc",
		"SYSTEM_ACCESSTOKEN": theCIToken, "AZURESUBSCRIPTION_SERVICE_CONNECTION_ID": "x"})
	_, err = devops.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Invalid, "no https URL", "SYSTEM_ACCESSTOKEN")

	file := newWorld(t, map[string]string{"AZURE_TENANT_ID": tenantID, "AZURE_CLIENT_ID": clientID, "AZURE_FEDERATED_TOKEN_FILE": "/nowhere/token"})
	_, err = file.account().Token(t.Context(), armScope)
	fails(t, err, slipway.Unauthorized, "cannot be read", "azure.workload.identity/use")
}
