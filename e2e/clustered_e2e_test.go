//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// deployment is what the Deployment and its Service are called in tests.
const deployment = "inference-service"

// clustered is a real world whose target is a Deployment in a namespace of its
// own.
type clustered struct {
	*real
	cluster   *e2e.KubeCluster
	namespace string
	door      *door // between the cluster and the image registry
}

// newClustered returns a world with as many replicas, and the logged models as
// versions 1, 2, … of a registered model.
func newClustered(t testing.TB, replicas int, versions ...string) *clustered {
	t.Helper()
	return clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Place(t, namespace, deployment, replicas)
	}, versions...)
}

// clusteredBy is newClustered for a Deployment that is made otherwise.
func clusteredBy(t testing.TB, place func(c *e2e.KubeCluster, namespace string), versions ...string) *clustered {
	t.Helper()
	c := &clustered{cluster: e2e.Cluster(t)}
	c.namespace = c.cluster.Namespace(t)
	place(c.cluster, c.namespace)
	c.door = &door{to: httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: e2e.ImageRegistry(t)})}
	server := httptest.NewServer(c.door)
	t.Cleanup(server.Close)
	images := strings.TrimPrefix(server.URL, "http://")
	w := &world{t: t, program: slipwayProgram(t), home: t.TempDir(), images: images, mlflow: e2e.MLflow(t), bare: true}
	ip := c.cluster.Kubectl(t, "-n", c.namespace, "get", "service", deployment, "-o", "jsonpath={.spec.clusterIP}")
	w.address = strings.TrimSpace(ip) + ":8000"
	w.image = images + "/" + c.namespace + "/iris"
	w.env = []string{"KUBECONFIG=" + c.cluster.Kubeconfig, "SLIPWAY_IMAGE=" + w.image, "SLIPWAY_TO=" + c.target()}
	c.real = register(w, versions...)
	return c
}

func (c *clustered) target() string { return "kubernetes://" + c.namespace + "/" + deployment }

// kubectl runs kubectl in the namespace.
func (c *clustered) kubectl(args ...string) string {
	c.t.Helper()
	return c.cluster.Kubectl(c.t, append([]string{"-n", c.namespace}, args...)...)
}

// pod is what tests look at of a pod.
type pod struct {
	Metadata struct {
		Name              string
		UID               string
		DeletionTimestamp *time.Time
	}
	Spec struct {
		Containers []struct{ Image string }
	}
	Status struct {
		StartTime         *time.Time
		ContainerStatuses []struct{ Ready bool }
	}
}

// digest is that of the image the pod runs.
func (p pod) digest() string {
	_, digest, _ := strings.Cut(p.Spec.Containers[0].Image, "@")
	return digest
}

// pods returns the pods of the Deployment that are not being ended.
func (c *clustered) pods() []pod {
	c.t.Helper()
	var list struct{ Items []pod }
	if err := json.Unmarshal([]byte(c.kubectl("get", "pods", "-l", "app="+deployment, "-o", "json")), &list); err != nil {
		c.t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(p pod) bool { return p.Metadata.DeletionTimestamp != nil })
}

// endpoints returns the names of the pods to which the Service sends requests.
func (c *clustered) endpoints() []string {
	c.t.Helper()
	out := c.kubectl("get", "endpointslices", "-l", "kubernetes.io/service-name="+deployment,
		"-o", `jsonpath={range .items[*].endpoints[?(@.conditions.ready==true)]}{.targetRef.name}{"\n"}{end}`)
	names := strings.Fields(out)
	slices.Sort(names)
	return names
}

// consistent wants that many pods of the image alone, all of them ready and
// behind the Service, and Kubernetes to think so too.
func (c *clustered) consistent(digest string, replicas int) {
	c.t.Helper()
	c.kubectl("rollout", "status", "deployment/"+deployment, "--timeout=10s")
	var names []string
	for _, p := range c.pods() {
		names = append(names, p.Metadata.Name)
		if p.digest() != digest || len(p.Status.ContainerStatuses) != 1 || !p.Status.ContainerStatuses[0].Ready {
			c.t.Errorf("pod %s is not a ready one of %s: %+v", p.Metadata.Name, digest, p)
		}
	}
	slices.Sort(names)
	if endpoints := c.endpoints(); len(names) != replicas || !slices.Equal(names, endpoints) {
		c.t.Errorf("want %d pods, all behind the Service; the pods are %v, behind the Service are %v", replicas, names, endpoints)
	}
}

// forManifest reports whether the manifest of an image is asked for.
func forManifest(r *http.Request) bool {
	return path.Base(path.Dir(r.URL.Path)) == "manifests"
}

// byNode reports whether a node asks, not slipway.
func byNode(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "containerd/") }
