//go:build e2e

package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// planted are one secret of each kind that slipway is ever given.
var planted = map[string]string{
	"ACR_PASSWORD":                    "planted-acr-password",
	"MLFLOW_TRACKING_TOKEN":           "planted-mlflow-token",
	"API_KEY":                         "planted-model-secret",
	"AZURE_CLIENT_SECRET":             "planted-azure-secret",
	"AZURE_STORAGE_ACCESS_KEY":        "cGxhbnRlZC1zdG9yYWdlLWtleQ==",
	"AZURE_STORAGE_CONNECTION_STRING": "AccountName=a;AccountKey=planted-connection",
	"SYSTEM_ACCESSTOKEN":              "planted-azure-devops-token",
	"GITHUB_TOKEN":                    "planted-github-token",
	"ACTIONS_ID_TOKEN_REQUEST_TOKEN":  "planted-oidc-token",
	"UV_INDEX_COMPANY_PASSWORD":       "planted-index-password",
	"AWS_SECRET_ACCESS_KEY":           "planted-aws-key",
}

// A release under each CI system, with a secret of every kind in reach, that
// becomes live, that fails, and that may not sign in: the secrets are nowhere
// but where they are sent to.
func TestE2ESecretsAreNowhere(t *testing.T) {
	t.Parallel()
	for _, ci := range [][]string{
		{"GITHUB_ACTIONS=true", "MLFLOW_TRACKING_USERNAME=ada", "MLFLOW_TRACKING_PASSWORD=planted-mlflow-token", "GITHUB_RUN_NUMBER=7", "GITHUB_OUTPUT=output", "GITHUB_STEP_SUMMARY=summary.md"},
		{"TF_BUILD=True", "BUILD_BUILDNUMBER=7", "AGENT_TEMPDIRECTORY=."},
	} {
		t.Run(strings.ToLower(ci[0][:2]), func(t *testing.T) {
			t.Parallel()
			m := newReal(t)
			m.register("forest")
			m.register("odds")
			h := &hygiene{real: m, ci: ci, registry: guarded(t, "http://"+m.images, "Basic "+base64.StdEncoding.EncodeToString([]byte("ada:"+planted["ACR_PASSWORD"])))}
			h.models = guarded(t, m.mlflow, "Bearer "+planted["MLFLOW_TRACKING_TOKEN"], "Basic "+base64.StdEncoding.EncodeToString([]byte("ada:"+planted["MLFLOW_TRACKING_TOKEN"])))
			h.run()
		})
	}
}

type hygiene struct {
	*real
	ci               []string
	registry, models *httptest.Server
	said             []ran
}

func (h *hygiene) run() {
	host := strings.TrimPrefix(h.registry.URL, "http://")
	h.env = append(slices.Clone(h.ci), "SLIPWAY_REPLICAS=1", "SLIPWAY_SECRET_ENV=API_KEY", "ACR_LOGIN_SERVER="+host, "ACR_USERNAME=ada", "XDG_CACHE_HOME="+filepath.Join(h.home, "cache"))
	for name, secret := range planted {
		h.env = append(h.env, name+"="+secret)
	}
	plain := h.image
	h.image, h.mlflow = strings.Replace(h.image, h.images, host, 1), h.models.URL
	seen := spy(h.t, slices.Collect(maps.Values(planted))...)
	one, two := "models:/"+string(h.model)+"/1", "models:/"+string(h.model)+"/2"
	for _, step := range [][]string{{"extract", one}, {"validate"}, {"build"}, {"push"}, {"rollout"}, {"verify"}, {"notify"}, {"pending", two}, {"plan", two}, {"status", h.target()}, {"history", h.target()}} {
		h.said = append(h.said, h.want(0, nil, step...))
	}
	h.serversHave(1, map[string]string{"API_KEY": planted["API_KEY"], "ACR_PASSWORD": "", "MLFLOW_TRACKING_TOKEN": "", "GITHUB_TOKEN": ""})
	h.fails(two)
	if got := seen(); len(got) > 0 {
		h.t.Errorf("a secret was an argument of %q", got)
	}
	h.image = plain
	h.look()
}

// fails are runs that end badly, with what they could tell too much of.
func (h *hygiene) fails(model string) {
	golden := filepath.Join(h.home, "wrong.json")
	if err := os.WriteFile(golden, []byte(`[{"request": {"inputs": [[1]]}, "answer": [1]}]`), 0o600); err != nil {
		h.t.Fatal(err)
	}
	h.said = append(h.said, h.want(1, nil, "deploy", model, "--golden", golden, "-o", "json"))
	env := h.env
	for _, names := range [][]string{{"ACR_PASSWORD"}, {"MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"}} {
		h.env = append(slices.Clone(env), "MLFLOW_TRACKING_USERNAME=ada", "MLFLOW_TRACKING_PASSWORD="+planted["MLFLOW_TRACKING_TOKEN"])
		for _, name := range names {
			h.env = append(h.env, name+"="+planted[names[0]]+"-old")
		}
		h.said = append(h.said, h.want(1, []string{"401"}, "deploy", model))
	}
	h.env = append(slices.Clone(env), "MLFLOW_TRACKING_URI=http://ada:planted-uri-password@127.0.0.1:1")
	h.said = append(h.said, h.want(1, nil, "deploy", model))
	h.env = env
}

// masked are those of the planted that every command masks.
var masked = []string{"ACR_PASSWORD", "MLFLOW_TRACKING_TOKEN", "AZURE_CLIENT_SECRET", "AZURE_STORAGE_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING",
	"SYSTEM_ACCESSTOKEN", "GITHUB_TOKEN", "ACTIONS_ID_TOKEN_REQUEST_TOKEN"}

var masks = regexp.MustCompile(`(?m)^(::add-mask::|##vso\[task\.setsecret\]).*\n`)

// look looks for the secrets in all that was said and written.
func (h *hygiene) look() {
	h.t.Helper()
	outputs := h.handovers()
	for i := range h.said {
		for _, name := range masked {
			if !strings.Contains(h.said[i].stderr, "::add-mask::"+planted[name]) && !strings.Contains(h.said[i].stderr, "##vso[task.setsecret]"+planted[name]) {
				h.t.Errorf("%s is not masked\n%s", name, h.said[i])
			}
		}
		h.said[i].stderr = masks.ReplaceAllString(h.said[i].stderr, "") // CI systems take these lines, and show none
	}
	h.said = append(h.said, ran{stdout: outputs})
	for _, secret := range append(slices.Collect(maps.Values(planted)), "planted-uri-password", "planted-connection", base64.StdEncoding.EncodeToString([]byte("ada:"+planted["ACR_PASSWORD"]))) {
		h.nowhere(secret, h.said...)
		h.notInTheRegistry(secret)
	}
}

var handover = regexp.MustCompile(`H4sI[A-Za-z0-9+/=]+`)

// handovers returns what was handed on, unpacked.
func (h *hygiene) handovers() string {
	h.t.Helper()
	text, err := os.ReadFile(filepath.Join(h.home, "output"))
	if err != nil && strings.HasPrefix(h.ci[0], "GITHUB") {
		h.t.Fatal(err)
	}
	for _, r := range h.said {
		text = append(text, r.stderr...)
	}
	var all bytes.Buffer
	for _, packed := range handover.FindAll(text, -1) {
		data, err := base64.StdEncoding.DecodeString(string(packed))
		if err != nil {
			h.t.Fatal(err)
		}
		r, err := gzip.NewReader(bytes.NewReader(data))
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := io.Copy(&all, r); err != nil {
			h.t.Fatal(err)
		}
	}
	if all.Len() == 0 {
		h.t.Error("nothing was handed on")
	}
	return all.String()
}

// guarded is a server in front of another that lets in who knows the secret.
func guarded(t testing.TB, to string, authorizations ...string) *httptest.Server {
	t.Helper()
	u, err := url.Parse(to)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(u)
		r.Out.Header.Del("Authorization")
		r.SetXForwarded()
		r.Out.Host = r.In.Host // the image registry names itself in Location
	}}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !slices.Contains(authorizations, r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Basic realm="guarded"`)
			http.Error(w, "who are you, "+r.Header.Get("Authorization")+"?", http.StatusUnauthorized) // servers do repeat what they got
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	return s
}
