//go:build e2e

package e2e_test

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// relaying is slipway relay in a pod of the cluster, by the project's own
// manifest and in an image that slipway made of itself.
type relaying struct {
	*clustered
	namespace string
	started   chan map[string]string // what was dispatched
}

// volume is what k8s/relay.yaml asks the cluster for: this one makes none itself.
const volume = `
apiVersion: v1
kind: PersistentVolume
metadata: {name: NAME}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  claimRef: {namespace: NAME, name: relay}
  local: {path: PATH}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/os, operator: In, values: [linux]}]}]}}
`

func newRelaying(t *testing.T) *relaying {
	t.Helper()
	r := &relaying{clustered: newClustered(t, 2, "odds", "forest"), started: make(chan map[string]string, 100)}
	r.namespace = r.cluster.Namespace(t)
	github := r.forPods(http.HandlerFunc(r.github))
	mlflow, err := url.Parse(r.mlflow)
	if err != nil {
		t.Fatal(err)
	}
	models := r.forPods(&httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) { p.SetURL(mlflow) }})
	r.volume()
	image := r.image + "/relay"
	out := r.want(0, []string{"kubectl -n slipway set image deployment/relay"}, "relay-image", image+":e2e")
	r.configure(models, github)
	r.kubectlIn("set", "image", "deployment/relay", "relay="+strings.Fields(out.stdout)[0])
	r.kubectlIn("rollout", "status", "deployment/relay", "--timeout=120s")
	return r
}

// kubectlIn runs kubectl in the relay's namespace.
func (r *relaying) kubectlIn(args ...string) string {
	r.t.Helper()
	return r.cluster.Kubectl(r.t, append([]string{"-n", r.namespace}, args...)...)
}

// forPods serves where pods of this machine's node reach it, and nobody else.
func (r *relaying) forPods(h http.Handler) (address string) {
	r.t.Helper()
	node := strings.TrimSpace(r.cluster.Kubectl(r.t, "get", "nodes", "-o", `jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}`))
	l, err := net.Listen("tcp", net.JoinHostPort(node, "0"))
	if err != nil {
		r.t.Fatal(err)
	}
	server := &httptest.Server{Listener: l, Config: &http.Server{Handler: h}}
	server.Start()
	r.t.Cleanup(server.Close)
	return "http://" + l.Addr().String()
}

// github takes dispatches, and knows no runs.
func (r *relaying) github(w http.ResponseWriter, q *http.Request) {
	var body struct {
		Payload map[string]string `json:"client_payload"`
	}
	switch err := json.NewDecoder(q.Body).Decode(&body); {
	case q.Method == http.MethodGet:
		_, _ = io.WriteString(w, `{"workflow_runs": []}`)
	case err != nil || q.URL.Path != "/repos/ada/models/dispatches" || q.Header.Get("Authorization") != "Bearer gh-token":
		w.WriteHeader(http.StatusUnauthorized)
	default:
		r.started <- body.Payload
		w.WriteHeader(http.StatusNoContent)
	}
}

// volume gives the claim of the manifest a folder of this machine.
func (r *relaying) volume() {
	r.t.Helper()
	dir := r.t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil { //nolint:gosec // the pod's user is another one
		r.t.Fatal(err)
	}
	r.cluster.Apply(r.t, strings.NewReplacer("NAME", r.namespace, "PATH", dir).Replace(volume))
	r.t.Cleanup(func() { r.cluster.Kubectl(r.t, "delete", "pv", r.namespace, "--wait=false") })
}

// configure applies the manifest as its first lines say.
func (r *relaying) configure(mlflow, github string) {
	r.t.Helper()
	manifest, err := os.ReadFile("../k8s/relay.yaml")
	if err != nil {
		r.t.Fatal(err)
	}
	text := strings.NewReplacer("namespace: slipway", "namespace: "+r.namespace, "  name: slipway\n", "  name: "+r.namespace+"\n",
		"namespace: production", "namespace: "+r.clustered.namespace).Replace(string(manifest))
	r.cluster.Apply(r.t, text)
	dir := r.t.TempDir()
	for name, text := range map[string]string{
		"slipway.yaml": "relay: {start: github://ada/models}\nmodels:\n  - {model: \"" + r.champion() + "\", image: " + r.image + ", target: \"" + r.target() + "\"}\n",
		"relay.env":    "MLFLOW_TRACKING_URI=" + mlflow + "\nGITHUB_API_URL=" + github + "\nGH_TOKEN=gh-token\nSLIPWAY_WEBHOOK_SECRET=end-to-end-secret\nSLIPWAY_RELAY_POLL=1s\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	r.kubectlIn("create", "configmap", "relay", "--from-file="+filepath.Join(dir, "slipway.yaml"))
	r.kubectlIn("create", "secret", "generic", "relay", "--from-env-file="+filepath.Join(dir, "relay.env"))
}

// page waits until the relay's page has the texts.
func (r *relaying) page(texts ...string) {
	r.t.Helper()
	address := "http://" + strings.TrimSpace(r.kubectlIn("get", "service", "relay", "-o", "jsonpath={.spec.clusterIP}")) + "/"
	var body []byte
	if !eventually(time.Minute, func() bool {
		resp, err := http.Get(address)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
		for _, text := range texts {
			if !strings.Contains(string(body), text) {
				return false
			}
		}
		return err == nil
	}) {
		r.t.Fatalf("the page never has %q:\n%s\n%s", texts, body, r.kubectlIn("logs", "deployment/relay"))
	}
}

// starts waits for one start of the version.
func (r *relaying) starts(version string) {
	r.t.Helper()
	select {
	case got := <-r.started:
		if got["version"] != version || got["model"] != r.champion() || got["start"] == "" {
			r.t.Errorf("it started %v, want version %s", got, version)
		}
	case <-time.After(time.Minute):
		r.t.Fatalf("version %s is never started\n%s", version, r.kubectlIn("logs", "deployment/relay"))
	}
}

// In a cluster, by k8s/relay.yaml, with its rights and no more: the relay starts
// what is promoted, sees by the target's journal when it is live, and a relay
// that was killed starts nothing twice.
func TestE2ERelayInTheCluster(t *testing.T) {
	t.Parallel()
	r := newRelaying(t)
	r.promote("champion", "1")
	r.starts("1")
	r.outcome(0, "deploy", r.champion())
	r.page(">live<")
	r.promote("champion", "2")
	r.starts("2")
	r.page(">started<")
	r.kubectlIn("delete", "pods", "--all", "--grace-period=0", "--force")
	r.kubectlIn("rollout", "status", "deployment/relay", "--timeout=120s")
	r.outcome(0, "deploy", r.champion())
	r.page(">live<", ">2<")
	if len(r.started) > 0 {
		t.Errorf("it also started %v", <-r.started)
	}
	if out := r.kubectlIn("auth", "can-i", "--list", "--as=system:serviceaccount:"+r.namespace+":relay", "-n", r.clustered.namespace); strings.Contains(out, "secrets") || !strings.Contains(out, deployment+"-slipway") {
		t.Errorf("it may do\n%s", out)
	}
}
