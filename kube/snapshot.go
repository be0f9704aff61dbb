package kube

import (
	"cmp"
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-dev/slipway"
)

// Bounds of one look, in objects of a kind.
const (
	maxListed  = 1000
	maxEvents  = 500 // of one pod
	maxAskedOf = 2   // pods whose events are read: one that fails is enough to know
)

// snapshot is what the API server holds of the target at about one instant.
// What is seen in it is decided by pure functions, from it and the time alone.
type snapshot struct {
	name        string // of the Deployment
	container   string // ?container= of the reference
	deployment  *appsv1.Deployment
	replicaSets []appsv1.ReplicaSet // of the Deployment
	pods        []corev1.Pod        // that the Deployment's selector matches
	services    []corev1.Service
	slices      []discoveryv1.EndpointSlice
	events      []corev1.Event          // of what is not as it should be
	scaled      []string                // who scaled the Deployment while this process looked at it
	unseen      []string                // what may not be read, and which right is missing
	urlOf       func(pod string) string // where a pod is reached by itself
}

// read takes a snapshot. Services are read before EndpointSlices, and all else
// before both, so that a pod that receives requests is not missed.
func (t *Target) read(ctx context.Context) (*snapshot, error) {
	s := &snapshot{name: t.cfg.Ref.Name, container: t.cfg.Ref.Query.Get("container"), urlOf: t.podURL}
	d, err := t.client.AppsV1().Deployments(t.cfg.Ref.Namespace).Get(ctx, t.cfg.Ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return s, nil
	}
	if err != nil {
		return nil, apiError("looking at the Deployment", err)
	}
	s.deployment = d
	if err := t.readPods(ctx, s); err != nil {
		return nil, err
	}
	var blind [2]string
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() (err error) {
		s.slices, blind[0], err = t.readSlices(ctx, s)
		return err
	})
	group.Go(func() (err error) {
		s.events, blind[1], err = t.readEvents(ctx, s.unwell(time.Now()))
		return err
	})
	err = group.Wait()
	if blind[0] != "" {
		s.services = nil // as if there were none: a pod that is ready receives requests
	}
	s.miss(blind[:]...)
	return s, err
}

// readPods reads what the Deployment has made and the Services before it.
func (t *Target) readPods(ctx context.Context, s *snapshot) error {
	selector, err := metav1.LabelSelectorAsSelector(s.deployment.Spec.Selector)
	if err != nil {
		return &slipway.Error{Op: "looking at the pods", Code: slipway.Invalid, Message: "the Deployment's selector", Err: err}
	}
	ours := metav1.ListOptions{LabelSelector: selector.String(), Limit: maxListed}
	var services []corev1.Service
	var blind string
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		list, err := t.client.AppsV1().ReplicaSets(t.cfg.Ref.Namespace).List(ctx, ours)
		if err == nil {
			s.replicaSets = slices.DeleteFunc(list.Items, func(r appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(&r, s.deployment) })
		}
		return apiError("looking at the ReplicaSets", err)
	})
	group.Go(func() error {
		list, err := t.client.CoreV1().Pods(t.cfg.Ref.Namespace).List(ctx, ours)
		if err == nil {
			s.pods = list.Items
		}
		return apiError("looking at the pods", err)
	})
	group.Go(func() (err error) {
		services, blind, err = t.readServices(ctx)
		return err
	})
	err = group.Wait()
	s.services = slices.DeleteFunc(services, func(service corev1.Service) bool {
		return len(service.Spec.Selector) == 0 || !slices.ContainsFunc(s.pods, func(p corev1.Pod) bool { return selects(service, p) })
	})
	s.miss(blind)
	return err
}

func (t *Target) readServices(ctx context.Context) (services []corev1.Service, blind string, err error) {
	list, err := t.client.CoreV1().Services(t.cfg.Ref.Namespace).List(ctx, metav1.ListOptions{Limit: maxListed})
	if err != nil {
		blind, err = optional("looking at the Services", err)
		return nil, blind, err
	}
	return list.Items, "", nil
}

// readSlices reads which pods the Services send requests to.
func (t *Target) readSlices(ctx context.Context, s *snapshot) (found []discoveryv1.EndpointSlice, blind string, err error) {
	const op = "looking at the EndpointSlices"
	if len(s.services) == 0 {
		return nil, "", nil
	}
	names, err := labels.NewRequirement(discoveryv1.LabelServiceName, selection.In, namesOf(s.services))
	if err != nil {
		return nil, "", &slipway.Error{Op: op, Code: slipway.Internal, Err: err}
	}
	list, err := t.client.DiscoveryV1().EndpointSlices(t.cfg.Ref.Namespace).
		List(ctx, metav1.ListOptions{LabelSelector: labels.NewSelector().Add(*names).String(), Limit: maxListed})
	if err != nil {
		blind, err = optional(op, err)
		return nil, blind, err
	}
	return list.Items, "", nil
}

// readEvents reads the events of the objects, each at most once in freshEnough:
// an API server keeps no index of them.
func (t *Target) readEvents(ctx context.Context, of []types.UID) (events []corev1.Event, blind string, err error) {
	of = of[:min(len(of), maxAskedOf)]
	read := make([][]corev1.Event, len(of))
	words := make([]string, len(of))
	group, ctx := errgroup.WithContext(ctx)
	for i, uid := range of {
		group.Go(func() (err error) {
			read[i], words[i], err = t.memory.eventsOf(ctx, uid, t.eventsOf)
			return err
		})
	}
	err = group.Wait()
	for i := range of {
		events = append(events, read[i]...)
		blind = cmp.Or(blind, words[i])
	}
	return events, blind, err
}

func (t *Target) eventsOf(ctx context.Context, uid types.UID) (events []corev1.Event, blind string, err error) {
	list, err := t.client.CoreV1().Events(t.cfg.Ref.Namespace).
		List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(uid), Limit: maxEvents})
	if err != nil {
		blind, err = optional("looking at the events", err)
		return nil, blind, err
	}
	return list.Items, "", nil
}

func selects(service corev1.Service, pod corev1.Pod) bool {
	return labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels))
}

func namesOf(services []corev1.Service) []string {
	var names []string
	for _, s := range services {
		names = append(names, s.Name)
	}
	return names
}

// miss notes what cannot be seen.
func (s *snapshot) miss(blind ...string) {
	for _, what := range blind {
		if what != "" && !slices.Contains(s.unseen, what) {
			s.unseen = append(s.unseen, what)
		}
	}
}

// optional makes a missing right to something that helps to explain, or to see
// more exactly, a note: the rest is still to be seen.
func optional(op string, err error) (blind string, _ error) {
	ours := apiError(op, err)
	if apierrors.IsForbidden(err) && slipway.CodeOf(ours) == slipway.Unauthorized {
		return "not everything can be seen: " + ours.Error() + "; " + slipway.HintOf(ours), nil
	}
	return "", ours
}
