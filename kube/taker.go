package kube

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/slipway-dev/slipway"
)

// checkTaker refuses what the Deployment could not be rolled to without losing
// requests, or what somebody else would take back.
func (t *Target) checkTaker(ctx context.Context, op string, s *survey, a slipway.Action) error {
	if err := t.checkManaged(op, s.d); err != nil {
		return err
	}
	if s.d.Spec.Paused {
		return slipway.Errorf(slipway.Invalid, op, "the Deployment is paused: nothing that is set is rolled out").
			WithHint("kubectl rollout resume %s", t.object())
	}
	if a.Kind == slipway.Remove {
		return nil
	}
	if err := t.checkReplicas(ctx, op, s, a.Release.Replicas); err != nil {
		return err
	}
	return t.checkStrategy(op, s, a.Release.Replicas)
}

// checkManaged refuses a Deployment that is kept as it is in a Git repository:
// what is patched here would be patched back there.
func (t *Target) checkManaged(op string, d *appsv1.Deployment) error {
	by := managedBy(d)
	if by == "" {
		return nil
	}
	return slipway.Errorf(slipway.Invalid, op, "%s manages the Deployment and would set it back", by).
		WithHint("commit the image to the repository that %s reads: slipway build and slipway push print its digest; or let it ignore the container's image and env", by)
}

func managedBy(d *appsv1.Deployment) string {
	for _, keys := range []map[string]string{d.Labels, d.Annotations} {
		for key := range keys {
			domain, _, _ := strings.Cut(key, "/")
			switch {
			case domain == "argocd.argoproj.io":
				return "Argo CD"
			case strings.HasSuffix(domain, ".toolkit.fluxcd.io"):
				return "Flux"
			}
		}
	}
	return ""
}

func (t *Target) checkReplicas(ctx context.Context, op string, s *survey, asked int) error {
	if asked == 0 {
		if want := s.d.Spec.Replicas; want != nil && *want == 0 {
			return slipway.Errorf(slipway.Invalid, op, "the Deployment is scaled to 0: nothing would serve").
				WithHint("kubectl scale %s --replicas=3", t.object())
		}
		return nil
	}
	name, err := t.autoscaler(ctx)
	if err != nil {
		return err
	}
	if name != "" {
		return slipway.Errorf(slipway.Invalid, op, "the HorizontalPodAutoscaler %s decides how many replicas there are, not --replicas", name).
			WithHint("leave --replicas out, or kubectl edit hpa %s -n %s", name, t.cfg.Ref.Namespace)
	}
	return nil
}

// checkStrategy refuses a strategy that ends all pods before new ones are ready.
func (t *Target) checkStrategy(op string, s *survey, asked int) error {
	hint := `kubectl patch ` + t.object() + ` -p '{"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxUnavailable":0,"maxSurge":"100%"}}}}'`
	if s.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return slipway.Errorf(slipway.Invalid, op, "the Deployment's strategy is Recreate: requests would be lost while no pod runs").
			WithHint("%s", hint)
	}
	replicas := asked
	if replicas == 0 && s.d.Spec.Replicas != nil {
		replicas = int(*s.d.Spec.Replicas)
	}
	if s.maxUnavailable(replicas) >= max(replicas, 1) {
		return slipway.Errorf(slipway.Invalid, op, "the Deployment's maxUnavailable lets all of its %d replicas end before new ones are ready: requests would be lost", replicas).
			WithHint("%s", hint)
	}
	return nil
}

// maxUnavailable is how many of so many replicas may be missing in a rollout,
// once what a removal changed of it is put back.
func (s *survey) maxUnavailable(replicas int) int {
	value := s.live[keyMaxUnavailable]
	if was, ok := s.found.Fields[keyMaxUnavailable]; ok && s.mine(keyMaxUnavailable) {
		value = was
	}
	var limit intstr.IntOrString
	if value.isNull() || value.decode(&limit) != nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(&limit, replicas, false)
	if err != nil {
		return 0 // the API server checked it
	}
	return n
}

// object names the Deployment in a kubectl command.
func (t *Target) object() string {
	return "deployment/" + t.cfg.Ref.Name + " -n " + t.cfg.Ref.Namespace
}

// chooseContainer returns the container that models are put into: the one that
// was named, else the one called like the Deployment, else the only one.
func chooseContainer(op, asked string, ref slipway.TargetRef, template *corev1.PodTemplateSpec) (*corev1.Container, error) {
	var names []string
	containers := template.Spec.Containers
	for i, c := range containers {
		if c.Name == asked || asked == "" && c.Name == ref.Name {
			return &containers[i], nil
		}
		names = append(names, c.Name)
	}
	hint := ref
	hint.Query = map[string][]string{"container": {"NAME"}}
	switch {
	case asked != "":
		return nil, slipway.Errorf(slipway.Invalid, op, "the Deployment has no container %.80q, but %s", asked, strings.Join(names, ", ")).
			WithHint("name one of them: %s", hint.String())
	case len(containers) == 1:
		return &containers[0], nil
	}
	return nil, slipway.Errorf(slipway.Invalid, op, "the Deployment has several containers: %s", strings.Join(names, ", ")).
		WithHint("say which is the model server: %s", hint.String())
}

func (t *Target) container(op string, template *corev1.PodTemplateSpec) (*corev1.Container, error) {
	return chooseContainer(op, t.cfg.Ref.Query.Get("container"), t.cfg.Ref, template)
}
