package kube

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// removal returns the fields that a removal sets; all others are left as they
// were found. What was found may never become ready, such as the manifest's
// placeholder: then Kubernetes would let the pods of the release serve for
// ever, so for as long as there are any it is told that all may end. A later
// action puts that back.
func (s *survey) removal() values {
	v := values{}
	_, known := s.found.Fields[keyImage]
	if !known || s.d.Annotations[annotationRelease] == "" && s.rolledOut() {
		return v
	}
	if s.d.Spec.Strategy.RollingUpdate != nil && !s.served() {
		v.set(keyMaxUnavailable, intstr.FromString("100%"))
	}
	return v
}

// rolledOut reports whether all pods are of the present template.
func (s *survey) rolledOut() bool {
	status := s.d.Status
	return status.ObservedGeneration >= s.d.Generation && status.Replicas == status.UpdatedReplicas
}

// readyPath is where a model server says that it is ready.
func readyPath() *corev1.HTTPGetAction {
	return &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(Port)}
}
