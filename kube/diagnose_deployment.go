package kube

import (
	"fmt"
	"regexp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/slipway-dev/slipway"
)

// problem is what is wrong with the Deployment itself; nil: nothing.
func (s *snapshot) problem(now time.Time) *slipway.Problem {
	if s.deployment.DeletionTimestamp != nil {
		return &slipway.Problem{
			Kind: kindDeleted, Message: "somebody deletes the Deployment", Evidence: "deletionTimestamp " + s.deployment.DeletionTimestamp.UTC().Format(time.RFC3339),
			Hint: "wait until it is gone, then slipway deploy --create",
		}
	}
	current := s.current()
	pods := s.alive(current)
	if s.deployment.Spec.Paused && (len(pods) < s.want() || s.mixed(current)) {
		return &slipway.Problem{
			Kind: kindPaused, Message: "the Deployment is paused: it makes no new pods and ends no old ones", Evidence: "spec.paused: true",
			Hint: s.kubectl("rollout resume deployment %s", s.name),
		}
	}
	return worst(s.creation(current, pods, now), s.evictions(current, pods, now))
}

// mixed reports whether pods of another ReplicaSet are to stay.
func (s *snapshot) mixed(current *appsv1.ReplicaSet) bool {
	return slices.ContainsFunc(s.replicaSets, func(r appsv1.ReplicaSet) bool {
		return (current == nil || r.UID != current.UID) && len(s.alive(&r)) > 0
	})
}

// alive returns the pods of the ReplicaSet that are to stay.
func (s *snapshot) alive(set *appsv1.ReplicaSet) []corev1.Pod {
	var pods []corev1.Pod
	for _, p := range s.pods {
		if set != nil && isOf(p, set.UID) && p.DeletionTimestamp == nil && !isOver(p) {
			pods = append(pods, p)
		}
	}
	return pods
}

// creationWords says what it means that the API server refuses a pod
// (apiserver and its admission plugins). The first that fits counts.
var creationWords = []struct {
	kind    string
	message string
	hint    string // after kubectl -n NAMESPACE
	limit   time.Duration
	pattern *regexp.Regexp
}{
	{kindQuota, "the namespace's quota allows no more pods like this", "describe resourcequotas", graceForOthers, regexp.MustCompile(`exceeded quota|failed quota`)},
	{kindAdmission, "an admission webhook does not answer, so no pod can be made", "get validatingwebhookconfigurations,mutatingwebhookconfigurations", roomLimit, regexp.MustCompile(`failed calling webhook`)},
	{kindAdmission, "an admission webhook refuses the pods", "get validatingwebhookconfigurations,mutatingwebhookconfigurations", 0, regexp.MustCompile(`admission webhook "[^"]*" denied`)},
	{kindAdmission, "an admission policy refuses the pods", "get validatingadmissionpolicies", 0, regexp.MustCompile(`ValidatingAdmissionPolicy '[^']*'`)},
	{kindAdmission, "the namespace's Pod Security level refuses the pods", "get namespace --show-labels", 0, regexp.MustCompile(`violates PodSecurity`)},
	{kindAdmission, "the namespace's LimitRange refuses the pods", "describe limitranges", 0, regexp.MustCompile(`(maximum|minimum) \S+ usage per |must be less than or equal to \S+ limit`)},
	{kindCannotCreate, "the pods' ServiceAccount does not exist", "get serviceaccounts", graceForOthers, regexp.MustCompile(`serviceaccount "[^"]*" not found|error looking up service account`)},
	{kindCannotCreate, "the namespace is being deleted", "get namespace", 0, regexp.MustCompile(`is being terminated`)},
	{kindCannotCreate, "the pods' RuntimeClass does not exist", "get runtimeclasses", graceForOthers, regexp.MustCompile(`RuntimeClass "[^"]*" not found`)},
	{kindCannotCreate, "the API server refuses the pods", "get events", 0, regexp.MustCompile(`is invalid: |is forbidden: `)},
	{kindCannotCreate, "the pods cannot be made", "get events", roomLimit, regexp.MustCompile(``)},
}

// creation is why the ReplicaSet has fewer pods than it should.
func (s *snapshot) creation(current *appsv1.ReplicaSet, pods []corev1.Pod, now time.Time) *slipway.Problem {
	text, since := s.refusal(current)
	if text == "" || len(pods) >= s.want() {
		return nil
	}
	for _, words := range creationWords {
		if !words.pattern.MatchString(text) {
			continue
		}
		p := slipway.Problem{Kind: words.kind, Message: words.message, Evidence: printable(text, maxText), Hint: s.kubectl("%s", words.hint)}
		if words.kind == kindQuota && len(pods) > 0 && !neverFits(text, len(pods)) {
			return s.partly(p, pods, since, now)
		}
		return until(p, since.Add(words.limit), now)
	}
	return nil
}

// refusal is what the API server said when a pod, or the ReplicaSet itself,
// was to be made, and since when.
func (s *snapshot) refusal(current *appsv1.ReplicaSet) (text string, since time.Time) {
	if current != nil {
		for _, c := range current.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure && c.Status == corev1.ConditionTrue && c.Reason == "FailedCreate" {
				return c.Message, c.LastTransitionTime.Time
			}
		}
		return "", time.Time{}
	}
	for _, c := range s.deployment.Status.Conditions {
		if c.Type == appsv1.DeploymentProgressing && c.Status == corev1.ConditionFalse && c.Reason == "ReplicaSetCreateError" {
			return c.Message, c.LastUpdateTime.Time
		}
	}
	return "", time.Time{}
}

// partly is a quota that some of the new pods fit into: the others may follow
// when these are ready and old ones leave.
func (s *snapshot) partly(p slipway.Problem, pods []corev1.Pod, since, now time.Time) *slipway.Problem {
	last, moving := s.progress(corev1.Pod{})
	for _, pod := range pods {
		if isReady(pod) {
			last = later(last, condition(pod, corev1.PodReady).LastTransitionTime.Time)
		} else if isOnItsWay(pod) {
			moving = true
		}
	}
	if moving {
		return heals(p)
	}
	return until(p, later(since, last).Add(roomLimit), now)
}

// evictions is that nodes throw the pods out and they are not back yet.
func (s *snapshot) evictions(current *appsv1.ReplicaSet, alive []corev1.Pod, now time.Time) *slipway.Problem {
	ready := 0
	for _, p := range alive {
		if isReady(p) {
			ready++
		}
	}
	if current == nil || ready >= s.want() {
		return nil
	}
	var last corev1.Pod
	var at time.Time
	count := 0
	for _, p := range s.pods {
		if !isOf(p, current.UID) || !isOver(p) || p.Status.Reason == "" {
			continue
		}
		count++
		if ended := endOf(p); !ended.Before(at) {
			last, at = p, ended
		}
	}
	if count == 0 {
		return nil
	}
	p := slipway.Problem{
		Kind: kindEvicted, Message: fmt.Sprintf("%s had to leave its node", last.Name), Evidence: printable(last.Status.Reason+": "+last.Status.Message, maxText),
		Hint: s.kubectl("describe pod %s", last.Name),
	}
	if count > s.want() {
		p.Message = fmt.Sprintf("%d pods had to leave their nodes, the last %s", count, last.Name)
		return &p
	}
	return until(p, at.Add(roomLimit), now)
}

// endOf is when a pod that is over ended, as far as it says.
func endOf(p corev1.Pod) time.Time {
	at := p.CreationTimestamp.Time
	for _, c := range p.Status.Conditions {
		at = later(at, c.LastTransitionTime.Time)
	}
	for _, c := range p.Status.ContainerStatuses {
		if t := c.State.Terminated; t != nil {
			at = later(at, t.FinishedAt.Time)
		}
	}
	return at
}
