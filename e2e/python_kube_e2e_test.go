//go:build e2e

package e2e_test

import (
	"strings"
	"testing"
)

// A model that only Python can serve becomes live in a cluster, as user 65532
// with a read-only root, and one that answers otherwise there than where it was
// built never receives a request.
func TestE2EPythonInACluster(t *testing.T) {
	t.Parallel()
	c := newClustered(t, 2)
	c.usePython()
	c.kubectl("patch", "deployment", deployment, "--type=json", "-p", `[{"op": "add", "path": "/spec/template/spec/containers/0/securityContext",
		"value": {"runAsNonRoot": true, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]`)
	dir, m := saved(t, "svc")
	first := c.outcome(0, "deploy", dir, "--name", "iris")
	if first.Kind != "live" || first.Release.Engine != "python" || !strings.HasPrefix(first.Release.GoldenBy, "scikit-learn") {
		t.Fatalf("%+v", first)
	}
	c.answers(m)
	digest := string(first.Release.Image.Digest)
	c.consistent(digest, 2)
	wrong := written(t, doubling(`import os
return model_input["x"].to_numpy() + ("KUBERNETES_SERVICE_HOST" in os.environ)`))
	got := c.want(3, []string{"golden prediction"}, "deploy", wrong, "--name", "iris")
	if !strings.Contains(got.stderr, "rolled back") && !strings.Contains(got.stderr, "rollback") {
		t.Errorf("%s", got)
	}
	c.consistent(digest, 2)
	c.answers(m)
}
