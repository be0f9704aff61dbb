package kube_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

// emptyCluster answers every question with "not found", and notes who asked.
func emptyCluster(t *testing.T) (*httptest.Server, *[]string) {
	t.Helper()
	var asked []string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Header.Get("Authorization"))
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		if err := json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "code": 404, "reason": "NotFound", "message": r.URL.Path + " is not there"}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s, &asked
}

func authority(s *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

func target(t *testing.T, cluster *kube.Cluster) *kube.Target {
	t.Helper()
	ref, err := slipway.ParseTargetRef("kubernetes://production/iris")
	if err != nil {
		t.Fatal(err)
	}
	// A kubeconfig is nowhere: without the cluster this would fail.
	to, err := kube.New(kube.Config{Ref: ref, Getenv: func(string) string { return "" }, Found: cluster})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// A cluster that no kubeconfig names is found at the first call and once, and
// each call takes the token of the moment.
func TestFoundCluster(t *testing.T) {
	t.Parallel()
	api, asked := emptyCluster(t)
	finds, tokens := 0, 0
	to := target(t, &kube.Cluster{Name: "prod", Find: func(context.Context) (kube.Access, error) {
		finds++
		return kube.Access{Server: api.URL, CA: authority(api), Token: func(context.Context) (string, error) {
			tokens++
			return fmt.Sprint("token", tokens), nil
		}}, nil
	}})
	if finds != 0 {
		t.Error("Azure was asked before anything was to be done")
	}
	for range 2 {
		err := to.Find(t.Context())
		if slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(err.Error(), "the cluster https://prod has none") {
			t.Errorf("finding the Deployment: %v", err)
		}
	}
	if finds != 1 || !slices.Contains(*asked, "Bearer token2") || !slices.Contains(*asked, "Bearer token3") {
		t.Errorf("found %d times, asked with %q", finds, *asked)
	}
	if front := to.Front(); !strings.HasPrefix(front, "https://prod/") {
		t.Errorf("the front door is %s", front)
	}
	// What a model server's client asks goes the same way.
	resp, err := to.HTTP().Get(to.Front() + "/health")
	if err == nil {
		resp.Body.Close()
	}
	if slipway.CodeOf(err) != slipway.NotFound || (*asked)[len(*asked)-1] == "" {
		t.Errorf("asked through the proxy: %v, %q", err, *asked)
	}
	if _, err := to.HTTP().Get("https://elsewhere.example/"); err == nil || !strings.Contains(err.Error(), "another host") {
		t.Errorf("asked elsewhere: %v", err)
	}
}

// What it takes to find a cluster and to get a token is not the API server's to
// answer for, and has another limit.
func TestFoundClusterInItsOwnTime(t *testing.T) {
	t.Parallel()
	api, _ := emptyCluster(t)
	var limits []time.Duration
	note := func(ctx context.Context) {
		end, _ := ctx.Deadline()
		limits = append(limits, time.Until(end))
	}
	to := target(t, &kube.Cluster{Name: "prod", Find: func(ctx context.Context) (kube.Access, error) {
		note(ctx)
		return kube.Access{Server: api.URL, CA: authority(api), Token: func(ctx context.Context) (string, error) {
			note(ctx)
			return "token", nil
		}}, nil
	}})
	if err := to.Find(t.Context()); slipway.CodeOf(err) != slipway.NotFound {
		t.Errorf("got %v", err)
	}
	const call = 10 * time.Second
	if len(limits) < 3 || limits[0] <= call || limits[1] <= call || limits[2] > call {
		t.Errorf("finding it, the first token, and the token of a call had %v", limits)
	}
}

// Why a cluster cannot be found is told as it is, and the next call tries again.
func TestFoundClusterFails(t *testing.T) {
	t.Parallel()
	api, asked := emptyCluster(t)
	var fail error = slipway.Errorf(slipway.Unauthorized, "asking Azure", "the role is missing").WithHint("az role assignment create")
	broken := fail
	to := target(t, &kube.Cluster{Name: "prod", Find: func(context.Context) (kube.Access, error) {
		return kube.Access{Server: api.URL, CA: authority(api), Token: func(context.Context) (string, error) { return "", broken }}, fail
	}})
	for range 2 {
		err := to.Find(t.Context())
		if slipway.CodeOf(err) != slipway.Unauthorized || slipway.HintOf(err) != "az role assignment create" {
			t.Errorf("got %v", err)
		}
		fail = nil // the cluster is found now, and there is no token for it
	}
	broken = nil
	if err := to.Find(t.Context()); slipway.CodeOf(err) != slipway.NotFound || len(*asked) == 0 {
		t.Errorf("got %v", err)
	}
}

// Another certificate authority than Azure said is not trusted.
func TestFoundClusterElsewhere(t *testing.T) {
	t.Parallel()
	api, asked := emptyCluster(t)
	to := target(t, &kube.Cluster{Name: "prod", Find: func(context.Context) (kube.Access, error) {
		return kube.Access{Server: api.URL, Token: func(context.Context) (string, error) { return "token", nil }}, nil
	}})
	if err := to.Find(t.Context()); slipway.CodeOf(err) != slipway.Invalid || len(*asked) != 0 {
		t.Errorf("got %v, asked with %q", err, *asked)
	}
}

// A connection over which a call got no answer in time is not used again: it
// may lead to a host that is gone.
func TestFoundClusterDropsConnections(t *testing.T) {
	t.Parallel()
	var from []string
	api := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { from = append(from, r.RemoteAddr) }))
	t.Cleanup(api.Close)
	to := target(t, &kube.Cluster{Name: "prod", Find: func(context.Context) (kube.Access, error) {
		return kube.Access{Server: api.URL, CA: authority(api), Token: func(context.Context) (string, error) { return "token", nil }}, nil
	}})
	ask := func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.Front()+"/health", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := to.HTTP().Do(req)
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	late, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer cancel()
	first, second, tooLate, fourth := ask(t.Context()), ask(t.Context()), ask(late), ask(t.Context())
	if first != nil || second != nil || tooLate == nil || fourth != nil {
		t.Fatal(first, second, tooLate, fourth)
	}
	if from[0] != from[1] || slices.Contains(from[2:], from[0]) {
		t.Errorf("the calls came from %q", from)
	}
}
