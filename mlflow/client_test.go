package mlflow_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/mlflow"
	"github.com/slipway-dev/slipway/mlflow/mlflowtest"
)

func client(t testing.TB, c mlflow.Config) *mlflow.Client {
	t.Helper()
	m, err := mlflow.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wantError fails the test when err is not of the code, or error and hint do
// not say all of what.
func wantError(t testing.TB, err error, code slipway.Code, what ...string) {
	t.Helper()
	if got := slipway.CodeOf(err); got != code {
		t.Fatalf("code %q (%v), want %q", got, err, code)
	}
	for _, w := range what {
		if text := err.Error() + "\n" + slipway.HintOf(err); !strings.Contains(text, w) {
			t.Errorf("%q says nothing of %q", text, w)
		}
	}
}

var iris1 = slipway.ModelRef{Name: "iris", Version: "1"}

func TestConfigFrom(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".mlflow"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".mlflow", "credentials"),
		[]byte("[mlflow]\nmlflow_tracking_username = file-user\nmlflow_tracking_password = p#a;s=s\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		env  map[string]string
		home string
		want mlflow.Config
		says string // of an Invalid error
	}{
		"nothing set": {},
		"all of them": {
			env: map[string]string{"MLFLOW_TRACKING_URI": "https://mlflow.example/m", "MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p",
				"MLFLOW_TRACKING_TOKEN": "t", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca", "MLFLOW_TRACKING_CLIENT_CERT_PATH": "/cert", "MLFLOW_WORKSPACE": "team",
				"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "7"},
			home: home,
			want: mlflow.Config{URI: "https://mlflow.example/m", Username: "u", Password: "p", Token: "t", CAFile: "/ca", ClientCertFile: "/cert",
				Workspace: "team", Retries: 2, Timeout: 7 * time.Second},
		},
		"the credentials file":         {home: home, want: mlflow.Config{Username: "file-user", Password: "p#a;s=s"}},
		"a token goes before the file": {env: map[string]string{"MLFLOW_TRACKING_TOKEN": "t"}, home: home, want: mlflow.Config{Token: "t"}},
		"only the registry's address":  {env: map[string]string{"MLFLOW_REGISTRY_URI": "http://r"}, want: mlflow.Config{URI: "http://r"}},
		"never again":                  {env: map[string]string{"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}, want: mlflow.Config{Retries: -1}},
		"unchecked TLS":                {env: map[string]string{"MLFLOW_TRACKING_INSECURE_TLS": "TRUE"}, want: mlflow.Config{InsecureTLS: true}},
		"unchecked TLS and a CA": {env: map[string]string{"MLFLOW_TRACKING_INSECURE_TLS": "true", "MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca"},
			says: "exclude each other"},
		"two servers":          {env: map[string]string{"MLFLOW_TRACKING_URI": "http://a", "MLFLOW_REGISTRY_URI": "http://b"}, says: "differ"},
		"signed requests":      {env: map[string]string{"MLFLOW_TRACKING_AWS_SIGV4": "true"}, says: "SIGV4"},
		"a plugin":             {env: map[string]string{"MLFLOW_TRACKING_AUTH": "kubernetes"}, says: "kubernetes"},
		"no boolean":           {env: map[string]string{"MLFLOW_TRACKING_INSECURE_TLS": "maybe"}, says: "maybe"},
		"no number":            {env: map[string]string{"MLFLOW_HTTP_REQUEST_TIMEOUT": "soon"}, says: "soon"},
		"too many repetitions": {env: map[string]string{"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1000"}, says: "1000"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := mlflow.ConfigFrom(func(k string) string { return test.env[k] }, test.home)
			if test.says != "" {
				wantError(t, err, slipway.Invalid, test.says)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A malformed credentials file is an error that does not quote it.
func TestConfigFromMalformedCredentials(t *testing.T) {
	t.Parallel()
	home := t.TempDir()
	if err := os.MkdirAll(filepath.Join(home, ".mlflow"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, ".mlflow", "credentials"), []byte("[mlflow]\nsecret-without-key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := mlflow.ConfigFrom(func(string) string { return "" }, home)
	wantError(t, err, slipway.Invalid, "credentials", "[mlflow]")
	if strings.Contains(err.Error(), "secret-without-key") {
		t.Errorf("the error quotes the file: %v", err)
	}
}

func TestNewRefusesAddresses(t *testing.T) {
	t.Parallel()
	for uri, says := range map[string]string{
		"":                          "MLFLOW_TRACKING_URI",
		"databricks":                "Databricks",
		"databricks-uc":             "Databricks",
		"sqlite:///mlflow.db":       "mlflow server",
		"./mlruns":                  "mlflow server",
		"file:///mlruns":            "mlflow server",
		"ftp://host":                "http",
		"http://":                   "http",
		"http://h/?a=b":             "query",
		"http://user:pa\x7fss@host": "http",
	} {
		_, err := mlflow.New(mlflow.Config{URI: uri})
		wantError(t, err, slipway.Invalid, says)
		if strings.Contains(err.Error(), "pa\x7fss") {
			t.Errorf("the error quotes the address: %v", err)
		}
	}
}

func TestNewRefusesCertificateFiles(t *testing.T) {
	t.Parallel()
	junk := filepath.Join(t.TempDir(), "junk.pem")
	if err := os.WriteFile(junk, []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{junk, filepath.Join(t.TempDir(), "none.pem")} {
		_, err := mlflow.New(mlflow.Config{URI: "https://h", CAFile: path})
		wantError(t, err, slipway.Invalid, "MLFLOW_TRACKING_SERVER_CERT_PATH")
		_, err = mlflow.New(mlflow.Config{URI: "https://h", ClientCertFile: path})
		wantError(t, err, slipway.Invalid, "MLFLOW_TRACKING_CLIENT_CERT_PATH")
	}
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config mlflow.Config
		want   string
	}{
		"none":                       {want: ""},
		"basic":                      {config: mlflow.Config{Username: "u", Password: "p"}, want: "Basic dTpw"},
		"bearer":                     {config: mlflow.Config{Token: "t"}, want: "Bearer t"},
		"basic wins":                 {config: mlflow.Config{Username: "u", Password: "p", Token: "t"}, want: "Basic dTpw"},
		"a user without a password":  {config: mlflow.Config{Username: "u", Token: "t"}, want: "Bearer t"},
		"in the address":             {config: mlflow.Config{URI: "http://u:p@"}, want: "Basic dTpw"},
		"settings before an address": {config: mlflow.Config{URI: "http://x:y@", Username: "u", Password: "p"}, want: "Basic dTpw"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got http.Header
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r.Header.Clone()
				w.Header().Set("Content-Type", "application/json")
				w.Write([]byte(`{"model_version":{"name":"iris","version":"1","status":"READY"}}`))
			}))
			t.Cleanup(srv.Close)
			test.config.Workspace = "team"
			if test.config.URI == "" {
				test.config.URI = "http://"
			}
			test.config.URI += strings.TrimPrefix(srv.URL, "http://")
			m := client(t, test.config)
			if strings.Contains(m.URI(), "@") {
				t.Errorf("the address still carries credentials: %s", m.URI())
			}
			if _, err := m.Resolve(t.Context(), iris1); err != nil {
				t.Fatal(err)
			}
			if got.Get("Authorization") != test.want || got.Get("X-Mlflow-Workspace") != "team" || got.Get("Origin") != "" {
				t.Errorf("sent %v, want Authorization %q and the workspace", got, test.want)
			}
		})
	}
}

// A redirect is reported, not followed: what is behind it is no MLflow that
// anybody configured, and must not see the credentials.
func TestRedirectsAreRefused(t *testing.T) {
	t.Parallel()
	asked := 0
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	t.Cleanup(elsewhere.Close)
	srv := httptest.NewServer(http.RedirectHandler(elsewhere.URL+"/login?secret=1", http.StatusFound))
	t.Cleanup(srv.Close)
	_, err := client(t, mlflow.Config{URI: srv.URL, Username: "u", Password: "p"}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Invalid, elsewhere.URL+"/login", "302")
	if asked != 0 {
		t.Error("the redirect was followed")
	}
	if strings.Contains(slipway.HintOf(err), "secret") {
		t.Error("the hint quotes the query")
	}
}

// Every refusal has a code, says what the server said, and how to mend it.
func TestRefusals(t *testing.T) {
	t.Parallel()
	html := http.Header{"Content-Type": {"text/html; charset=utf-8"}}
	text := http.Header{"Content-Type": {"text/plain"}}
	asJSON := http.Header{"Content-Type": {"application/json"}}
	tests := map[string]struct {
		fault  mlflowtest.Fault
		config mlflow.Config
		code   slipway.Code
		says   []string
	}{
		"401 without credentials": {mlflowtest.Fault{Status: 401, Header: html, Body: "You are not authenticated."}, mlflow.Config{},
			slipway.Unauthorized, []string{"You are not authenticated", "set MLFLOW_TRACKING_USERNAME"}},
		"401 with a password": {mlflowtest.Fault{Status: 401, Header: html}, mlflow.Config{Username: "ada", Password: "pa55"},
			slipway.Unauthorized, []string{"user ada", "~/.mlflow/credentials"}},
		"401 with a token": {mlflowtest.Fault{Status: 401, Header: html}, mlflow.Config{Token: "t0k"}, slipway.Unauthorized, []string{"MLFLOW_TRACKING_TOKEN"}},
		"403 by the host check": {mlflowtest.Fault{Status: 403, Header: text, Body: "Invalid Host header - possible DNS rebinding attack detected"}, mlflow.Config{},
			slipway.Unauthorized, []string{"--allowed-hosts 127.0.0.1"}},
		"403 by permission":    {mlflowtest.Fault{Status: 403, Header: html, Body: "Permission denied"}, mlflow.Config{}, slipway.Unauthorized, []string{"Permission denied", "EDIT"}},
		"404 page":             {mlflowtest.HTMLError(404), mlflow.Config{}, slipway.Invalid, []string{"404 Not Found", "path prefix"}},
		"405 page":             {mlflowtest.HTMLError(405), mlflow.Config{}, slipway.Invalid, []string{"path prefix"}},
		"407":                  {mlflowtest.Fault{Status: 407}, mlflow.Config{}, slipway.Unauthorized, []string{"HTTPS_PROXY"}},
		"429":                  {mlflowtest.Fault{Status: 429}, mlflow.Config{}, slipway.Unavailable, []string{"later"}},
		"500 page":             {mlflowtest.HTMLError(500), mlflow.Config{}, slipway.Unavailable, []string{"500 Internal Server Error", "log"}},
		"502 page":             {mlflowtest.HTMLError(502), mlflow.Config{}, slipway.Unavailable, []string{"Bad Gateway"}},
		"503":                  {mlflowtest.Fault{Status: 503}, mlflow.Config{}, slipway.Unavailable, nil},
		"504 in JSON":          {mlflowtest.Fault{Status: 504, Header: asJSON, Body: `{"error_code":"DEADLINE_EXCEEDED","message":"late"}`}, mlflow.Config{}, slipway.Unavailable, []string{"DEADLINE_EXCEEDED: late"}},
		"a 500 for a code":     {mlflowtest.Fault{Status: 500, Header: asJSON, Body: `{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"x"}`}, mlflow.Config{}, slipway.NotFound, nil},
		"detail":               {mlflowtest.Fault{Status: 400, Header: asJSON, Body: `{"detail":"no folder"}`}, mlflow.Config{}, slipway.Invalid, []string{"no folder"}},
		"control characters":   {mlflowtest.Fault{Status: 400, Header: text, Body: "a\x1b[31mb\r\nc"}, mlflow.Config{}, slipway.Invalid, []string{"a [31mb c"}},
		"a login page":         {mlflowtest.Fault{Status: 200, Header: html, Body: "<html>log in"}, mlflow.Config{}, slipway.Invalid, []string{"is no MLflow", "login page"}},
		"an empty answer":      {mlflowtest.Fault{Status: 200}, mlflow.Config{}, slipway.Invalid, []string{"is no MLflow"}},
		"half an answer":       {mlflowtest.Fault{Status: 200, Header: asJSON, Body: `{"model_version":{"name`}, mlflow.Config{}, slipway.Corrupt, []string{"JSON"}},
		"a list":               {mlflowtest.Fault{Status: 200, Header: asJSON, Body: `[]`}, mlflow.Config{}, slipway.Corrupt, nil},
		"an impossible name":   {mlflowtest.Fault{Status: 200, Header: asJSON, Body: `{"model_version":{"name":"../x","version":"1"}}`}, mlflow.Config{}, slipway.Corrupt, []string{"impossible"}},
		"an impossible number": {mlflowtest.Fault{Status: 200, Header: asJSON, Body: `{"model_version":{"name":"x","version":"1; rm"}}`}, mlflow.Config{}, slipway.Corrupt, []string{"impossible"}},
		"a dropped connection": {mlflowtest.Fault{Drop: true}, mlflow.Config{}, slipway.Unavailable, []string{"cannot be reached"}},
		"no answer":            {mlflowtest.Fault{Hang: true}, mlflow.Config{Timeout: 50 * time.Millisecond}, slipway.Unavailable, []string{"no answer within 50ms"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := serve(t, mlflowtest.Config{})
			srv.Break(test.fault)
			test.config.URI, test.config.Retries = srv.URL(), -1
			_, err := client(t, test.config).Resolve(t.Context(), iris1)
			wantError(t, err, test.code, append(test.says, "resolving models:/iris/1")...)
			if strings.ContainsAny(err.Error(), "\n\x1b") || strings.Contains(err.Error()+slipway.HintOf(err), "pa55") {
				t.Errorf("unsafe to print: %q", err)
			}
		})
	}
}

func TestServerDown(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	srv.Close()
	_, err := client(t, mlflow.Config{URI: srv.URL, Retries: 1}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Unavailable, "cannot be reached", "MLFLOW_TRACKING_URI")
	_, err = client(t, mlflow.Config{URI: "http://mlflow.invalid", Retries: -1}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Unavailable, "cannot be reached", "MLFLOW_TRACKING_URI")
}

// An endless answer is cut off.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		for chunk := []byte(strings.Repeat(" ", 1<<20)); ; {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}))
	t.Cleanup(srv.Close)
	_, err := client(t, mlflow.Config{URI: srv.URL}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Exhausted, "MB")
}

// A search whose pages never end is given up.
func TestSearchIsBounded(t *testing.T) {
	t.Parallel()
	srv := serve(t, mlflowtest.Config{})
	srv.Break(mlflowtest.Fault{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: `{"next_page_token":"x"}`})
	_, err := client(t, mlflow.Config{URI: srv.URL()}).SearchVersions(t.Context(), "")
	wantError(t, err, slipway.Exhausted, "pages")
}

func TestReadOnlyUser(t *testing.T) {
	t.Parallel()
	srv := serve(t, mlflowtest.Config{Prefix: "/mlflow", Users: []mlflowtest.User{{Name: "admin", Password: "a"}, {Name: "cd", Password: "c", ReadOnly: true}}})
	if _, err := srv.AddVersion("iris", "mlflowtest/suite/testdata/model"); err != nil {
		t.Fatal(err)
	}
	reader := client(t, mlflow.Config{URI: srv.URL(), Username: "cd", Password: "c", Retries: -1})
	v, err := reader.Resolve(t.Context(), iris1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Download(t.Context(), v, filepath.Join(t.TempDir(), "m"), nil); err != nil {
		t.Error(err)
	}
	wantError(t, reader.SetTag(t.Context(), "iris", "1", "k", "v"), slipway.Unauthorized, "Permission denied", "EDIT")
	admin := client(t, mlflow.Config{URI: srv.URL(), Username: "admin", Password: "a"})
	if err := admin.SetTag(t.Context(), "iris", "1", "k", "v"); err != nil {
		t.Error(err)
	}
	for _, c := range []mlflow.Config{{}, {Username: "cd", Password: "wrong"}, {Token: "abc"}} {
		c.URI, c.Retries = srv.URL(), -1
		_, err := client(t, c).Resolve(t.Context(), iris1)
		wantError(t, err, slipway.Unauthorized, "You are not authenticated")
	}
	_, err = client(t, mlflow.Config{URI: strings.TrimSuffix(srv.URL(), "/mlflow"), Username: "cd", Password: "c", Retries: -1}).Resolve(t.Context(), iris1)
	wantError(t, err, slipway.Invalid, "path prefix")
}
