package kube

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-dev/slipway"
)

// Reasons of the scheduler (pkg/scheduler/framework/plugins) that go away when
// other pods leave, a node recovers or another one comes. All others are about
// what a node is.
var roomWords = regexp.MustCompile(`^\d+ (Insufficient |Too many pods|node\(s\) (didn't have free ports|exceed max volume count|were unschedulable|didn't (match|satisfy) (existing )?pods? (anti-affinity|topology spread)|` +
	`had untolerated taint\(?s?\)? ?\{(node\.kubernetes\.io/|node\.cloudprovider\.kubernetes\.io/|ToBeDeleted|DeletionCandidate)))|no nodes available`)

// scheduling is why the pod has no node.
func (x patient) scheduling() *slipway.Problem {
	c := condition(x.pod, corev1.PodScheduled)
	if c.Status != corev1.ConditionFalse {
		return nil
	}
	since := c.LastTransitionTime.Time
	p := slipway.Problem{Evidence: printable(c.Message, maxText), Hint: x.kubectl("describe pod %s", x.pod.Name)}
	why := reasons(c.Message)
	switch {
	case c.Reason == corev1.PodReasonSchedulingGated:
		p.Kind, p.Message = kindGated, x.pod.Name+" waits until somebody takes its scheduling gates away"
		return until(p, since.Add(nodeLimit), x.now)
	case strings.Contains(c.Message, "ersistentvolumeclaim") || strings.Contains(c.Message, "ersistentVolumeClaim"):
		return x.claim(p, since, c.Message)
	case hasRoom(why):
		return x.noRoom(p, since, why)
	}
	return x.noNode(p, since, why)
}

// maxReasons is how many of the scheduler's reasons are told.
const maxReasons = 5

// reasons takes apart "0/3 nodes are available: 1 Insufficient cpu, 2 node(s)
// didn't match Pod's node affinity/selector. preemption: …".
func reasons(message string) []string {
	_, text, found := strings.Cut(message, "nodes are available: ")
	if !found {
		return []string{printable(message, 200)}
	}
	for _, end := range []string{" preemption: ", " no new claims "} {
		text, _, _ = strings.Cut(text, end)
	}
	var all []string
	for _, reason := range strings.SplitN(strings.TrimRight(text, " .,"), ", ", maxReasons) {
		all = append(all, printable(reason, 200))
	}
	return all
}

func hasRoom(why []string) bool { return slices.ContainsFunc(why, roomWords.MatchString) }

// claim is that the pod's volume is not there.
func (x patient) claim(p slipway.Problem, since time.Time, message string) *slipway.Problem {
	p.Kind, p.Hint = kindVolume, x.kubectl("get persistentvolumeclaims")
	if strings.Contains(message, "not found") && !strings.Contains(message, "unbound") {
		p.Message = x.pod.Name + " needs a volume that nobody has claimed"
		return until(p, since.Add(graceForOthers), x.now)
	}
	p.Message = x.pod.Name + " waits for a volume"
	return until(p, since.Add(roomLimit), x.now)
}

// noNode is that the pod may run on no node there is. A node that an
// autoscaler has ordered for it may be another.
func (x patient) noNode(p slipway.Problem, since time.Time, why []string) *slipway.Problem {
	p.Kind, p.Message = kindNoNode, fmt.Sprintf("%s may run on no node: %s", x.pod.Name, strings.Join(why, ", "))
	p.Hint = "kubectl get nodes --show-labels; " + x.kubectl("get deployment %s -o yaml shows its nodeSelector, affinity and tolerations", x.name)
	if e, ordered := x.autoscaler(); ordered {
		p.Evidence = quoteEvent(e)
		return until(p, lastSeen(*e).Add(nodeLimit), x.now)
	}
	return until(p, since.Add(graceForOthers), x.now)
}

// noRoom is that the pod does not fit at present. While pods of its kind come
// or old ones go, that is the usual course of a rollout.
func (x patient) noRoom(p slipway.Problem, since time.Time, why []string) *slipway.Problem {
	p.Kind = kindNoRoom
	p.Message = fmt.Sprintf("no node has room for %s: %s", x.pod.Name, strings.Join(why, ", "))
	p.Hint = "kubectl describe nodes shows what they hold; ask for less with requests: in slipway.yaml, or add a node"
	progress, moving := x.progress(x.pod)
	if moving {
		p.Message += "; it waits for other pods of the rollout"
		return heals(p)
	}
	limit := later(since, progress).Add(roomLimit)
	e, ordered := x.autoscaler()
	switch {
	case ordered:
		p.Evidence = quoteEvent(e)
		limit = later(limit, lastSeen(*e).Add(nodeLimit))
	case e != nil:
		p.Evidence = quoteEvent(e)
		p.Message += "; the cluster autoscaler cannot make any"
		return until(p, later(since, progress).Add(graceForOthers), x.now)
	}
	if !x.now.Before(limit) {
		p.Message += fmt.Sprintf("; no cluster autoscaler made any within %s", limit.Sub(later(since, progress)).Round(time.Second))
		return &p
	}
	p.Message += "; waiting for a cluster autoscaler until " + limit.UTC().Format("15:04:05 MST")
	return until(p, limit, x.now)
}

// autoscaler returns what the cluster autoscaler last said of the pod, and
// whether it has ordered a node for it; nil: there is none, or it is silent
// (cluster-autoscaler, core/scaleup; Karpenter says Nominated).
func (x patient) autoscaler() (e *corev1.Event, ordered bool) {
	e = latest(x.events, func(e corev1.Event) bool {
		return e.Reason == "TriggeredScaleUp" || e.Reason == "NotTriggerScaleUp" || e.Reason == "Nominated"
	})
	return e, e != nil && e.Reason != "NotTriggerScaleUp"
}

// progress returns when a pod of the same ReplicaSet last became ready, and
// whether one is on its way to that, or an old one about to leave.
func (s *snapshot) progress(p corev1.Pod) (last time.Time, moving bool) {
	set := s.set(p)
	for _, other := range s.pods {
		switch {
		case other.UID == p.UID || isOver(other):
		case other.DeletionTimestamp != nil:
			moving = true
		case set == nil || !isOf(other, set.UID):
		case isReady(other):
			last = later(last, condition(other, corev1.PodReady).LastTransitionTime.Time)
		case isOnItsWay(other):
			moving = true
		}
	}
	return last, moving
}

// isOnItsWay reports whether a pod has its node and nothing is known against
// it.
func isOnItsWay(p corev1.Pod) bool {
	if condition(p, corev1.PodScheduled).Status != corev1.ConditionTrue {
		return false
	}
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; c.RestartCount > 0 || c.State.Terminated != nil || w != nil && !isRoutine(w.Reason) {
			return false
		}
	}
	return true
}

// preparing is why the pod's containers are not made: its volumes or its
// network. Only events tell.
func (x patient) preparing() *slipway.Problem {
	for _, c := range x.all() {
		if w := c.status.State.Waiting; w == nil || !isRoutine(w.Reason) || c.status.LastTerminationState.Terminated != nil {
			return nil
		}
	}
	e := latest(x.events, func(e corev1.Event) bool {
		return e.Type == corev1.EventTypeWarning && (strings.HasPrefix(e.Reason, "Failed") || e.Reason == "NetworkNotReady") && e.Reason != "FailedScheduling"
	})
	if e == nil {
		return nil
	}
	since := firstSeen(*e)
	for _, other := range x.events {
		if other.Reason == e.Reason && firstSeen(other).Before(since) {
			since = firstSeen(other)
		}
	}
	return x.unprepared(e, since)
}

// noVolume matches what no later attempt can mount.
var noVolume = regexp.MustCompile(`hostPath type check failed|references non-existent|not registered|unknown filesystem type|cannot find volume|no volume plugin matched|not found in the list of registered CSI drivers|persistentvolumeclaim "[^"]*" not found`)

func (x patient) unprepared(e *corev1.Event, since time.Time) *slipway.Problem {
	p := slipway.Problem{Evidence: quoteEvent(e), Hint: x.kubectl("describe pod %s", x.pod.Name)}
	switch {
	case e.Reason == "FailedMount" || e.Reason == "FailedAttachVolume" || e.Reason == "FailedMapVolume":
		p.Kind, p.Message = kindVolume, x.pod.Name+": a volume cannot be mounted"
		if what, hint := x.missingObject(e.Message); what != "" {
			p.Kind, p.Message, p.Hint = kindConfig, x.pod.Name+" mounts "+what, hint
			return until(p, since.Add(graceForOthers), x.now)
		}
		if noVolume.MatchString(e.Message) {
			return until(p, since.Add(graceForOthers), x.now)
		}
	default:
		p.Kind, p.Message = kindSandbox, x.pod.Name+": its node cannot prepare it"
		p.Hint = "kubectl describe node " + printable(x.pod.Spec.NodeName, 253)
	}
	return until(p, since.Add(roomLimit), x.now)
}
