//go:build e2e

package e2e_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// found is what doctor says of one thing.
type found struct {
	Check, Subject, Mark, Found, Why, Fix string
	Missing                               []string
}

// doctor runs slipway doctor and returns what it found, by check.
func (w *world) doctor(code int, args ...string) map[string]found {
	w.t.Helper()
	got := w.want(code, nil, append([]string{"doctor", "-o", "json"}, args...)...)
	var d struct {
		Works    bool
		Findings []found
	}
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil || d.Works != (code == 0) {
		w.t.Fatalf("%v, works: %v\n%s", err, d.Works, got)
	}
	all := map[string]found{}
	for _, f := range d.Findings {
		if f.Mark == "fails" && f.Fix == "" {
			w.t.Errorf("nothing mends it: %+v", f)
		}
		if f.Check == "setting" {
			f.Check += " " + f.Subject
		}
		all[f.Check] = f
	}
	return all
}

// says wants a check to end so and to say so.
func says(t testing.TB, all map[string]found, check, mark, text string) {
	t.Helper()
	if f := all[check]; f.Mark != mark || !strings.Contains(f.Found+f.Why+f.Fix, text) {
		t.Errorf("%s: %+v, want %s: %q", check, f, mark, text)
	}
}

// With the rights of the Role alone, doctor looks at everything; it changes
// nothing, and after the first release the pods prove that images are pulled.
func TestE2EDoctorUnderTheRole(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) { c.Apply(t, rendered(t, c, namespace)) }, "odds")
	c.env = append(c.env, "KUBECONFIG="+kubeconfigOf(t, c.cluster, c.namespace))
	c.promote("champion", "1")
	before := c.everything()
	all := c.doctor(0, c.champion())
	for check, text := range map[string]string{
		"MLflow": e2e.MLflowVersion, "model": "may read and tag", "image registry": "may push and pull (probe removed)",
		"Kubernetes": "system:serviceaccount:" + c.namespace + ":slipway", "rights": "all ", "manifest": "Deployment, Service, HorizontalPodAutoscaler", "clock": "within a minute",
	} {
		says(t, all, check, "works", text)
	}
	says(t, all, "pulling", "skipped", "not known before the first release")
	says(t, all, "setting AKS_CLUSTER_NAME", "skipped", "kubeconfig")
	if after := c.everything(); after != before {
		t.Errorf("something changed:\n%s\nwas\n%s", after, before)
	}
	c.ends(0, "live", "deploy", c.champion())
	says(t, c.doctor(0, c.champion()), "pulling", "works", "runs an image from "+c.images)
}

// everything is what the cluster and the image registry hold of this world. The
// Deployment's status is its controller's.
func (c *clustered) everything() string {
	c.t.Helper()
	objects := c.kubectl("get", "deployments,services,hpa,configmaps,leases,secrets,roles", "-o",
		`jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.generation} {.metadata.uid}{"\n"}{end}`)
	res, err := http.Get("http://" + c.images + "/v2/_catalog?n=10000")
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	var catalog struct{ Repositories []string }
	if err := json.NewDecoder(res.Body).Decode(&catalog); err != nil {
		c.t.Fatal(err)
	}
	ours := ""
	for _, r := range catalog.Repositories {
		if strings.HasPrefix(r, c.namespace) {
			ours += r + "\n"
		}
	}
	return objects + ours
}

// Each right of the Role that is missing is found, and named with the command
// that gives it, before a release misses it.
func TestE2EDoctorFindsEachMissingRight(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	home := cluster.Namespace(t) // of the ServiceAccount, which has no right here
	cluster.Kubectl(t, "-n", home, "create", "serviceaccount", "slipway")
	config := kubeconfigOf(t, cluster, home)
	for _, missing := range rightsOf(roleOf(t, cluster)) {
		t.Run(missing.String(), func(t *testing.T) {
			t.Parallel()
			namespace := cluster.Namespace(t)
			cluster.Place(t, namespace, deployment, 1)
			grant(t, cluster, namespace, home, missing.others)
			images := e2e.ImageRegistry(t)
			w := &world{t: t, program: slipwayProgram(t), home: t.TempDir(), images: images, bare: true}
			w.env = []string{"KUBECONFIG=" + config, "SLIPWAY_IMAGE=" + images + "/" + namespace + "/iris", "SLIPWAY_TO=kubernetes://" + namespace + "/" + deployment}
			f := w.doctor(1, demoModel(t, 1))["rights"]
			if len(f.Missing) != 1 || !strings.HasPrefix(f.Missing[0], missing.verb+" "+missing.resource) || f.Mark != "fails" {
				t.Errorf("%+v, want %s %s", f, missing.verb, missing.resource)
			}
			if !strings.Contains(f.Fix, "kubectl create rolebinding slipway-ci --role=slipway --serviceaccount="+home+":slipway -n "+namespace) {
				t.Errorf("no command that gives it: %+v", f)
			}
		})
	}
}

// What is wrong with a cluster is told apart, and what is behind it is not
// guessed at.
func TestE2EDoctorOfClustersThatAreNotWell(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "odds")
	c.promote("champion", "1")
	set := func(name, value string) { c.env = append(c.env, name+"="+value) }

	c.kubectl("delete", "service", deployment)
	says(t, c.doctor(1, c.champion()), "manifest", "fails", "has no Service")
	c.kubectl("delete", "deployment", deployment)
	says(t, c.doctor(1, c.champion()), "manifest", "fails", "has no Deployment")

	set("KUBECONFIG", c.home+"/none")
	all := c.doctor(1, c.champion())
	says(t, all, "Kubernetes", "fails", "KUBECONFIG")
	says(t, all, "rights", "skipped", "not checked: no cluster is named")
	says(t, all, "image registry", "works", "may push")

	set("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
	all = c.doctor(1, c.champion())
	says(t, all, "MLflow", "fails", "cannot be reached")
	says(t, all, "model", "skipped", "not checked")
}

// An image that the nodes may not pull is found by the pods that wait for it.
func TestE2EDoctorFindsThatNodesMayNotPull(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "odds")
	c.promote("champion", "1")
	c.kubectl("set", "image", "deployment/"+deployment, deployment+"="+refusing(t, c))
	c.awaitRefusal()
	says(t, c.doctor(1, c.champion()), "pulling", "fails", "may not be pulled")
}

// refusing makes the world's image registry refuse nodes, and names an image in it.
func refusing(t testing.TB, c *clustered) string {
	t.Helper()
	c.door.set(func(w http.ResponseWriter, r *http.Request) bool {
		if !byNode(r) {
			return false
		}
		http.Error(w, `{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}`, http.StatusForbidden)
		return true
	})
	return c.image + ":1"
}

// awaitRefusal waits until a pod was told that it may not pull.
func (c *clustered) awaitRefusal() {
	c.t.Helper()
	if !eventually(time.Minute, func() bool {
		reasons := c.kubectl("get", "pods", "-o", "jsonpath={.items[*].status.containerStatuses[*].state.waiting.reason}")
		return strings.Contains(reasons, "ErrImagePull") || strings.Contains(reasons, "ImagePullBackOff")
	}) {
		c.t.Fatalf("no pod was refused\n%s", c.kubectl("describe", "pods"))
	}
}
