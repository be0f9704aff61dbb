package github

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
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/slipway-dev/slipway"
)

// App signs in as a GitHub App that is installed on a repository: its tokens
// live an hour and reach that repository alone.
type App struct {
	rest
	id         string
	key        *rsa.PrivateKey
	repository string

	mu      sync.Mutex
	token   string
	expires time.Time
}

// NewApp returns the login of an App by its client ID (or application ID) and
// private key, PEM as GitHub gives it. Code Invalid: the key is none.
func NewApp(id, key, repository, api string, transport http.RoundTripper) (*App, error) {
	if err := checkRepository(repository); err != nil {
		return nil, err
	}
	parsed, err := parseKey(key)
	if err != nil {
		return nil, (&slipway.Error{Op: "reading the GitHub App's private key", Code: slipway.Invalid, Err: err}).
			WithHint("it is the whole .pem file that GitHub gave, with its first and last line")
	}
	r, err := newREST(api, transport)
	return &App{rest: r, id: id, key: parsed, repository: repository}, err
}

// parseKey reads PKCS #1, which GitHub gives, and PKCS #8, into which people
// convert it. Where a variable has but one line, \n stands for the ends of the
// key's. Its errors say nothing of the key.
func parseKey(text string) (*rsa.PrivateKey, error) {
	block, _ := pem.Decode([]byte(strings.ReplaceAll(text, `\n`, "\n")))
	if block == nil {
		return nil, slipway.Errorf(slipway.Invalid, "", "it is no PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	any, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if key, ok := any.(*rsa.PrivateKey); ok && err == nil {
		return key, nil
	}
	return nil, slipway.Errorf(slipway.Invalid, "", "it is no RSA key")
}

// renewed is how long before its end a token is replaced.
const renewed = 5 * time.Minute

// Token returns a token of the installation, a new one where the last is about
// to expire.
func (a *App) Token(ctx context.Context) (string, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token != "" && time.Until(a.expires) > renewed {
		return a.token, nil
	}
	token, expires, err := a.mint(ctx)
	if err == nil {
		a.token, a.expires = token, expires
	}
	return token, err
}

// Drop forgets the token.
func (a *App) Drop(token string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.token == token {
		a.token = ""
	}
}

// mint finds the App's installation on the repository, and asks for a token
// that reaches nothing else (GitHub REST API, "Create an installation access
// token for an app").
func (a *App) mint(ctx context.Context) (string, time.Time, error) {
	const op = "signing in as a GitHub App"
	jwt, err := a.jwt(time.Now())
	if err != nil {
		return "", time.Time{}, err
	}
	var installation struct {
		ID int64 `json:"id"`
	}
	if err := a.call(ctx, op, http.MethodGet, "/repos/"+a.repository+"/installation", jwt, nil, &installation); err != nil {
		return "", time.Time{}, installed(err, a.repository)
	}
	var out struct {
		Token   string    `json:"token"`
		Expires time.Time `json:"expires_at"`
	}
	_, name, _ := strings.Cut(a.repository, "/")
	err = a.call(ctx, op, http.MethodPost, fmt.Sprintf("/app/installations/%d/access_tokens", installation.ID), jwt, map[string]any{"repositories": []string{name}}, &out)
	if err == nil && out.Token == "" {
		err = slipway.Errorf(slipway.Corrupt, op, "GitHub gave no token")
	}
	return out.Token, out.Expires, err
}

func installed(err error, repository string) error {
	if slipway.CodeOf(err) != slipway.NotFound {
		return err
	}
	return (&slipway.Error{Op: "signing in as a GitHub App", Code: slipway.NotFound, Err: err}).
		WithHint("install the App on %s", repository)
}

// jwt says who the App is, for nine minutes (GitHub Docs, "Generating a JSON Web
// Token for a GitHub App"; RFC 7515 and 7519). It begins a minute ago, because
// clocks differ.
func (a *App) jwt(now time.Time) (string, error) {
	claims, err := json.Marshal(map[string]any{"iat": now.Add(-time.Minute).Unix(), "exp": now.Add(9 * time.Minute).Unix(), "iss": a.id})
	if err != nil {
		return "", &slipway.Error{Op: "signing in as a GitHub App", Code: slipway.Internal, Err: err}
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, a.key, crypto.SHA256, sum[:])
	if err != nil {
		return "", &slipway.Error{Op: "signing in as a GitHub App", Code: slipway.Internal, Err: err}
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
