//go:build e2e

package kube_test

import (
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/kube"
)

// Whoever else changes the Deployment, the release's fields are set, all
// others stay, and what only we had set goes with the release that set it.
func TestE2EOthersChangeTheDeploymentToo(t *testing.T) {
	t.Parallel()
	live := paper(1, func(r *slipway.Release) { r.Env = map[string]string{"LEVEL": "1"} })
	next := paper(2)
	goesOn := []string{"ZONE=manifest", "WHERE<-spec.nodeName", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=2"}
	tests := []struct {
		name   string
		meddle func(t *testing.T, f field)
		env    []string // after the next release; nil: goesOn
	}{
		{"the manifest again, client-side", func(t *testing.T, f field) { f.apply(t, fieldManifest) }, nil},
		{"the manifest again, server-side", func(t *testing.T, f field) { f.apply(t, fieldManifest, "--server-side", "--force-conflicts") }, nil},
		{"set image", func(t *testing.T, f field) { f.kubectl(t, "set", "image", "deployment/iris", "iris=x/y:1") }, nil},
		{"set image of another container", func(t *testing.T, f field) { f.kubectl(t, "set", "image", "deployment/iris", "sidecar=x/y:1") }, nil},
		{"set env of theirs", func(t *testing.T, f field) { f.kubectl(t, "set", "env", "deployment/iris", "-c", "iris", "THEIRS=1") },
			[]string{"ZONE=manifest", "WHERE<-spec.nodeName", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=2", "THEIRS=1"}},
		{"set env of ours", func(t *testing.T, f field) {
			f.kubectl(t, "set", "env", "deployment/iris", "-c", "iris", "MODEL_NAME=x", "LEVEL=9")
		}, []string{"ZONE=manifest", "WHERE<-spec.nodeName", "LEVEL=9", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=2"}},
		{"set resources", func(t *testing.T, f field) {
			f.kubectl(t, "set", "resources", "deployment/iris", "-c", "iris", "--requests=cpu=30m")
		}, nil},
		{"restart", func(t *testing.T, f field) { f.kubectl(t, "rollout", "restart", "deployment/iris") }, nil},
		{"an edit", func(t *testing.T, f field) {
			f.kubectl(t, "patch", "deployment", "iris", "-p", `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}`)
		}, nil},
		{"a dump of it applied, client-side", func(t *testing.T, f field) { f.apply(t, f.dump(t)) }, nil},
		{"a dump of it applied, server-side", func(t *testing.T, f field) { f.apply(t, f.dump(t), "--server-side", "--force-conflicts") },
			[]string{"ZONE=manifest", "WHERE<-spec.nodeName", "LEVEL=1", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=2"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newField(t, fieldManifest)
			f.act(t, 1, live)
			tt.meddle(t, f)
			theirs := f.get(t)
			f.act(t, 2, next)
			got := f.get(t)
			if tt.env == nil {
				tt.env = goesOn
			}
			wantEnv(t, got, tt.env...)
			if image := got.container()["image"]; image != next.Image.Ref() {
				t.Errorf("image %v", image)
			}
			for _, d := range []deployment{theirs, got} {
				delete(d.container(), "image")
				delete(d.container(), "env")
			}
			if diff := cmp.Diff(theirs.Spec, got.Spec); diff != "" {
				t.Errorf("the rest of the Deployment (-theirs +after):\n%s", diff)
			}
			f.remove(t, 3)
			if a := f.get(t).Metadata.Annotations; a["slipway.dev/release"] != "" || a["slipway.dev/fence"] != "3" {
				t.Errorf("annotations after the removal: %v", a)
			}
		})
	}
}

// dump returns the Deployment as people save it, without what would make
// writing it a conflict.
func (f field) dump(t *testing.T) string {
	t.Helper()
	all := f.kubectl(t, "get", "deployment", "iris", "-o", "yaml")
	return regexp.MustCompile(`(?m)^  resourceVersion: .*\n`).ReplaceAllString(all, "")
}

// After `kubectl rollout undo` the fields are again those of a release, though
// somebody else wrote them: the next release takes away what it does not set.
func TestE2EAfterAnUndoByHand(t *testing.T) {
	t.Parallel()
	f := newField(t, fieldManifest)
	f.act(t, 1, paper(1, func(r *slipway.Release) {
		r.Env = map[string]string{"LEVEL": "1", "ZONE": "release"}
		r.SecretEnv = []string{"WHERE"}
		r.Requests = slipway.Requests{Memory: "64Mi"}
	}))
	f.awaitRevision(t, 2)
	first := f.get(t)
	f.act(t, 2, paper(2))
	f.awaitRevision(t, 3)
	second := f.get(t)
	f.kubectl(t, "rollout", "undo", "deployment/iris")
	undone := f.get(t)
	wantTemplate(t, first, undone)
	if a := undone.Metadata.Annotations; a["slipway.dev/release"] != "01PAPER001" || a["slipway.dev/fence"] != "1" {
		t.Fatalf("annotations of the undone Deployment: %v", a)
	}
	f.act(t, 3, paper(2))
	wantTemplate(t, second, f.get(t))
	f.kubectl(t, "rollout", "undo", "deployment/iris")
	f.act(t, 4, paper(1, func(r *slipway.Release) { r.Env = map[string]string{"OTHER": "2"} }))
	wantEnv(t, f.get(t), "ZONE=manifest", "WHERE<-spec.nodeName", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=1", "OTHER=2")
	f.act(t, 5, paper(3))
	wantEnv(t, f.get(t), "ZONE=manifest", "WHERE<-spec.nodeName", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=3")
}

// awaitRevision waits until the Deployment's controller has made a ReplicaSet
// of the template.
func (f field) awaitRevision(t *testing.T, n int) {
	t.Helper()
	f.kubectl(t, "wait", "deployment/iris", "--timeout=60s",
		fmt.Sprintf(`--for=jsonpath={.metadata.annotations.deployment\.kubernetes\.io/revision}=%d`, n))
}

// The whole template of a release is put back from its ReplicaSet, whatever
// others changed since.
func TestE2ETheWholeTemplateComesBack(t *testing.T) {
	t.Parallel()
	f := newField(t, fieldManifest)
	one := paper(1, func(r *slipway.Release) { r.Env = map[string]string{"LEVEL": "1"} })
	f.act(t, 1, one)
	f.awaitRevision(t, 2)
	first := f.get(t)
	f.kubectl(t, "set", "resources", "deployment/iris", "-c", "iris", "--limits=memory=2Gi")
	f.kubectl(t, "set", "env", "deployment/iris", "-c", "iris", "THEIRS=1")
	f.awaitRevision(t, 4)
	f.act(t, 2, paper(2))
	f.awaitRevision(t, 5)
	back := one
	back.ID, back.WholeTemplate = "01PAPER001B", true
	f.act(t, 3, back)
	got := f.get(t)
	wantTemplate(t, first, got)
	if a := got.Metadata.Annotations; a["slipway.dev/release"] != "01PAPER001B" || a["slipway.dev/fence"] != "3" {
		t.Errorf("annotations: %v", a)
	}
	f.act(t, 3, back)
	if again := f.get(t); again.Metadata.Generation != got.Metadata.Generation {
		t.Error("the same again wrote another generation")
	}
	f.act(t, 4, paper(3))
	wantEnv(t, f.get(t), "ZONE=manifest", "WHERE<-spec.nodeName", "MODEL_NAME=iris $$(HOME) é", "MODEL_VERSION=3")
	gone := paper(9, func(r *slipway.Release) { r.WholeTemplate = true })
	f.refuses(t, slipway.Action{Kind: slipway.Apply, Fence: 4, Release: gone}, slipway.Invalid, "no ReplicaSet", "--whole-template")
}

// refuses checks that the action is refused for a reason and a hint, and that
// nothing has changed.
func (f field) refuses(t *testing.T, a slipway.Action, code slipway.Code, says, hint string) {
	t.Helper()
	before := f.get(t)
	err := f.Act(t.Context(), a)
	if slipway.CodeOf(err) != code || !strings.Contains(fmt.Sprint(err), says) || !strings.Contains(slipway.HintOf(err), hint) {
		t.Errorf("%q: %v (%s); want %q, %q (%q)", slipway.CodeOf(err), err, slipway.HintOf(err), code, says, hint)
	}
	if diff := cmp.Diff(before, f.get(t)); diff != "" {
		t.Errorf("a refused action changed something (-before +after):\n%s", diff)
	}
}

// The number of replicas is the cluster's, unless the release asks for one and
// no autoscaler decides.
func TestE2EReplicas(t *testing.T) {
	t.Parallel()
	f := newField(t, fieldManifest)
	for i, step := range []struct{ ask, want int }{{0, 1}, {2, 2}, {0, 2}, {3, 3}} {
		f.act(t, 1, paper(i, func(r *slipway.Release) { r.Replicas = step.ask }))
		if got := f.get(t).Spec.Replicas; got != step.want {
			t.Errorf("asked for %d: %d replicas, want %d", step.ask, got, step.want)
		}
	}
	f.kubectl(t, "scale", "deployment/iris", "--replicas=1")
	f.act(t, 1, paper(5))
	if got := f.get(t).Spec.Replicas; got != 1 {
		t.Errorf("%d replicas after somebody scaled to 1", got)
	}
	f.kubectl(t, "autoscale", "deployment", "iris", "--min=1", "--max=2", "--cpu-percent=70")
	r := paper(6, func(r *slipway.Release) { r.Replicas = 2 })
	f.refuses(t, slipway.Action{Kind: slipway.Apply, Fence: 1, Release: r}, slipway.Invalid, "HorizontalPodAutoscaler iris", "kubectl edit hpa iris")
}

// Without a Deployment, with several containers and with a fence that somebody
// put lower, an action says what is wrong.
func TestE2EActSaysWhatIsMissing(t *testing.T) {
	t.Parallel()
	f := newField(t, strings.Replace(fieldManifest, "- name: iris\n", "- name: main\n", 1))
	a := slipway.Action{Kind: slipway.Apply, Fence: 7, Release: paper(1)}
	f.refuses(t, a, slipway.Invalid, "several containers: main, sidecar", "?container=NAME")
	f.kubectl(t, "delete", "deployment", "iris")
	err := f.Act(t.Context(), a)
	if slipway.CodeOf(err) != slipway.NotFound || !strings.Contains(slipway.HintOf(err), "--create") {
		t.Errorf("%q: %v (%s)", slipway.CodeOf(err), err, slipway.HintOf(err))
	}
	f.apply(t, fieldManifest)
	f.awaitRevision(t, 1)
	lock, err := f.Journal().Lock(t.Context(), slipway.Claim{Holder: "ada"})
	must(t, err)
	f.refuses(t, slipway.Action{Kind: slipway.Apply, Fence: lock.Fence() - 1, Release: paper(1)}, slipway.Conflict, "newer release", "")
	f.refuses(t, slipway.Action{Kind: slipway.Apply, Fence: lock.Fence(), Release: paper(1, func(r *slipway.Release) { r.Requests.Memory = "2Gi" })},
		slipway.Invalid, "must be less than or equal to memory limit", "")
	f.act(t, lock.Fence(), paper(1))
	must(t, lock.Unlock(t.Context()))
	f.kubectl(t, "annotate", "deployment", "iris", "slipway.dev/found={}", "--overwrite")
	f.refuses(t, slipway.Action{Kind: slipway.Remove, Fence: lock.Fence()}, slipway.Invalid, "not known any more", "kubectl apply -f")
}

// Whatever happens to the Deployment between the moment it is read and the
// moment it is written, what was decided for another Deployment is not written.
func TestE2EWritesAreForTheDeploymentThatWasRead(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		meddle func(t *testing.T, f field)
		want   slipway.Code
	}{
		{"it is changed", func(t *testing.T, f field) { f.kubectl(t, "scale", "deployment/iris", "--replicas=2") }, ""},
		{"a newer run takes it", func(t *testing.T, f field) {
			f.kubectl(t, "annotate", "deployment", "iris", "slipway.dev/fence=9", "--overwrite")
		}, slipway.Conflict},
		{"it is paused", func(t *testing.T, f field) { f.kubectl(t, "rollout", "pause", "deployment/iris") }, slipway.Invalid},
		{"it is deleted", func(t *testing.T, f field) { f.kubectl(t, "delete", "deployment", "iris") }, slipway.NotFound},
		{"it is deleted and made again", func(t *testing.T, f field) {
			f.kubectl(t, "delete", "deployment", "iris")
			f.apply(t, fieldManifest)
		}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newField(t, fieldManifest)
			var once sync.Once
			config := restConfig(t, f.cluster)
			config.Wrap(func(next http.RoundTripper) http.RoundTripper {
				return roundTrip(func(req *http.Request) (*http.Response, error) {
					if req.Method == http.MethodPatch {
						once.Do(func() { tt.meddle(t, f) })
					}
					return next.RoundTrip(req)
				})
			})
			target, err := kube.New(kube.Config{
				Ref:    slipway.TargetRef{Scheme: "kubernetes", Namespace: f.namespace, Name: "iris"},
				Getenv: os.Getenv, Rest: config,
			})
			must(t, err)
			err = target.Act(t.Context(), slipway.Action{Kind: slipway.Apply, Fence: 5, Release: paper(1)})
			if got := slipway.CodeOf(err); got != tt.want {
				t.Fatalf("%q: %v; want %q", got, err, tt.want)
			}
			if tt.want == slipway.NotFound {
				if err := f.Find(t.Context()); slipway.CodeOf(err) != slipway.NotFound {
					t.Errorf("the Deployment is back: %v", err)
				}
				return
			}
			image := f.get(t).container()["image"]
			if is := image == paper(1).Image.Ref(); is != (tt.want == "") {
				t.Errorf("image %v", image)
			}
		})
	}
}
