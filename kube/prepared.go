package kube

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// Prepared is what the namespace has of the manifest, as far as the Role lets
// us look.
type Prepared struct {
	Objects    []string // "Deployment", "Service", …
	Autoscaler string   // the HorizontalPodAutoscaler of the Deployment; "": there is none
}

// Prepared looks whether a release could be brought to the Deployment. It
// changes nothing. Code NotFound: the Deployment or its Service is missing;
// Invalid: the Deployment could not be rolled out without losing requests, or
// another program would set it back; Unauthorized where a right is missing.
func (t *Target) Prepared(ctx context.Context) (Prepared, error) {
	op := "looking at " + t.cfg.Ref.String()
	d, err := t.client.AppsV1().Deployments(t.cfg.Ref.Namespace).Get(ctx, t.cfg.Ref.Name, metav1.GetOptions{})
	if err = apiError(op, err); slipway.CodeOf(err) == slipway.NotFound {
		return Prepared{}, t.noObject(op, "Deployment", t.cfg.Ref.Name)
	}
	if err != nil {
		return Prepared{}, err
	}
	p := Prepared{Objects: []string{"Deployment"}}
	s, err := t.survey(op, d)
	if err == nil {
		err = t.checkTaker(ctx, op, s, slipway.Action{Kind: slipway.Apply})
	}
	if err == nil && s.c.ReadinessProbe == nil {
		err = slipway.Errorf(slipway.Invalid, op, "the container %s has no readiness probe: it would get requests before its model is loaded", s.c.Name).
			WithHint("add one on /ready, as %s has it", manifest)
	}
	if err == nil {
		err = t.checkService(ctx, op, &p)
	}
	if err == nil {
		err = t.lookForAutoscaler(ctx, op, &p)
	}
	return p, err
}

// lookForAutoscaler needs a right that a release can do without.
func (t *Target) lookForAutoscaler(ctx context.Context, op string, p *Prepared) (err error) {
	p.Autoscaler, err = t.autoscaler(ctx)
	if p.Autoscaler != "" {
		p.Objects = append(p.Objects, "HorizontalPodAutoscaler")
	}
	if err = apiError(op, err); slipway.CodeOf(err) == slipway.Unauthorized {
		return nil
	}
	return err
}

func (t *Target) noObject(op, kind, name string) error {
	hint := "kubectl apply -f " + manifest
	if !isManifests(t.cfg.Ref) {
		hint = "slipway deploy --create makes it, or slipway init writes a manifest to apply"
	}
	return slipway.Errorf(slipway.NotFound, op, "the namespace %s of the cluster %s has no %s %s", t.cfg.Ref.Namespace, t.rest.Host, kind, name).
		WithHint("%s", hint)
}

// checkService wants the Service through which a release is verified, at the
// model server's port.
func (t *Target) checkService(ctx context.Context, op string, p *Prepared) error {
	services, blind, err := t.readServices(ctx)
	if err != nil || blind != "" { // without this right, too, a release goes on
		return err
	}
	i := slices.IndexFunc(services, func(s corev1.Service) bool { return s.Name == t.cfg.Ref.Name })
	if i < 0 {
		return t.noObject(op, "Service", t.cfg.Ref.Name)
	}
	if !slices.ContainsFunc(services[i].Spec.Ports, func(port corev1.ServicePort) bool { return port.Port == Port }) {
		return slipway.Errorf(slipway.Invalid, op, "the Service %s has no port %d", t.cfg.Ref.Name, Port).WithHint("add it, as %s has it", manifest)
	}
	p.Objects = append(p.Objects, "Service")
	return nil
}

// Pulls is what the Deployment's pods show of an image registry.
type Pulls struct {
	Proof   string           // a pod whose node pulled an image from it; "": none has one
	Problem *slipway.Problem // why a pod cannot; nil: none tries in vain
	Secrets []string         // imagePullSecrets of the Deployment
}

// Pulls looks whether the nodes can pull from an image registry, HOST or
// HOST:PORT. What no pod has tried yet cannot be known without leaving
// something behind.
func (t *Target) Pulls(ctx context.Context, host string) (Pulls, error) {
	s, err := t.read(ctx)
	if err != nil || s.deployment == nil {
		return Pulls{}, err
	}
	var found Pulls
	for _, secret := range s.deployment.Spec.Template.Spec.ImagePullSecrets {
		found.Secrets = append(found.Secrets, printable(secret.Name, 100))
	}
	for _, p := range s.pods {
		s.pulled(&found, p, host)
	}
	return found, nil
}

// pulled adds what a pod shows.
func (s *snapshot) pulled(found *Pulls, p corev1.Pod, host string) {
	c := modelContainer(p.Spec, s.name, s.container)
	if c == nil || !strings.HasPrefix(c.Image, host+"/") {
		return
	}
	status := statusOf(p, c.Name)
	switch {
	case status == nil:
	case status.ImageID != "":
		found.Proof = p.Name
	case status.State.Waiting != nil && isPull(status.State.Waiting.Reason):
		// That an image is gone says nothing of the way to it.
		if problem := s.problemOf(p, time.Now()); problem != nil && problem.Kind != kindNotFound {
			found.Problem = problem
		}
	}
}
