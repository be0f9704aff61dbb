//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
)

// record returns the Deployment's journal.
func (c *clustered) record() slipway.Record {
	c.t.Helper()
	var r slipway.Record
	data := c.kubectl("get", "configmap", deployment+"-slipway", "-o", `jsonpath={.data.record\.json}`)
	if err := json.Unmarshal([]byte(data), &r); err != nil {
		c.t.Fatalf("%v in %s", err, data)
	}
	return r
}

// elsewhere is another machine: it has a kubeconfig and nothing else of this
// one.
func (c *clustered) elsewhere() *world {
	w := *c.world
	w.home, w.env = c.t.TempDir(), []string{"KUBECONFIG=" + c.cluster.Kubeconfig}
	return &w
}

// A version that MLflow's own library logged and registered goes live on a
// Deployment when an alias points at it, answers through the Service what
// scikit-learn answers, and is replaced by the next one. Everybody can look.
func TestE2EClusterPromotion(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 2, "logistic", "forest")
	c.promote("champion", "1")
	first := c.outcome(0, "deploy", c.champion())
	if first.Kind != "live" || first.Release.Environment != c.namespace {
		t.Errorf("the first release: %+v", first)
	}
	c.comesToAnswer("1", "logistic")
	liveSince := time.Now()
	c.promote("champion", "2")
	var plans []struct {
		Would         string
		Replicas      int
		WayBackExists bool
	}
	c.json(&plans, "plan", c.champion())
	if len(plans) != 1 || plans[0].Would != "deploy" || plans[0].Replicas != 2 || !plans[0].WayBackExists {
		t.Errorf("planned: %+v", plans)
	}
	second := c.want(0, []string{
		"Model validation passed\n", "Docker image built\n", "Image tag: " + c.image + ":2\n", "Pushed to " + c.images + "\n",
		"Health check passed\n", "Prediction tests successful\n", "2 of 2 ready", "nothing else receives requests any more", " 2 is live",
	}, "deploy", c.champion())
	c.comesToAnswer("2", "forest")
	_, digest, _ := strings.Cut(strings.TrimSpace(second.stdout), "@")
	c.consistent(digest, 2)
	want := map[string]string{"slipway.status": "live", "slipway.image": strings.TrimSpace(second.stdout), "slipway.target": c.target(),
		"slipway.release": string(c.record().Live.ID), "slipway.reason": ""}
	if diff := cmp.Diff(want, c.tags("2")); diff != "" {
		t.Errorf("tags of version 2: %s", diff)
	}
	if got := c.tags("1")["slipway.status"]; got != "replaced" {
		t.Errorf("version 1 is tagged %q", got)
	}
	if again := c.outcome(0, "deploy", c.champion()); again.Kind != "nothing-to-do" {
		t.Errorf("asked again: %+v", again)
	}
	c.canBeSeen(liveSince)
}

// canBeSeen looks at version 2, and at version 1 before it, from another
// machine.
func (c *clustered) canBeSeen(liveSince time.Time) {
	c.t.Helper()
	w := c.elsewhere()
	w.want(0, []string{string(c.model) + " 2", "2 of 2 ready", "self-checked", "60 of 60 health checks"}, "status", c.target())
	w.want(0, []string{string(c.model) + " 1", string(c.model) + " 2", "ada"}, "history", c.target())
	at := w.want(0, []string{string(c.model) + " 1"}, "history", c.target(), "--at", liveSince.UTC().Format(time.RFC3339Nano))
	if strings.Contains(at.stdout, string(c.model)+" 2") {
		c.t.Errorf("at that time only version 1 served\n%s", at)
	}
	w.want(0, []string{"it did not fail", string(c.model) + " 2"}, "explain", string(c.record().Live.ID), "--on", c.target())
	w.refused(2, []string{"runs in a cluster", "kubectl scale deployment/" + deployment + " --replicas=0 -n " + c.namespace}, "stop", c.target())
}

// One process a step, and each on another machine from rollout on: release.json
// is all that travels, and the fence in it says whose the target is.
func TestE2EClusterSteps(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "logistic", "forest", "odds")
	steps := func(ref string) {
		for _, step := range [][]string{{"extract", ref}, {"validate"}, {"build"}, {"push"}, {"rollout"}} {
			c.want(0, nil, step...)
		}
	}
	steps("models:/" + string(c.model) + "/1")
	if got := c.record().Current; got == nil || got.Phase != slipway.Unverified || got.Fence == 0 {
		t.Errorf("after rollout: %+v", got)
	}
	c.verifiedElsewhere("1", "live")
	c.comesToAnswer("1", "logistic")
	steps("models:/" + string(c.model) + "/2")
	if c.record().Live.Model.Version != "1" {
		t.Error("version 2 counts as live before it was verified")
	}
	if got := c.outcome(0, "deploy", "models:/"+string(c.model)+"/3"); got.Kind != "live" {
		t.Fatalf("the newer one: %+v", got)
	}
	c.verifiedElsewhere("2", "superseded")
	c.comesToAnswer("3", "odds")
	if two, three := c.tags("2")["slipway.status"], c.tags("3")["slipway.status"]; two == "live" || three != "live" {
		t.Errorf("version 2 is tagged %q, version 3 %q", two, three)
	}
}

// verifiedElsewhere is the step verify on a machine that has release.json.
func (c *clustered) verifiedElsewhere(version, kind string) {
	c.t.Helper()
	w := c.elsewhere()
	data, err := os.ReadFile(filepath.Join(c.home, "release.json"))
	if err == nil {
		err = os.WriteFile(filepath.Join(w.home, "release.json"), data, 0o600)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	if got := w.outcome(0, "verify"); got.Kind != kind || got.Release.Model.Version != slipway.Version(version) {
		c.t.Errorf("verify of version %s: %+v", version, got)
	}
}

// Two runners at once: one waits, and looks again what is promoted. The newest
// promotion wins, whoever brings it.
func TestE2EClusterTwoRunners(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "logistic", "forest", "odds")
	c.promote("champion", "1")
	c.outcome(0, "deploy", c.champion())
	c.promote("champion", "2")
	ends := make([]ran, 2)
	var both sync.WaitGroup
	both.Go(func() { ends[0] = c.run("deploy", c.champion()) })
	for deadline := time.Now().Add(time.Minute); c.record().Current == nil && time.Now().Before(deadline); {
		time.Sleep(50 * time.Millisecond)
	}
	c.promote("champion", "3")
	both.Go(func() { ends[1] = c.run("deploy", c.champion()) })
	both.Wait()
	if ends[0].code != 0 || ends[1].code != 0 || !strings.Contains(ends[1].stderr, "waiting for ada@") {
		t.Errorf("both runs should end well, and the second should wait\n%s\n%s", ends[0], ends[1])
	}
	if got := c.record(); got.Live.Model.Version != "3" || got.Current != nil || len(got.History) != 3 {
		t.Errorf("the newest promotion should serve, after three releases: %+v", got)
	}
	c.comesToAnswer("3", "odds")
}

// Back by hand, with slipway or with kubectl, from another machine; frozen and
// freed. What was taken back does not come again by itself.
func TestE2EClusterMinding(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "logistic", "forest", "odds")
	for version := range 3 {
		c.promote("champion", slipway.Version(fmt.Sprint(version+1)))
		c.outcome(0, "deploy", c.champion())
	}
	w := c.elsewhere()
	w.env = append(w.env, "MLFLOW_TRACKING_URI="+c.mlflow)
	w.want(0, []string{"is held by ada@"}, "hold", c.target(), "--reason", "audit of the quarter")
	held := c.want(0, []string{"audit of the quarter", "slipway resume"}, "deploy", "models:/"+string(c.model)+"/1", "-o", "json")
	if !strings.Contains(held.stdout, `"held"`) {
		t.Errorf("deployed to a held target\n%s", held)
	}
	w.want(0, nil, "resume", c.target())
	if got := w.outcome(0, "rollback", c.target(), "--reason", "it was slow"); got.Kind != "live" || got.Release.Model.Version != "2" {
		t.Errorf("rollback: %+v", got)
	}
	c.comesToAnswer("2", "forest")
	if got := c.outcome(0, "deploy", c.champion()); got.Kind != "quarantined" {
		t.Errorf("what was rolled back by hand came back: %+v", got)
	}
	if got := w.outcome(0, "rollback", c.target(), "--to-version", "1", "--whole-template"); got.Kind != "live" || got.Release.Model.Version != "1" {
		t.Errorf("rollback --to-version: %+v", got)
	}
	c.comesToAnswer("1", "logistic")
	if got := w.outcome(0, "recover", c.target()); got.Kind != "nothing-to-do" {
		t.Errorf("recover: %+v", got)
	}
	c.undoneByKubectl()
}

// comesToAnswer wants nothing but the version to answer, and rightly, within a minute:
// a pod that drains answers too, until every node has heard of it.
func (c *clustered) comesToAnswer(version, name string) {
	c.t.Helper()
	alone := 0
	for deadline := time.Now().Add(time.Minute); alone < 20 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if got, err := ask(fresh, c.address, models(c.t)[name].Requests); err == nil && got.version == version {
			alone++
		} else {
			alone = 0
		}
	}
	c.real.answersLike(version, name)
}

// answersLike is for whoever asks right after a release has ended: that no pod
// of another is in an EndpointSlice is what Slipway sees to, and a loaded node
// follows it a moment later.
func (c *clustered) answersLike(version, name string) {
	c.t.Helper()
	c.comesToAnswer(version, name)
}

// undoneByKubectl: version 1 serves; kubectl goes back to the release before
// it, version 2. Slipway sees that, does not fight it, and leaves what was
// undone alone.
func (c *clustered) undoneByKubectl() {
	c.t.Helper()
	c.kubectl("rollout", "undo", "deployment/"+deployment)
	c.kubectl("rollout", "status", "deployment/"+deployment, "--timeout=60s")
	c.comesToAnswer("2", "forest")
	got := c.run("deploy", "models:/"+string(c.model)+"/1", "-o", "json")
	if got.code != 0 || !strings.Contains(got.stdout, `"quarantined"`) {
		c.t.Errorf("what kubectl undid should be in quarantine\n%s", got)
	}
	c.comesToAnswer("2", "forest")
	if live := c.record().Live; live == nil || live.Model.Version != "2" {
		c.t.Errorf("what kubectl went back to should count as live: %+v", live)
	}
	c.want(0, []string{"undo"}, "history", c.target())
}

// The name of a secret travels; its value stays in the cluster.
const clusterSecret = "s3cret-of-the-cluster"

// Two environments of slipway.yaml in two namespaces, one after the other, each
// with its own variables, Secrets, requests and time to start. Production takes
// only what staging has verified.
func TestE2EClusterEnvironments(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 1, "logistic", "forest")
	staging := c.cluster.Namespace(t)
	c.cluster.Place(t, staging, deployment, 1)
	c.kubectl("create", "secret", "generic", deployment, "--from-literal=API_TOKEN="+clusterSecret)
	c.kubectl("create", "secret", "generic", "database", "--from-literal=password="+clusterSecret)
	c.env = c.env[:1] // KUBECONFIG: all else is in the file
	c.configure(staging)
	c.promote("champion", "1")
	alone := c.want(0, []string{"production waits: staging has not verified " + string(c.model) + " 1; nothing is live there"}, "deploy", "--environment", "production", "-o", "json")
	c.refused(1, []string{"slipway deploy --environment staging"}, "extract", c.champion(), "--environment", "production")
	both := c.want(0, []string{"staging\t", "production\t"}, "deploy")
	c.comesToAnswer("1", "logistic")
	c.podsHave()
	c.promote("champion", "2")
	c.want(0, nil, "deploy", "--environment", "staging")
	c.comesToAnswer("1", "logistic")
	c.want(0, []string{"nothing-to-do", "live"}, "deploy", "-o", "json")
	c.comesToAnswer("2", "forest")
	looked := c.want(0, nil, "status", "-o", "json")
	c.nowhere(clusterSecret, alone, both, looked)
	if all := c.kubectl("get", "deployment,replicaset,pod,configmap,lease,event", "-o", "yaml"); strings.Contains(all, clusterSecret) {
		t.Error("the secret is in an object that is no Secret")
	}
}

func (c *clustered) configure(staging string) {
	c.t.Helper()
	yaml := fmt.Sprintf(`models:
  - model: %s
    image: %s
    environments:
      - name: production
        target: %s
        after: staging
        env: {LOG_LEVEL: warning}
        secretEnv: [API_TOKEN, DB_PASSWORD=database/password]
        requests: {cpu: 20m, memory: 48Mi}
        startup: 45s
      - name: staging
        target: kubernetes://%s/%s
        env: {LOG_LEVEL: debug}
`, c.champion(), c.image, c.target(), staging, deployment)
	if err := os.WriteFile(filepath.Join(c.home, "slipway.yaml"), []byte(yaml), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

// podsHave wants what the file says in the pods of production.
func (c *clustered) podsHave() {
	c.t.Helper()
	for path, want := range map[string]string{
		`{.env[?(@.name=="LOG_LEVEL")].value}`:                                                                                     "warning",
		`{.env[?(@.name=="API_TOKEN")].valueFrom.secretKeyRef.name}`:                                                               deployment,
		`{.env[?(@.name=="API_TOKEN")].valueFrom.secretKeyRef.key}`:                                                                "API_TOKEN",
		`{.env[?(@.name=="DB_PASSWORD")].valueFrom.secretKeyRef.name}/{.env[?(@.name=="DB_PASSWORD")].valueFrom.secretKeyRef.key}`: "database/password",
		`{.resources.requests.cpu} {.resources.requests.memory}`:                                                                   "20m 48Mi",
		`{.env[?(@.name=="MODEL_VERSION")].value}`:                                                                                 "1",
	} {
		path = strings.ReplaceAll(path, "{.", "{.items[0].spec.containers[0].")
		if got := c.kubectl("get", "pods", "-l", "app="+deployment, "-o", "jsonpath="+path); got != want {
			c.t.Errorf("%s: got %q, want %q", path, got, want)
		}
	}
	probe := c.kubectl("get", "deployment", deployment, "-o", "jsonpath={.spec.template.spec.containers[0].startupProbe}")
	var p struct{ FailureThreshold, PeriodSeconds int }
	if err := json.Unmarshal([]byte(probe), &p); err != nil || p.FailureThreshold*p.PeriodSeconds != 45 {
		c.t.Errorf("the startup probe gives %s, %v; want 45 s", probe, err)
	}
}

// In a cluster that has nothing, a deploy says how to begin, and --create
// begins: with the project's own manifest, under the names that are asked for.
func TestE2EClusterCreate(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) {
		c.Apply(t, fmt.Sprintf("apiVersion: v1\nkind: Service\nmetadata: {namespace: %s, name: %s}\nspec: {selector: {app: none}, ports: [{port: 8000}]}\n", namespace, deployment))
	}, "logistic")
	c.promote("champion", "1")
	empty := c.namespace + "-new"
	target := "kubernetes://" + empty + "/flowers"
	yaml := fmt.Sprintf("models:\n  - model: %s\n    image: %s\n    environments: [{name: production, target: %q, requests: {cpu: 10m, memory: 32Mi}}]\n", c.champion(), c.image, target)
	if err := os.WriteFile(filepath.Join(c.home, "slipway.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = c.env[:1] // KUBECONFIG: all else is in the file
	t.Cleanup(func() {
		_, _, _ = c.cluster.TryKubectl(t, "", "delete", "namespace", empty, "--wait=false", "--ignore-not-found")
	})
	got := c.refused(1, []string{"flowers", empty, "--create"}, "deploy")
	if strings.Contains(got.stderr, "Docker image built") {
		t.Errorf("it is said only after everything was built\n%s", got)
	}
	if out := c.outcome(0, "deploy", "--create"); out.Kind != "live" {
		t.Fatalf("%+v", out)
	}
	kinds := c.cluster.Kubectl(t, "-n", empty, "get", "deployment,service,hpa,pdb,networkpolicy,role,serviceaccount", "-o", "name")
	for _, want := range []string{"deployment.apps/flowers", "service/flowers", "horizontalpodautoscaler.autoscaling/flowers", "role.rbac.authorization.k8s.io/slipway"} {
		if !strings.Contains(kinds, want) {
			t.Errorf("%s is missing in\n%s", want, kinds)
		}
	}
	c.address = strings.TrimSpace(c.cluster.Kubectl(t, "-n", empty, "get", "service", "flowers", "-o", "jsonpath={.spec.clusterIP}")) + ":8000"
	c.comesToAnswer("1", "logistic")
}
