package kube

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/slipway-dev/slipway"
)

// replicas returns the pods as replicas, by name. A pod of no release that
// receives no requests is nobody's affair: the placeholder's, or one that
// somebody tries something with.
func (s *snapshot) replicas(now time.Time) []slipway.Replica {
	var replicas []slipway.Replica
	for _, p := range s.pods {
		if isOver(p) {
			continue
		}
		r := s.replica(p, now)
		if r.Release != "" || r.Serving {
			replicas = append(replicas, r)
		}
	}
	slices.SortFunc(replicas, func(a, b slipway.Replica) int { return strings.Compare(a.Name, b.Name) })
	return replicas
}

// isOver reports whether the pod has ended for good: evicted, or lost with its
// node. Its ReplicaSet has made another one.
func isOver(p corev1.Pod) bool {
	return p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded
}

func (s *snapshot) replica(p corev1.Pod, now time.Time) slipway.Replica {
	r := slipway.Replica{Name: p.Name, Image: s.imageOf(p), Serving: s.serves(p), Since: p.CreationTimestamp.UTC()}
	r.Release, r.Model = s.releaseOf(p)
	if c := modelContainer(p.Spec, s.name, s.container); c != nil {
		if status := statusOf(p, c.Name); status != nil {
			r.Restarts = int(status.RestartCount)
			if run := status.State.Running; run != nil {
				r.Since, r.URL = run.StartedAt.UTC(), s.urlOf(p.Name)
			}
		}
	}
	r.Problem = s.problemOf(p, now)
	switch {
	case p.DeletionTimestamp != nil:
		r.State, r.Problem = slipway.Draining, nil
	case isReady(p):
		r.State = slipway.Ready
	case r.Problem != nil && !r.Problem.Heals:
		r.State = slipway.Failed
	default:
		r.State = slipway.Starting
	}
	return r
}

// releaseOf returns whose the pod is. Pods that are as the Deployment wants
// them now belong to the release it is set to, which may be younger than they
// are; others to the release their ReplicaSet was made by.
func (s *snapshot) releaseOf(p corev1.Pod) (slipway.ReleaseID, slipway.ModelVersion) {
	set := s.set(p)
	if set == nil {
		return "", slipway.ModelVersion{}
	}
	if current := s.current(); current != nil && current.UID == set.UID {
		return s.owner()
	}
	return releaseIn(set.Annotations), modelIn(set.Annotations)
}

func isReady(p corev1.Pod) bool { return condition(p, corev1.PodReady).Status == corev1.ConditionTrue }

// condition returns the pod's condition of that type; zero: it has none.
func condition(p corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// serves reports whether the pod receives requests: through a Service that
// selects it or, where there is none, because it is ready.
func (s *snapshot) serves(p corev1.Pod) bool {
	if !slices.ContainsFunc(s.services, func(service corev1.Service) bool { return selects(service, p) }) {
		return isReady(p) && p.DeletionTimestamp == nil
	}
	return slices.ContainsFunc(s.slices, func(slice discoveryv1.EndpointSlice) bool {
		return slices.ContainsFunc(slice.Endpoints, func(e discoveryv1.Endpoint) bool {
			return e.TargetRef != nil && e.TargetRef.UID == p.UID && (e.Conditions.Ready == nil || *e.Conditions.Ready)
		})
	})
}
