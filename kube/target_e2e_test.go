//go:build e2e

package kube_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/examples"
	"github.com/slipway-dev/slipway/mlmodel"
	"github.com/slipway-dev/slipway/oci"
	"github.com/slipway-dev/slipway/pack"
	"github.com/slipway-dev/slipway/serving"
	"github.com/slipway-dev/slipway/serving/sklearn"
	"github.com/slipway-dev/slipway/slipwaytest"
)

func TestE2ETarget(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	images := makeImages(t)
	slipwaytest.Target(t, func(t *testing.T) slipwaytest.TargetFixture {
		namespace := cluster.Namespace(t)
		cluster.Place(t, namespace, "iris", 2)
		awaitPlaced(t, cluster, namespace)
		return slipwaytest.TargetFixture{
			Target:   newTarget(t, cluster, namespace, "iris", nil),
			Other:    newTarget(t, cluster, namespace, "iris", nil),
			Good:     func(n int) slipway.Release { return images[n] },
			Bad:      func() slipway.Release { return images[0] },
			Patience: 2 * time.Minute,
			Poll:     100 * time.Millisecond, // one look is five questions to an API server that others ask, too
			Restart: func(t *testing.T) { // what runs a Deployment is its pods
				cluster.Kubectl(t, "-n", namespace, "delete", "pods", "-l", "app=iris", "--force", "--grace-period=0", "--wait=false")
			},
		}
	})
}

// A first release that fails gives the Deployment back to what served there
// before, whose pods never stop.
func TestE2EWhatServedBeforeIsPutBack(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	images := makeImages(t)
	namespace := cluster.Namespace(t)
	cluster.Place(t, namespace, "iris", 2)
	cluster.Kubectl(t, "-n", namespace, "set", "image", "deployment/iris", "iris="+images[1].Image.Ref())
	cluster.Kubectl(t, "-n", namespace, "rollout", "status", "deployment/iris", "--timeout=120s")
	target := newTarget(t, cluster, namespace, "iris", nil)
	before := await(t, target, func(o slipway.Observation) bool { return len(o.Replicas) == 2 && o.Settled(images[1].Image.Digest) })
	for _, release := range []slipway.Release{images[0], images[2]} {
		must(t, target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 1, Release: release}))
		await(t, target, func(o slipway.Observation) bool {
			return slices.ContainsFunc(o.Replicas, func(r slipway.Replica) bool {
				return r.Image == release.Image.Digest && (r.State == slipway.Failed || r.Serving)
			})
		})
		must(t, target.Act(t.Context(), slipway.Action{Kind: slipway.Remove, Fence: 1}))
		after := await(t, target, func(o slipway.Observation) bool { return len(o.Replicas) == 2 && o.Settled(images[1].Image.Digest) })
		if after.Release != "" || after.Desired != before.Desired {
			t.Errorf("set to %s of %q", after.Desired.Short(), after.Release)
		}
		if release.ID == images[0].ID && !slices.EqualFunc(before.Replicas, after.Replicas, func(a, b slipway.Replica) bool { return a.Name == b.Name }) {
			t.Errorf("the pods were %v, and are %v", before.Replicas, after.Replicas)
		}
	}
}

// await observes until it is done; something always serves.
func await(t *testing.T, target slipway.Target, done func(slipway.Observation) bool) slipway.Observation {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(2 * time.Minute); ; <-tick.C {
		o, err := target.Observe(t.Context())
		must(t, err)
		if !slices.ContainsFunc(o.Replicas, func(r slipway.Replica) bool { return r.Serving }) {
			t.Fatalf("nothing serves: %+v", o)
		}
		if done(o) {
			return o
		}
		if time.Now().After(end) {
			t.Fatalf("not there: %+v", o)
		}
	}
}

// awaitPlaced waits until the Deployment's controller has seen it.
func awaitPlaced(t *testing.T, cluster *e2e.KubeCluster, namespace string) {
	t.Helper()
	cluster.Kubectl(t, "-n", namespace, "wait", "deployment/iris", "--for=jsonpath={.status.updatedReplicas}=2", "--timeout=60s")
}

// made are the images of this test binary, pushed once.
var made struct {
	sync.Mutex
	releases []slipway.Release
}

// makeImages returns releases of the demo's models with the real model server,
// in an image registry that the cluster pulls from: 0 does not give its golden
// predictions, 1 and 2 do.
func makeImages(t *testing.T) []slipway.Release {
	t.Helper()
	made.Lock()
	defer made.Unlock()
	if made.releases == nil {
		registry, dir := e2e.ImageRegistry(t), t.TempDir()
		server := filepath.Join(dir, "modelserver")
		build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", server, "../cmd/modelserver")
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		for n := range 3 {
			made.releases = append(made.releases, pushed(t, registry, server, filepath.Join(dir, fmt.Sprint(n)), n))
		}
	}
	return made.releases
}

func pushed(t *testing.T, registry, server, dir string, n int) slipway.Release {
	t.Helper()
	r := slipway.Release{
		SchemaVersion: slipway.RecordSchema,
		ID:            slipway.ReleaseID(fmt.Sprintf("01RELEASE%d", n)),
		Model:         slipway.ModelVersion{Name: "iris", Version: slipway.Version(fmt.Sprint(n)), Flavor: "sklearn"},
		Strategy:      slipway.Rolling(),
		Golden:        slipway.SelfChecked,
		Actor:         "ada",
		Reason:        "@champion points at it",
	}
	source, err := fs.Sub(examples.Models, fmt.Sprintf("demo/models/iris-%d", max(n, 1)))
	must(t, err)
	must(t, os.CopyFS(dir, source))
	golden := goldenOf(t, dir)
	if n == 0 {
		golden.Predictions[1].Answer = json.RawMessage(`["dahlia"]`)
	}
	image, err := pack.Image(t.Context(), pack.Config{
		ModelDir: dir, Server: server, Golden: golden,
		Manifest: mlmodel.Manifest{SchemaVersion: slipway.RecordSchema, Model: r.Model, Engine: "sklearn", Golden: golden.Source},
	})
	must(t, err)
	done, err := oci.New(oci.Config{}).Push(t.Context(), registry+"/"+strings.ToLower(t.Name())+"/iris", image, nil, nil)
	must(t, err)
	r.Image = done.Image
	return r
}

func goldenOf(t *testing.T, dir string) mlmodel.Golden {
	t.Helper()
	model, err := mlmodel.Open(dir)
	must(t, err)
	predictor, err := sklearn.New().Load(t.Context(), model)
	must(t, err)
	golden, err := serving.MakeGolden(t.Context(), model, predictor, nil)
	must(t, err)
	return golden
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
