package kube_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
)

// What comes through the API server's proxy, and what comes from the API
// server instead.
func TestProxyTellsTheAPIServerFromAModelServer(t *testing.T) {
	t.Parallel()
	model := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Model-Name", "iris")
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
	}
	plain := func(code int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, body, code) }
	}
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   slipway.Code // "": the answer is passed on
		say    string
	}{
		{"a model server's 200", model(200, "fine"), "", "fine"},
		{"a model server's 400", model(400, "row 3"), "", "row 3"},
		{"a model server's 503", model(503, "busy"), "", "busy"},
		{"a model server that answers a Status", model(500, `{"kind":"Status","apiVersion":"v1","code":500}`), "", "Status"},
		{"another server's 200", plain(200, "nginx"), "", "nginx"},
		{"another server's 404", plain(404, "nginx"), "", "nginx"},
		{"another server's large answer", plain(200, strings.Repeat("x", 1<<20)), "", strings.Repeat("x", 1<<20)},
		{"a Status that is a success", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1"}`)
		}, "", "Status"},
		{"a pod that does not listen", statusHandler(503, "error trying to reach service: dial tcp 10.0.0.7:8000: connect: connection refused"), slipway.Unavailable, "connection refused"},
		{"a pod that is gone", statusHandler(404, `pods "x" not found`), slipway.NotFound, "not found"},
		{"a missing right", statusHandler(403, `pods "http:x:8000" is forbidden: User "ci" cannot get resource "pods/proxy" in API group "" in the namespace "n"`), slipway.Unauthorized, "get pods/proxy in the namespace n"},
		{"a load balancer without an API server", plain(502, "<html>"), slipway.Unavailable, "502"},
		{"a load balancer that is tired", plain(504, "<html>"), slipway.Unavailable, "504"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			target := answering(t, tt.answer)
			resp, err := target.HTTP().Get(target.Front() + "/ready")
			if tt.want != "" {
				checkError(t, err, tt.want, []string{tt.say})
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil || !strings.Contains(string(body), tt.say) {
				t.Errorf("body %.60q (%d bytes), %v, want %.60q", body, len(body), err, tt.say)
			}
		})
	}
}

func TestFrontIsTheServiceThroughTheAPIServer(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]string{
		"https://127.0.0.1:6443":            "https://127.0.0.1:6443/api/v1/namespaces/n/services/http:inference-service:8000/proxy",
		"https://rancher/k8s/clusters/c-1/": "https://rancher/k8s/clusters/c-1/api/v1/namespaces/n/services/http:inference-service:8000/proxy",
		"http://[::1]:8080":                 "http://[::1]:8080/api/v1/namespaces/n/services/http:inference-service:8000/proxy",
	} {
		if got := targetAt(t, host).Front(); got != want {
			t.Errorf("front door of %s: %s, want %s", host, got, want)
		}
	}
}

// A model server that hangs is slow; an API server that hangs is away.
func TestWhoIsSlow(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]bool{"the model server": false, "the API server": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			target := answering(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				if away || strings.Contains(r.URL.Path, "/proxy/") {
					<-r.Context().Done()
				}
			}))
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.Front()+"/ready", nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = target.HTTP().Do(req)
			if !errors.Is(err, context.DeadlineExceeded) || slipway.Retryable(err) != away {
				t.Errorf("%v, may pass: %v", err, slipway.Retryable(err))
			}
		})
	}
}

// Pods may answer anything through the proxy. The credentials stay with the
// API server, for the verifier's requests and for client-go's.
func TestCredentialsGoNowhereElse(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("another host was asked, with %q", r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	asked := make(chan string, 1)
	target := answering(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.Header.Get("Authorization")
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	resp, err := target.HTTP().Get(target.Front() + "/ready")
	if err != nil || resp.StatusCode != http.StatusTemporaryRedirect {
		t.Errorf("a redirect gave %v, %v, want itself", resp, err)
	}
	if got := <-asked; got != "Bearer "+secret {
		t.Errorf("the API server was asked with %q", got)
	}
	if _, err := target.HTTP().Get(elsewhere.URL); err == nil {
		t.Error("the client asks other hosts")
	}
	if _, err := target.Journal().Load(t.Context()); err == nil {
		t.Error("a record came from a redirect")
	}
}
