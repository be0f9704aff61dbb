//go:build e2e

package kube_test

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-dev/slipway"
	"github.com/slipway-dev/slipway/e2e"
	"github.com/slipway-dev/slipway/rollout"
)

// `kubectl rollout undo` while nothing is on its way: the next run takes note,
// restarts nothing, quarantines what was taken back and does not put it there
// again. Whoever asks for it gets it.
func TestE2EKubectlRolloutUndo(t *testing.T) {
	t.Parallel()
	cluster := e2e.Cluster(t)
	s := newScene(t, cluster)
	for i, v := range []int{1, 2} {
		if o := s.deploy(again(makeImages(t)[v], slipway.ReleaseID("01RELEASE"+string(rune('A'+i))))); o.Kind != rollout.Live {
			t.Fatalf("%s: %s", o.Kind, o.Message)
		}
	}
	s.kubectl("rollout", "undo", "deployment/iris")
	s.awaitSettled(makeImages(t)[1].Image.Digest)
	pods := s.readyPods()
	for range 2 {
		o := s.deploy(again(makeImages(t)[2], "01RELEASEC"))
		if o.Kind != rollout.Quarantined || !strings.Contains(o.Message, "kubectl rollout undo") {
			t.Errorf("%s: %s", o.Kind, o.Message)
		}
	}
	if now := s.readyPods(); now != pods {
		t.Errorf("pods %s, before %s: some were restarted", now, pods)
	}
	s.wantInOrder(1)
	if o := s.deploy(again(makeImages(t)[1], "01RELEASED")); o.Kind != rollout.Nothing {
		t.Errorf("the one it was undone to: %s: %s", o.Kind, o.Message)
	}
	if history := s.kubectl("rollout", "history", "deployment/iris"); strings.Count(history, "iris 1") == 0 {
		t.Errorf("kubectl's history:\n%s", history)
	}
}

// awaitSettled waits until the target serves the image alone.
func (s *scene) awaitSettled(image slipway.Digest) {
	s.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(250 * time.Millisecond) { //nolint:forbidigo // nothing tells when the pods are gone
		o, err := s.target.Observe(s.t.Context())
		if err == nil && o.Settled(image) {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatalf("%v, %+v", err, o)
		}
	}
}

// readyPods returns the names of the pods that are not on their way out.
func (s *scene) readyPods() string {
	s.t.Helper()
	return s.kubectl("get", "pods", "-l", "app=iris", "--sort-by=.metadata.name",
		"-o", `go-template={{range .items}}{{if not .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}`)
}
