package kube

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-dev/slipway"
)

// How long is waited for what may heal. All is counted from times that the
// cluster wrote down, so that any process comes to the same end.
const (
	// Somebody may be creating the missing object at this moment. After it,
	// what cannot heal by itself is final: less than 5 s, the kubelet's and
	// the scheduler's words included.
	graceForOthers = 3 * time.Second

	// The kubelet asks an image registry again after 10, 20, 40 and 80 s.
	pullLimit = 3 * time.Minute

	// Addresses and certificates heal while somebody works on them, or not.
	addressLimit = time.Minute

	// Room, volumes and networks come when other pods leave or an autoscaler
	// notices: it looks every 10 s. Once it has ordered a node, that takes
	// minutes.
	roomLimit = time.Minute
	nodeLimit = 5 * time.Minute

	// A container that ran for so long starts with a clean slate.
	steadyAfter = time.Minute
)

// The kinds of problems that are found in a cluster, beside those that all
// targets share: crashed, golden-differs, never-ready.
const (
	kindNotFound     = "image-not-found"
	kindRefused      = "pull-refused"
	kindPlatform     = "no-platform"
	kindBadImage     = "bad-image-name"
	kindPull         = "pull-fails" // the image registry is not well
	kindCannotStart  = "cannot-start"
	kindCrashed      = "crashed"
	kindMemory       = "oom-killed"
	kindNeverReady   = "never-ready"
	kindNotReady     = "not-ready" // yet, or any more
	kindUnhealthy    = "unhealthy" // killed for its liveness probe
	kindConfig       = "config-missing"
	kindVolume       = "volume"
	kindSandbox      = "no-sandbox"
	kindNoRoom       = "no-room"
	kindNoNode       = "no-node" // that the pod may run on
	kindGated        = "gated"
	kindNodeLost     = "node-lost"
	kindEvicted      = "evicted"
	kindQuota        = "quota"
	kindAdmission    = "admission"
	kindCannotCreate = "cannot-create"
	kindPaused       = "paused"
	kindDeleted      = "deleted"
)

// patient is one pod that is being looked at.
type patient struct {
	*snapshot
	pod     corev1.Pod
	now     time.Time
	startup time.Duration // of its own start-up probe; 0: none
	events  []corev1.Event
}

// problemOf is why the pod failed or waits; nil: nothing is wrong with it.
func (s *snapshot) problemOf(p corev1.Pod, now time.Time) *slipway.Problem {
	if p.DeletionTimestamp != nil || isOver(p) {
		return nil
	}
	x := patient{snapshot: s, pod: p, now: now, events: s.eventsOf(p.UID)}
	if c := modelContainer(p.Spec, s.name, s.container); c != nil {
		x.startup = probeLimit(c.StartupProbe)
	}
	return worst(x.scheduling(), x.containers(), x.preparing(), x.readiness())
}

// worst returns the first problem that stays, else the first.
func worst(problems ...*slipway.Problem) *slipway.Problem {
	problems = slices.DeleteFunc(problems, func(p *slipway.Problem) bool { return p == nil })
	if len(problems) == 0 {
		return nil
	}
	if i := slices.IndexFunc(problems, func(p *slipway.Problem) bool { return !p.Heals }); i >= 0 {
		return problems[i]
	}
	return problems[0]
}

// until makes a problem heal until then. When that is over it stays, and says
// so.
func until(p slipway.Problem, then, now time.Time) *slipway.Problem {
	if p.Heals = now.Before(then); p.Heals {
		p.HealBy = then.UTC()
	}
	return &p
}

// heals makes a problem that lasts as long as the release may.
func heals(p slipway.Problem) *slipway.Problem {
	p.Heals = true
	return &p
}

// eventsOf returns the object's events, the newest last.
func (s *snapshot) eventsOf(uid types.UID) []corev1.Event {
	var found []corev1.Event
	for _, e := range s.events {
		if e.InvolvedObject.UID == uid {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b corev1.Event) int {
		return cmp.Or(lastSeen(a).Compare(lastSeen(b)), strings.Compare(a.Name, b.Name))
	})
	return found
}

func lastSeen(e corev1.Event) time.Time {
	switch {
	case e.Series != nil && !e.Series.LastObservedTime.IsZero():
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	}
	return e.EventTime.Time
}

func firstSeen(e corev1.Event) time.Time {
	if !e.FirstTimestamp.IsZero() {
		return e.FirstTimestamp.Time
	}
	return e.EventTime.Time
}

// latest returns the newest event that fits; nil: there is none.
func latest(events []corev1.Event, fits func(corev1.Event) bool) *corev1.Event {
	for i := len(events) - 1; i >= 0; i-- {
		if fits(events[i]) {
			return &events[i]
		}
	}
	return nil
}

func because(reason string) func(corev1.Event) bool {
	return func(e corev1.Event) bool { return e.Reason == reason }
}

// concerns reports whether the event is about the container.
func concerns(e corev1.Event, container string) bool {
	return strings.HasSuffix(e.InvolvedObject.FieldPath, "ontainers{"+container+"}")
}

// quoteEvent is an event as evidence.
func quoteEvent(e *corev1.Event) string {
	if e == nil {
		return ""
	}
	return printable(e.Reason, 100) + ": " + printable(e.Message, maxText)
}

// kubectl is a command in the Deployment's namespace.
func (s *snapshot) kubectl(format string, args ...any) string {
	return "kubectl -n " + s.deployment.Namespace + " " + fmt.Sprintf(format, args...)
}

// unwell returns the pods whose events may tell what they do not tell
// themselves: those of the present ReplicaSet first.
func (s *snapshot) unwell(now time.Time) []types.UID {
	current := s.current()
	var first, then []types.UID
	for _, p := range s.pods {
		switch {
		case !isUnwell(p, now):
		case current != nil && isOf(p, current.UID):
			first = append(first, p.UID)
		default:
			then = append(then, p.UID)
		}
	}
	return append(first, then...)
}

func isOf(p corev1.Pod, set types.UID) bool {
	return slices.ContainsFunc(p.OwnerReferences, func(o metav1.OwnerReference) bool { return o.UID == set })
}

// calm is how long a pod may take for what usually takes less, before its
// events are read.
const calm = time.Second

func isUnwell(p corev1.Pod, now time.Time) bool {
	if p.DeletionTimestamp != nil || isOver(p) {
		return false
	}
	if condition(p, corev1.PodScheduled).Status == corev1.ConditionFalse {
		return true
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch w, r := c.State.Waiting, c.State.Running; {
		case w != nil && isRoutine(w.Reason) && now.Sub(p.CreationTimestamp.Time) < 2*calm:
		case w != nil && isPull(w.Reason) && pullCause(w.Message) != "":
		case w != nil, c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			return true
		case r != nil && !c.Ready && now.Sub(r.StartedAt.Time) > 3*calm, r != nil && isRecent(c, now):
			return true
		}
	}
	return false
}

// isRecent reports whether the container was started again not long ago.
func isRecent(c corev1.ContainerStatus, now time.Time) bool {
	t := c.LastTerminationState.Terminated
	return t != nil && now.Sub(t.FinishedAt.Time) < steadyAfter
}

// isRoutine reports whether a container waits for what every container waits
// for.
func isRoutine(reason string) bool {
	return reason == "" || reason == "ContainerCreating" || reason == "PodInitializing"
}
