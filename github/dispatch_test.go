package github_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/github"
)

const token = "ghp_secret"

// workflows are those of ada/models at a GitHub that answers so.
func workflows(t *testing.T, login github.Login, answer http.HandlerFunc) *github.Workflows {
	t.Helper()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	w, err := github.NewWorkflows("ada/models", server.URL, login, nil)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func TestDispatch(t *testing.T) {
	t.Parallel()
	var got map[string]any
	w := workflows(t, github.Token(token), func(rw http.ResponseWriter, r *http.Request) {
		if r.Method+" "+r.URL.Path != "POST /repos/ada/models/dispatches" || r.Header.Get("Authorization") != "Bearer "+token || r.Header.Get("X-GitHub-Api-Version") == "" {
			t.Errorf("%s %s %v", r.Method, r.URL, r.Header)
		}
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
		rw.WriteHeader(http.StatusNoContent)
	})
	if err := w.Dispatch(t.Context(), github.Dispatch{Model: "models:/iris@champion", Environment: "production", Version: "3", Start: "01J"}); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"event_type": "model-promoted", "client_payload": map[string]any{
		"model": "models:/iris@champion", "environment": "production", "version": "3", "start": "01J"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	reset := fmt.Sprint(time.Now().Add(10 * time.Minute).Unix())
	for _, tt := range []struct {
		name    string
		status  int
		headers map[string]string
		code    slipway.Code
		later   time.Duration // at least, to within a minute
	}{
		{"bad credentials", 401, nil, slipway.Unauthorized, 0},
		{"not allowed", 403, nil, slipway.Unauthorized, 0},
		{"secondary limit", 403, map[string]string{"Retry-After": "60"}, slipway.Unavailable, time.Minute},
		{"primary limit", 403, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}, slipway.Unavailable, 9 * time.Minute},
		{"requests left", 403, map[string]string{"X-RateLimit-Remaining": "10", "X-RateLimit-Reset": reset}, slipway.Unauthorized, 0},
		{"no such repository", 404, nil, slipway.NotFound, 0},
		{"not understood", 422, nil, slipway.Invalid, 0},
		{"too many", 429, map[string]string{"Retry-After": "30"}, slipway.Unavailable, 30 * time.Second},
		{"too many, until a date", 429, map[string]string{"Retry-After": time.Now().Add(5 * time.Minute).UTC().Format(http.TimeFormat)}, slipway.Unavailable, 4 * time.Minute},
		{"too many, with a nonsense", 429, map[string]string{"Retry-After": "soon"}, slipway.Unavailable, 0},
		{"renamed", 301, map[string]string{"Location": "/elsewhere"}, slipway.Invalid, 0},
		{"failed", 500, nil, slipway.Unavailable, 0},
		{"bad gateway", 502, nil, slipway.Unavailable, 0},
		{"away", 503, map[string]string{"Retry-After": "120"}, slipway.Unavailable, 2 * time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := workflows(t, github.Token(token), func(rw http.ResponseWriter, _ *http.Request) {
				for name, value := range tt.headers {
					rw.Header().Set(name, value)
				}
				rw.WriteHeader(tt.status)
				fmt.Fprint(rw, `{"message": "no\nway", "documentation_url": "https://docs.github.com"}`)
			})
			err := w.Dispatch(t.Context(), github.Dispatch{Model: "models:/iris@champion"})
			if slipway.CodeOf(err) != tt.code || !strings.Contains(err.Error(), "no way") || strings.Contains(err.Error(), token) {
				t.Errorf("%s: %v, want %s", slipway.CodeOf(err), err, tt.code)
			}
			var wants interface{ RetryAfter() time.Duration }
			if !errors.As(err, &wants) || wants.RetryAfter() < tt.later || wants.RetryAfter() > tt.later+time.Minute {
				t.Errorf("later %v, want %v", wants.RetryAfter(), tt.later)
			}
		})
	}
}

func TestHangingAndAbsent(t *testing.T) {
	t.Parallel()
	w := workflows(t, github.Token(token), func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := w.Dispatch(ctx, github.Dispatch{}); slipway.CodeOf(err) != slipway.Unavailable {
		t.Errorf("hanging: %v", err)
	}
	away, err := github.NewWorkflows("ada/models", "http://127.0.0.1:1", github.Token(token), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := away.Dispatch(t.Context(), github.Dispatch{}); slipway.CodeOf(err) != slipway.Unavailable || strings.Contains(err.Error(), "dispatches") {
		t.Errorf("absent: %v", err)
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	w := workflows(t, github.Token(token), func(rw http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.URL.Path != "/repos/ada/models/actions/runs" || q.Get("event") != "repository_dispatch" || q.Get("created") != ">=2026-11-26T11:58:00Z" {
			t.Errorf("%s", r.URL)
		}
		fmt.Fprint(rw, `{"total_count": 2, "workflow_runs": [
			{"id": 1, "display_title": "model-promoted", "html_url": "https://github.com/ada/models/actions/runs/1"},
			{"id": 2, "display_title": "models:/iris@champion in production (01JABC)", "html_url": "https://github.com/ada/models/actions/runs/2"}]}`)
	})
	page, found, err := w.Find(t.Context(), "01JABC", since)
	if err != nil || !found || !strings.HasSuffix(page, "/2") {
		t.Errorf("%q, %v, %v", page, found, err)
	}
	if _, found, err := w.Find(t.Context(), "01JXYZ", since); err != nil || found {
		t.Errorf("another: %v, %v", found, err)
	}
}

// A run is looked for on all pages that GitHub gives, and what is on none of
// them is not said to be missing.
func TestFindOnLaterPages(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		runs, at int // as many, and the one that is looked for
		found    bool
		code     slipway.Code
	}{
		{100, 99, true, ""}, {101, 100, true, ""}, {250, 249, true, ""}, {1000, 999, true, ""}, {100, -1, false, ""}, {999, -1, false, ""}, {1000, -1, false, slipway.Exhausted},
	} {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			t.Parallel()
			w := workflows(t, github.Token(token), func(rw http.ResponseWriter, r *http.Request) {
				page, err := strconv.Atoi(r.URL.Query().Get("page"))
				if err != nil {
					t.Error(err)
				}
				runs := []string{}
				for i := (page - 1) * 100; i < min(page*100, tt.runs); i++ {
					runs = append(runs, fmt.Sprintf(`{"display_title": "%s", "html_url": "https://x/%d"}`, map[bool]string{true: "m in e (01JABC)"}[i == tt.at], i))
				}
				fmt.Fprintf(rw, `{"workflow_runs": [%s]}`, strings.Join(runs, ","))
			})
			page, found, err := w.Find(t.Context(), "01JABC", time.Now())
			if found != tt.found || found && page != fmt.Sprintf("https://x/%d", tt.at) || (err == nil) != (tt.code == "") || tt.code != "" && slipway.CodeOf(err) != tt.code {
				t.Errorf("%q, %v, %v", page, found, err)
			}
		})
	}
}

func TestImpossibleNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "ada", "ada/", "/models", "ada/..", "ada/models/x", "a da/models", "ada/mo%2fdels", "ada/models?x"} {
		if _, err := github.NewWorkflows(name, "", github.Token(token), nil); slipway.CodeOf(err) != slipway.Invalid || slipway.HintOf(err) == "" {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := github.NewWorkflows("ada/models", "ftp://x", github.Token(token), nil); slipway.CodeOf(err) != slipway.Invalid {
		t.Errorf("ftp: %v", err)
	}
	if got := fmt.Sprintf("%v %s", github.Token(token), github.Token(token)); strings.Contains(got, token) {
		t.Errorf("a token prints as %s", got)
	}
}

// pemOf returns a key as GitHub gives it, and as openssl converts it.
func pemOf(t *testing.T, key *rsa.PrivateKey) (pkcs1, pkcs8 string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// app is a GitHub with one App, installed on ada/models as 42.
type app struct {
	t      *testing.T
	key    *rsa.PublicKey
	minted int
	life   time.Duration
	bad    string // a token that is not accepted any more
}

func (a *app) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	bearer := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch r.Method + " " + r.URL.Path {
	case "GET /repos/ada/models/installation":
		a.checkJWT(bearer)
		fmt.Fprint(rw, `{"id": 42}`)
	case "POST /app/installations/42/access_tokens":
		a.checkJWT(bearer)
		var body struct{ Repositories []string }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || len(body.Repositories) != 1 || body.Repositories[0] != "models" {
			a.t.Errorf("%v, %v", body, err)
		}
		a.minted++
		rw.WriteHeader(http.StatusCreated)
		fmt.Fprintf(rw, `{"token": "ghs_%d", "expires_at": %q}`, a.minted, time.Now().Add(a.life).Format(time.RFC3339))
	case "POST /repos/ada/models/dispatches":
		if bearer == a.bad || !strings.HasPrefix(bearer, "ghs_") {
			rw.WriteHeader(http.StatusUnauthorized)
			return
		}
		rw.WriteHeader(http.StatusNoContent)
	default:
		rw.WriteHeader(http.StatusNotFound)
	}
}

// checkJWT verifies as GitHub does (RFC 7515, RS256).
func (a *app) checkJWT(jwt string) {
	a.t.Helper()
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		a.t.Fatalf("%d parts", len(parts))
	}
	var decoded [3][]byte
	for i, part := range parts {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			a.t.Fatal(err)
		}
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(a.key, crypto.SHA256, sum[:], decoded[2]); err != nil {
		a.t.Error(err)
	}
	var claims struct {
		Iat, Exp int64
		Iss      string
	}
	if err := json.Unmarshal(decoded[1], &claims); err != nil || claims.Iss != "Iv1.abc" || claims.Iat > time.Now().Unix() ||
		claims.Exp-time.Now().Unix() > 600 || claims.Exp < time.Now().Unix() || string(decoded[0]) != `{"alg":"RS256","typ":"JWT"}` {
		a.t.Errorf("%s %s, %v", decoded[0], decoded[1], err)
	}
}

func TestApp(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs1, pkcs8 := pemOf(t, key)
	a := &app{t: t, key: &key.PublicKey, life: time.Hour}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	login, err := github.NewApp("Iv1.abc", pkcs1, "ada/models", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := github.NewWorkflows("ada/models", server.URL, login, nil)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := w.Dispatch(t.Context(), github.Dispatch{}); err != nil {
			t.Fatal(err)
		}
	}
	if a.minted != 1 {
		t.Errorf("%d tokens for three calls", a.minted)
	}
	a.bad = "ghs_1" // revoked: the next call after the refused one has another
	if err := w.Dispatch(t.Context(), github.Dispatch{}); slipway.CodeOf(err) != slipway.Unauthorized {
		t.Errorf("revoked: %v", err)
	}
	if err := w.Dispatch(t.Context(), github.Dispatch{}); err != nil || a.minted != 2 {
		t.Errorf("after that: %v, %d tokens", err, a.minted)
	}
	if _, err := github.NewApp("Iv1.abc", pkcs8, "ada/models", server.URL, nil); err != nil {
		t.Errorf("PKCS #8: %v", err)
	}
	inOneLine := strings.ReplaceAll(pkcs1, "\n", `\n`) // as an env file takes it
	if _, err := github.NewApp("Iv1.abc", inOneLine, "ada/models", server.URL, nil); err != nil {
		t.Errorf("in one line: %v", err)
	}
	elsewhere, err := github.NewApp("Iv1.abc", pkcs1, "ada/other", server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Token(t.Context()); slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "install the App on ada/other") {
		t.Errorf("not installed: %v (%s)", err, slipway.HintOf(err))
	}
	for _, bad := range []string{"", "secret", strings.ReplaceAll(pkcs1, "RSA PRIVATE", "PUBLIC")[:200]} {
		if _, err := github.NewApp("1", bad, "ada/models", "", nil); slipway.CodeOf(err) != slipway.Invalid || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("%.20q: %v", bad, err)
		}
	}
}
