//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway/e2e"
)

// rule is a rule of a Role.
type rule struct {
	APIGroups     []string `json:"apiGroups"`
	Resources     []string `json:"resources"`
	ResourceNames []string `json:"resourceNames,omitempty"`
	Verbs         []string `json:"verbs"`
}

// right is one verb on one resource, and all rules but it.
type right struct {
	verb, resource string // as kubectl names it: deployments.apps
	named          bool   // for an object of a certain name
	others         []rule
}

func (r right) String() string {
	if r.named {
		return r.verb + " a certain one of " + r.resource
	}
	return r.verb + " " + r.resource
}

// rightsOf takes the rules apart.
func rightsOf(rules []rule) []right {
	var all []rule
	for _, r := range rules {
		for _, group := range r.APIGroups {
			for _, resource := range r.Resources {
				for _, verb := range r.Verbs {
					all = append(all, rule{[]string{group}, []string{resource}, r.ResourceNames, []string{verb}})
				}
			}
		}
	}
	var rights []right
	for i, r := range all {
		name := r.Resources[0]
		if group := r.APIGroups[0]; group != "" {
			name += "." + group
		}
		others := slices.Delete(slices.Clone(all), i, i+1)
		rights = append(rights, right{r.Verbs[0], name, len(r.ResourceNames) > 0, others})
	}
	return rights
}

// roleOf returns the rules of the manifest's Role.
func roleOf(t testing.TB, cluster *e2e.KubeCluster) []rule {
	t.Helper()
	data, err := json.Marshal(objects(t, cluster, "-f", manifestFile)["Role slipway"]["rules"])
	if err != nil {
		t.Fatal(err)
	}
	var rules []rule
	if err := json.Unmarshal(data, &rules); err != nil || len(rules) == 0 {
		t.Fatalf("the manifest's Role: %v in %s", err, data)
	}
	return rules
}

// Everything that slipway does to a Deployment, it does with the rights of the
// manifest's Role alone, from a kubeconfig made as the documentation says.
func TestE2EEverythingUnderTheRole(t *testing.T) {
	t.Parallel()
	c := clusteredBy(t, func(c *e2e.KubeCluster, namespace string) { c.Apply(t, rendered(t, c, namespace)) }, "odds", "forest")
	c.env = append(c.env, "KUBECONFIG="+kubeconfigOf(t, c.cluster, c.namespace))
	c.mayNot("get", "secrets")
	c.mayNot("delete", "deployments.apps/"+deployment)
	c.mayNot("patch", "deployments.apps/another")

	c.promote("champion", "1")
	c.want(0, nil, "plan", c.champion())
	c.ends(0, "live", "deploy", c.champion())
	c.ends(0, "nothing-to-do", "deploy", c.champion())
	c.promote("champion", "2")
	for _, step := range [][]string{{"extract", c.champion()}, {"validate"}, {"build"}, {"push"}, {"rollout"}, {"verify"}} {
		c.want(0, nil, step...)
	}
	c.answersLike("2", "forest")
	c.want(0, []string{string(c.model) + " 2"}, "status", c.target())
	c.want(0, []string{string(c.model) + " 1", string(c.model) + " 2"}, "history", c.target())
	c.want(0, []string{"it was verified and became live"}, "explain", c.target())
	c.ends(0, "live", "rollback", c.target())
	c.answersLike("1", "odds")
	c.want(0, nil, "hold", c.target())
	c.ends(0, "held", "deploy", c.champion())
	c.want(0, nil, "resume", c.target())
	c.ends(0, "quarantined", "deploy", c.champion())
	c.ends(3, "rolled-back", "deploy", c.champion(), "--retry", "--server", wrongServer(t, "miscalculates"))
	c.want(0, []string{"golden prediction"}, "explain", c.target())
	c.ends(0, "nothing-to-do", "recover", c.target())
	c.answersLike("1", "odds")
}

// mayNot checks with the world's kubeconfig that it does not give a right.
func (c *clustered) mayNot(verb, resource string) {
	c.t.Helper()
	config := strings.TrimPrefix(c.env[len(c.env)-1], "KUBECONFIG=")
	stdout, stderr, err := c.cluster.TryKubectl(c.t, "", "--kubeconfig", config, "-n", c.namespace, "auth", "can-i", verb, resource)
	if strings.TrimSpace(stdout) != "no" {
		c.t.Errorf("kubectl auth can-i %s %s: %q %v\n%s", verb, resource, stdout, err, stderr)
	}
}

// ends runs slipway and wants its end.
func (c *clustered) ends(code int, kind string, args ...string) {
	c.t.Helper()
	if got := c.outcome(code, args...); got.Kind != kind {
		c.t.Errorf("slipway %v: %s, want %s: %s", args, got.Kind, kind, got.Message)
	}
}

// Every right of the manifest's Role is needed, and each that is missing is
// named with what it is for and the command that gives it: by the error that
// ends the release, or by a note where only the explanation is poorer.
func TestE2EEveryRightIsNeededAndNamed(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	home := cluster.Namespace(t) // of the ServiceAccount, which has no right here
	cluster.Kubectl(t, "-n", home, "create", "serviceaccount", "slipway")
	config := kubeconfigOf(t, cluster, home)
	rules := roleOf(t, cluster)
	cases := append([]right{{verb: "nothing is missing", others: rules}}, rightsOf(rules)...)
	for i, missing := range cases {
		t.Run(missing.String(), func(t *testing.T) {
			t.Parallel()
			namespace := cluster.Namespace(t)
			cluster.Place(t, namespace, deployment, 1)
			grant(t, cluster, namespace, home, missing.others)
			images := e2e.ImageRegistry(t)
			w := &world{t: t, program: slipwayProgram(t), home: t.TempDir(), images: images, bare: true}
			w.env = []string{"KUBECONFIG=" + config, "SLIPWAY_IMAGE=" + images + "/" + namespace + "/iris", "SLIPWAY_TO=kubernetes://" + namespace + "/" + deployment}
			got := w.run("deploy", demoModel(t, 1), "--name", "iris", "--replicas", "1")
			if i == 0 {
				if got.code != 0 || strings.Contains(got.stderr, "the right to") {
					t.Errorf("the whole Role is not enough\n%s", got)
				}
				return
			}
			if !strings.Contains(got.stderr, "the right to") { // it is for explaining what goes wrong
				got = w.run("deploy", demoModel(t, 2), "--name", "iris", "--server", wrongServer(t, "dies"))
			}
			checkNamed(t, missing, namespace, got)
		})
	}
}

func checkNamed(t testing.TB, missing right, namespace string, got ran) {
	t.Helper()
	t.Logf("exit code %d: %s", got.code, got.stderr)
	named := fmt.Sprintf("the right to %s %s in the namespace %s is missing", missing.verb, missing.resource, namespace)
	if !strings.Contains(got.stderr, named) {
		t.Errorf("want %q said; or nothing needs this right\n%s", named, got)
	}
	if !strings.Contains(got.stderr, "makes the Role slipway") || !strings.Contains(got.stderr, "kubectl create rolebinding slipway-ci --role=slipway ") {
		t.Errorf("no command that gives it\n%s", got)
	}
}

// grant gives the ServiceAccount slipway of the namespace home the rules, and
// waits until the API server's authorizer, which follows by itself, knows them.
func grant(t testing.TB, cluster *e2e.KubeCluster, namespace, home string, rules []rule) {
	t.Helper()
	data, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	cluster.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {namespace: %[1]s, name: slipway}
rules: %[3]s
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {namespace: %[1]s, name: slipway}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: slipway}
subjects: [{kind: ServiceAccount, namespace: %[2]s, name: slipway}]
`, namespace, home, data))
	first := rules[0]
	object := first.Resources[0] + "." + first.APIGroups[0] + "/" + first.ResourceNames[0]
	for {
		stdout, stderr, err := cluster.TryKubectl(t, "", "-n", namespace, "--as", "system:serviceaccount:"+home+":slipway", "auth", "can-i", first.Verbs[0], object)
		switch strings.TrimSpace(stdout) {
		case "yes":
			return
		case "no":
			time.Sleep(100 * time.Millisecond)
		default:
			t.Fatalf("kubectl auth can-i: %v\n%s%s", err, stderr, stdout)
		}
	}
}

// kubeconfigOf returns the path of a kubeconfig of the ServiceAccount slipway,
// made as docs/kubernetes.md says.
func kubeconfigOf(t testing.TB, cluster *e2e.KubeCluster, namespace string) string {
	t.Helper()
	dir := t.TempDir()
	for _, block := range commandsOf(t, "../docs/kubernetes.md") {
		if strings.Contains(block, "kubectl create token") {
			runCommands(t, cluster, dir, strings.ReplaceAll(block, "production", namespace), nil)
		}
	}
	return filepath.Join(dir, "slipway.kubeconfig")
}
