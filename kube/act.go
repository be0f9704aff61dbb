package kube

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-dev/slipway"
)

// tries bounds how often a write is decided anew because the Deployment
// changed meanwhile: its controller alone changes it many times in a rollout.
const tries = 40

// errAgain asks for another try, after a write that only prepared the next.
var errAgain = errors.New("the Deployment changed meanwhile")

// Act implements slipway.Target. All that an action changes of the Deployment
// is one write, under the resource version that was read and the fence.
//
// Besides the outcomes of slipway.Target: NotFound without the Deployment,
// Unauthorized where a right is missing.
func (t *Target) Act(ctx context.Context, a slipway.Action) error {
	op := "setting " + t.cfg.Ref.String()
	if err := t.checkAction(op, a); err != nil {
		return err
	}
	err := t.act(ctx, op, a)
	if err == nil && a.Kind == slipway.Remove {
		t.tidy(ctx, op, a)
	}
	return err
}

// act tries for as long as others change the Deployment meanwhile.
func (t *Target) act(ctx context.Context, op string, a slipway.Action) error {
	var err error
	for range tries {
		err = t.try(ctx, op, a)
		if !apierrors.IsConflict(err) && !errors.Is(err, errAgain) {
			return t.missing(apiError(op, err))
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "stopped", Err: err}
		}
	}
	return &slipway.Error{Op: op, Code: slipway.Unavailable, Message: "the Deployment changes faster than it can be written", Err: err}
}

func (t *Target) checkAction(op string, a slipway.Action) error {
	if a.Kind == slipway.Remove {
		return nil
	}
	if a.Kind != slipway.Apply {
		return slipway.Errorf(slipway.Invalid, op, "%q is no action for a target", a.Kind)
	}
	if _, err := slipway.ParseDigest(string(a.Release.Image.Digest)); err != nil {
		return err
	}
	if a.Release.Image.Repository == "" {
		return slipway.Errorf(slipway.Invalid, op, "the release names no image repository")
	}
	return checkVariables(op, a.Release)
}

// missing says what to do about a Deployment that does not exist.
func (t *Target) missing(err error) error {
	var e *slipway.Error
	if !errors.As(err, &e) || e.Code != slipway.NotFound || e.Hint != "" {
		return err
	}
	return e.WithHint("make it with --create, or kubectl apply -f %s", manifest)
}

// try reads the Deployment, checks it and writes it. A conflict, or errAgain,
// means that nothing was decided yet.
func (t *Target) try(ctx context.Context, op string, a slipway.Action) error {
	d, err := t.deployment(ctx)
	if err != nil {
		return err
	}
	if err := t.checkFence(ctx, op, d, a.Fence); err != nil {
		return err
	}
	s, err := t.survey(op, d)
	if err != nil {
		return err
	}
	if err := t.checkTaker(ctx, op, s, a); err != nil {
		return err
	}
	if a.Kind == slipway.Apply && a.Release.WholeTemplate {
		if done, err := t.restoreTemplate(ctx, op, s, a); done || err != nil {
			return err
		}
	}
	return t.write(ctx, op, s, a)
}

func (t *Target) deployment(ctx context.Context) (*appsv1.Deployment, error) {
	return t.client.AppsV1().Deployments(t.cfg.Ref.Namespace).Get(ctx, t.cfg.Ref.Name, metav1.GetOptions{})
}

// checkFence refuses an older fence than any the target has seen: the one on
// the Deployment goes back when somebody undoes a rollout by hand, the one on
// the Lease does not.
func (t *Target) checkFence(ctx context.Context, op string, d *appsv1.Deployment, fence uint64) error {
	j := t.Journal()
	seen, err := j.fenceOf("deployment", d)
	if err != nil {
		return err
	}
	lease, err := there(j.leases().Get(ctx, j.name, metav1.GetOptions{}))
	if err != nil {
		return err
	}
	if lease != nil {
		held, err := j.fenceOf("lease", lease)
		if err != nil {
			return err
		}
		seen = max(seen, held)
	}
	if fence < seen {
		return slipway.Errorf(slipway.Conflict, op, "a newer release owns the target (fence %d, this is %d)", seen, fence)
	}
	return nil
}

// write sends the action's fields. Where others hold fields that must go, it
// first takes them over: a change of ownership that no pod notices.
func (t *Target) write(ctx context.Context, op string, s *survey, a slipway.Action) error {
	w, err := s.decide(op, a)
	if err != nil {
		return err
	}
	deployments := t.client.AppsV1().Deployments(t.cfg.Ref.Namespace)
	if len(w.claims) > 0 {
		patch, err := s.claim(w.claims)
		if err != nil {
			return fmt.Errorf("taking over fields: %w", err)
		}
		if _, err := deployments.Patch(ctx, t.cfg.Ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: Manager}); err != nil {
			return err
		}
		return errAgain
	}
	force := true
	_, err = deployments.Patch(ctx, t.cfg.Ref.Name, types.ApplyPatchType, w.document, metav1.PatchOptions{FieldManager: Manager, Force: &force})
	return err
}

// autoscaler returns the name of the HorizontalPodAutoscaler that scales the
// Deployment, "" where none does.
func (t *Target) autoscaler(ctx context.Context) (string, error) {
	list, err := t.client.AutoscalingV2().HorizontalPodAutoscalers(t.cfg.Ref.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return "", err
	}
	for _, h := range list.Items {
		if scales(h, t.cfg.Ref.Name) {
			return h.Name, nil
		}
	}
	return "", nil
}

func scales(h autoscalingv2.HorizontalPodAutoscaler, deployment string) bool {
	return h.Spec.ScaleTargetRef.Kind == "Deployment" && h.Spec.ScaleTargetRef.Name == deployment
}
