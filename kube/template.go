package kube

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/slipway-dev/slipway"
)

// restoreTemplate puts back the whole pod template with which the release was
// rolled out before. It reports whether it wrote: the fields of the release are
// then still to be applied, so that we own them.
func (t *Target) restoreTemplate(ctx context.Context, op string, s *survey, a slipway.Action) (bool, error) {
	wanted, err := s.wanted(op, a.Release)
	if err != nil {
		return false, err
	}
	old, err := t.templateOf(ctx, s, wanted)
	if err != nil {
		return false, err
	}
	if old == nil {
		return false, slipway.Errorf(slipway.Invalid, op, "no ReplicaSet keeps the pod template of %s any more", a.Release.Model).
			WithHint("go back without --whole-template; kubectl rollout history %s shows what is kept", t.object())
	}
	if sameTemplate(old.Spec.Template, s.d.Spec.Template) {
		return false, nil
	}
	template, err := t.rawTemplate(ctx, old)
	if err != nil {
		return false, err
	}
	patch, err := s.replaceTemplate(old, template, a)
	if err != nil {
		return false, err
	}
	_, err = t.client.AppsV1().Deployments(t.cfg.Ref.Namespace).
		Patch(ctx, t.cfg.Ref.Name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: Manager})
	if err != nil {
		return false, err
	}
	return true, errAgain
}

// templateOf returns the ReplicaSet that keeps the template.
func (t *Target) templateOf(ctx context.Context, s *survey, wanted values) (*appsv1.ReplicaSet, error) {
	selector, err := metav1.LabelSelectorAsSelector(s.d.Spec.Selector)
	if err != nil {
		return nil, err
	}
	list, err := t.client.AppsV1().ReplicaSets(t.cfg.Ref.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String(), Limit: maxListed})
	if err != nil {
		return nil, err
	}
	sets := slices.DeleteFunc(list.Items, func(r appsv1.ReplicaSet) bool { return !metav1.IsControlledBy(&r, s.d) })
	return firstOf(sets, s.c.Name, wanted), nil
}

// rawTemplate reads the ReplicaSet's template as the API server has it: a newer
// one has fields that this program does not know and must not drop.
func (t *Target) rawTemplate(ctx context.Context, set *appsv1.ReplicaSet) (map[string]any, error) {
	only := metav1.ListOptions{FieldSelector: "metadata.name=" + set.Name} // a list, for that is what the Role allows
	raw, err := t.client.AppsV1().RESTClient().Get().Namespace(set.Namespace).Resource("replicasets").
		VersionedParams(&only, scheme.ParameterCodec).SetHeader("Accept", "application/json").Do(ctx).Raw()
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Spec struct{ Template map[string]any }
		}
	}
	if err := json.Unmarshal(raw, &list); err != nil || len(list.Items) != 1 {
		return nil, errAgain // it has just been deleted
	}
	template := list.Items[0].Spec.Template
	if meta, ok := template["metadata"].(map[string]any); ok {
		if labels, ok := meta["labels"].(map[string]any); ok {
			delete(labels, appsv1.DefaultDeploymentUniqueLabelKey)
		}
	}
	return template, nil
}

// firstOf returns the ReplicaSet that first had the values, of the release that
// last had them: what came after it under the same release, others changed.
func firstOf(sets []appsv1.ReplicaSet, container string, wanted values) *appsv1.ReplicaSet {
	sets = slices.DeleteFunc(slices.Clone(sets), func(r appsv1.ReplicaSet) bool { return !carries(&r, container, wanted) })
	if len(sets) == 0 {
		return nil
	}
	release := slices.MaxFunc(sets, byLastUse).Annotations[annotationRelease]
	sets = slices.DeleteFunc(sets, func(r appsv1.ReplicaSet) bool { return r.Annotations[annotationRelease] != release })
	first := slices.MinFunc(sets, byAge)
	return &first
}

// byAge orders ReplicaSets of one Deployment as they were made. Their time
// stamps tell whole seconds only, so within one the first revision decides.
func byAge(a, b appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(firstRevision(&a), firstRevision(&b)))
}

// byLastUse orders them as they were last rolled out: one whose template comes
// back gets the newest revision, and the annotations of the release it is now of.
func byLastUse(a, b appsv1.ReplicaSet) int {
	return cmp.Or(cmp.Compare(lastRevision(&a), lastRevision(&b)), byAge(a, b))
}

func firstRevision(r *appsv1.ReplicaSet) int64 {
	first, _, _ := strings.Cut(r.Annotations["deployment.kubernetes.io/revision-history"], ",")
	if n, err := strconv.ParseInt(first, 10, 64); err == nil {
		return n
	}
	return lastRevision(r)
}

func lastRevision(r *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(r.Annotations["deployment.kubernetes.io/revision"], 10, 64)
	if err != nil {
		return math.MaxInt64 // not numbered yet: the newest
	}
	return n
}

// carries reports whether the ReplicaSet's template has the values that lie in
// a template.
func carries(r *appsv1.ReplicaSet, container string, wanted values) bool {
	i := slices.IndexFunc(r.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == container })
	if i < 0 {
		return false
	}
	has := templateValues(&r.Spec.Template.Spec.Containers[i])
	for key, v := range wanted {
		if isOfTemplate(key) && !sameValue(v, has[key]) {
			return false
		}
	}
	return true
}

// isOfTemplate leaves out our own start-up probe, too: others' defaults are in it.
func isOfTemplate(key string) bool {
	return key != keyCause && key != keyReplicas && key != keyMaxUnavailable && key != keyProbe
}

func sameValue(a, b value) bool {
	var x, y any
	if a.isNull() || b.isNull() {
		return a.isNull() == b.isNull()
	}
	return a.decode(&x) == nil && b.decode(&y) == nil && fmt.Sprint(x) == fmt.Sprint(y)
}

// replaceTemplate is the patch that sets the whole template, and says of which
// release it is.
func (s *survey) replaceTemplate(old *appsv1.ReplicaSet, template map[string]any, a slipway.Action) ([]byte, error) {
	annotations := maps.Clone(s.d.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	said, err := about(a.Release)
	if err != nil {
		return nil, err
	}
	maps.Copy(annotations, said)
	if text, ok := old.Annotations[annotationFound]; ok {
		annotations[annotationFound] = text
	}
	annotations[annotationFence] = strconv.FormatUint(a.Fence, 10)
	annotations[annotationCause] = cause(a.Release)
	return json.Marshal([]map[string]any{
		{"op": "replace", "path": "/spec/template", "value": template},
		{"op": "add", "path": "/metadata/annotations", "value": annotations},
		{"op": "replace", "path": "/metadata/resourceVersion", "value": s.d.ResourceVersion},
	})
}
