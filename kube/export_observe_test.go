package kube

import (
	"encoding/json"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/slipway-dev/slipway"
)

// ObserveAt is what an Observe at that time makes of objects as the API server
// returns them. The events that it would not have asked for are left out.
func ObserveAt(items []json.RawMessage, now time.Time) (slipway.Observation, error) {
	s := &snapshot{urlOf: func(pod string) string { return "https://cluster/" + pod }}
	for _, item := range items {
		if err := s.add(item); err != nil {
			return slipway.Observation{}, err
		}
	}
	if s.deployment != nil {
		s.name = s.deployment.Name
	}
	asked := s.unwell(now)
	var events []corev1.Event
	for _, uid := range asked[:min(len(asked), maxAskedOf)] {
		events = append(events, s.eventsOf(uid)...)
	}
	s.events = events
	return s.observation(now), nil
}

func (s *snapshot) add(item json.RawMessage) error {
	var kind struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(item, &kind); err != nil {
		return err
	}
	switch kind.Kind {
	case "Deployment":
		s.deployment = &appsv1.Deployment{}
		return json.Unmarshal(item, s.deployment)
	case "ReplicaSet":
		return appendTo(&s.replicaSets, item)
	case "Pod":
		return appendTo(&s.pods, item)
	case "Service":
		return appendTo(&s.services, item)
	case "EndpointSlice":
		return appendTo(&s.slices, item)
	case "Event":
		return appendTo(&s.events, item)
	}
	return fmt.Errorf("nothing is made of a %q", kind.Kind)
}

func appendTo[T appsv1.ReplicaSet | corev1.Pod | corev1.Service | corev1.Event | discoveryv1.EndpointSlice](list *[]T, item json.RawMessage) error {
	var object T
	err := json.Unmarshal(item, &object)
	*list = append(*list, object)
	return err
}
