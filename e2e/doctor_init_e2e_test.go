//go:build e2e

package e2e_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/e2e/pipeline"
)

// What init writes passes the checks that this project's own files pass: those
// of GitHub, of Azure Pipelines, of the cluster, and doctor's.
func TestE2EInitWritesWhatOthersTake(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	images := e2e.ImageRegistry(t)
	w := &world{t: t, program: slipwayProgram(t), home: t.TempDir(), images: images, mlflow: e2e.MLflow(t), bare: true}
	w.env = []string{"KUBECONFIG=" + cluster.Kubeconfig}
	namespace := cluster.Namespace(t)
	r := register(w, "odds")
	r.promote("champion", "1")
	args := []string{"init", "--model", r.champion(), "--image", images + "/" + namespace + "/iris", "--to", "kubernetes://" + namespace + "/spam-filter", "--ci", "both"}
	w.want(0, []string{"kubectl apply -f k8s/deployment-" + namespace + ".yaml"}, args...)
	before := filesOf(t, w.home)
	w.want(0, []string{"Nothing to do"}, args...)
	if after := filesOf(t, w.home); !slices.Equal(after, before) {
		t.Errorf("the second time changes\n%q\nto\n%q", before, after)
	}
	checkWritten(t, w.home)
	if f := w.doctor(1)["manifest"]; f.Fix != "kubectl apply -f k8s/deployment-"+namespace+".yaml" {
		t.Errorf("before the manifest is applied: %+v", f)
	}
	cluster.Kubectl(t, "apply", "-f", filepath.Join(w.home, "k8s", "deployment-"+namespace+".yaml"))
	says(t, w.doctor(0), "manifest", "works", "Deployment, Service, HorizontalPodAutoscaler")
	w.env = append(w.env, "KUBECONFIG="+kubeconfigOf(t, cluster, namespace))
	says(t, w.doctor(0), "rights", "works", "all ")
}

func checkWritten(t *testing.T, dir string) {
	t.Helper()
	lintWorkflows(t, dir)
	expanded, err := pipeline.Expand(filepath.Join(dir, "azure-pipelines.yml"), map[string]string{"model": "next"})
	if err != nil || !strings.Contains(string(expanded), "git clone") || strings.Contains(string(expanded), `"make build"`) {
		t.Fatalf("the pipeline does not fetch slipway's source: %v\n%s", err, expanded)
	}
	if out, err := azureSchema(t, expanded); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// filesOf are the files below a folder with their times.
func filesOf(t testing.TB, dir string) []string {
	t.Helper()
	var all []string
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			all = append(all, name+" "+info.ModTime().String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
