package kube

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/slipway-dev/slipway"
)

// removal returns the fields that a removal sets; all others are left as they
// were found. What was found may never become ready, such as the manifest's
// placeholder: then Kubernetes would let the pods of the release serve for
// ever, so for as long as there are any it is told that all may end. The next
// action puts that back: see tidy.
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

// tidyLimit bounds how long a removal waits for the release's pods to be told
// to end, so that it can put back the last field.
const tidyLimit = 3 * time.Second

// tidy ends a removal once nothing of the release is left. Where that takes
// longer, or fails, the removal was taken in all the same; the next action
// tidies up.
func (t *Target) tidy(ctx context.Context, op string, a slipway.Action) {
	for deadline := time.Now().Add(tidyLimit); time.Now().Before(deadline); {
		d, err := t.deployment(ctx)
		if err != nil {
			return
		}
		s, err := t.survey(op, d)
		if err != nil || s.tidied() {
			return
		}
		if s.rolledOut() {
			_ = t.act(ctx, op, a)
			return
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return
		}
	}
}

// tidied reports whether no field is left that only a removal sets.
func (s *survey) tidied() bool {
	was := s.found.Fields[keyMaxUnavailable]
	return was.isNull() || sameValue(s.live[keyMaxUnavailable], was)
}

// readyPath is where a model server says that it is ready.
func readyPath() *corev1.HTTPGetAction {
	return &corev1.HTTPGetAction{Path: "/ready", Port: intstr.FromInt32(Port)}
}
