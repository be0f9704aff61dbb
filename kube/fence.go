package kube

import (
	"context"
	"encoding/json"
	"strconv"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/slipway-dev/slipway"
)

// maxFence bounds fencing numbers: one that somebody wrote by hand must not
// leave the next without a number.
const maxFence = 1 << 53

// maxTries bounds how often a write is repeated because the object was changed
// meanwhile: a Deployment's status changes many times while it rolls.
const maxTries = 20

// standing is who holds the target and under which number. The number is kept
// in three places, so that deleting or undoing one of them never takes it back.
type standing struct {
	lease  *coordinationv1.Lease // nil: there is none
	record *corev1.ConfigMap     // nil: there is none
	fence  uint64                // the newest of Lease, ConfigMap and Deployment
}

func (j *Journal) standing(ctx context.Context) (standing, error) {
	const op = "reading who holds the target"
	var s standing
	var fences [3]uint64
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if s.lease, err = there(j.leases().Get(ctx, j.name, metav1.GetOptions{})); err == nil && s.lease != nil {
			fences[0], err = j.fenceOf("lease", s.lease)
		}
		return err
	})
	g.Go(func() (err error) {
		if s.record, err = there(j.records().Get(ctx, j.name, metav1.GetOptions{})); err == nil && s.record != nil {
			fences[1], err = j.fenceOf("configmap", s.record)
		}
		return err
	})
	g.Go(func() error {
		d, err := there(j.deployments().Get(ctx, j.deployment, metav1.GetOptions{}))
		if err == nil && d != nil {
			fences[2], err = j.fenceOf("deployment", d)
		}
		return err
	})
	err := g.Wait()
	s.fence = max(fences[0], fences[1], fences[2])
	return s, apiError(op, err)
}

// there turns "not found" into nil.
func there[T any](object *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return object, err
}

// fenceOf reads the number an object carries; 0: none. The error's code is
// Corrupt.
func (j *Journal) fenceOf(kind string, object metav1.Object) (uint64, error) {
	text, ok := object.GetAnnotations()[annotationFence]
	if !ok {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n > maxFence {
		return 0, slipway.Errorf(slipway.Corrupt, "reading the target's fencing number", "the annotation %s of %s %s is no number Slipway wrote: %q",
			annotationFence, kind, object.GetName(), printable(text, 40)).
			WithHint("take it away, the number is kept elsewhere too: kubectl annotate %s/%s %s- -n %s", kind, object.GetName(), annotationFence, j.namespace)
	}
	return n, nil
}

func setFence(object metav1.Object, fence uint64) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[annotationFence] = strconv.FormatUint(fence, 10)
	object.SetAnnotations(annotations)
}

// stamp writes the number of a lock that was just taken where the writes of
// every older lock will meet it.
func (j *Journal) stamp(ctx context.Context, fence uint64) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return j.repeatedly(ctx, fence, j.stampRecord) })
	g.Go(func() error { return j.repeatedly(ctx, fence, j.stampDeployment) })
	return g.Wait()
}

// repeatedly repeats a write for as long as others change the object meanwhile.
func (j *Journal) repeatedly(ctx context.Context, fence uint64, write func(context.Context, uint64) error) error {
	var err error
	for range maxTries {
		if err = write(ctx, fence); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	return apiError("numbering the lock", err)
}

func (j *Journal) stampRecord(ctx context.Context, fence uint64) error {
	cm, err := there(j.records().Get(ctx, j.name, metav1.GetOptions{}))
	if err != nil {
		return err
	}
	if cm == nil {
		_, err = j.records().Create(ctx, j.newRecord(fence), metav1.CreateOptions{FieldManager: Manager})
		return err
	}
	if stale, err := j.stale("configmap", cm, fence); !stale {
		return err
	}
	setFence(cm, fence)
	_, err = j.records().Update(ctx, cm, metav1.UpdateOptions{FieldManager: Manager})
	return err
}

func (j *Journal) stampDeployment(ctx context.Context, fence uint64) error {
	d, err := there(j.deployments().Get(ctx, j.deployment, metav1.GetOptions{}))
	if err != nil || d == nil {
		return err
	}
	if stale, err := j.stale("deployment", d, fence); !stale {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"resourceVersion": d.ResourceVersion,
		"annotations":     map[string]string{annotationFence: strconv.FormatUint(fence, 10)},
	}})
	if err != nil {
		return err
	}
	_, err = j.deployments().Patch(ctx, j.deployment, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: Manager})
	return err
}

// stale reports whether the object carries an older number; one that carries a
// newer is an error.
func (j *Journal) stale(kind string, object metav1.Object, fence uint64) (bool, error) {
	n, err := j.fenceOf(kind, object)
	if err == nil && n > fence {
		err = errOvertaken
	}
	return n < fence && err == nil, err
}

// errOvertaken says that another run took the target meanwhile.
var errOvertaken = slipway.Errorf(slipway.Conflict, "numbering the lock", "another run took the target meanwhile")
