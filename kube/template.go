package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
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
	byAge := func(a, b appsv1.ReplicaSet) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) }
	slices.SortStableFunc(sets, byAge)
	release := sets[len(sets)-1].Annotations[annotationRelease]
	i := slices.IndexFunc(sets, func(r appsv1.ReplicaSet) bool { return r.Annotations[annotationRelease] == release })
	return &sets[i]
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

// drift returns what others changed in the pod template since the release that
// the Deployment is set to was first rolled out with it, as paths; nil: nothing
// that is known.
func drift(d *appsv1.Deployment, sets []appsv1.ReplicaSet, container string) []string {
	i := slices.IndexFunc(d.Spec.Template.Spec.Containers, func(c corev1.Container) bool { return c.Name == container })
	if i < 0 || d.Annotations[annotationRelease] == "" {
		return nil
	}
	ours := decodeFound(d.Annotations[annotationFound]).Fields
	now := templateValues(&d.Spec.Template.Spec.Containers[i])
	set := values{keyImage: now[keyImage]}
	for key := range ours {
		if v, ok := now[key]; ok {
			set[key] = v
		}
	}
	old := firstOf(sets, container, set)
	if old == nil || sameTemplate(old.Spec.Template, d.Spec.Template) {
		return nil
	}
	all := maps.Clone(set)
	maps.Copy(all, ours)
	maps.Copy(all, decodeFound(old.Annotations[annotationFound]).Fields)
	return differing(old.Spec.Template, d.Spec.Template, container, all)
}

// differing returns the paths at which two templates differ, without those of
// the fields that releases set.
func differing(old, now corev1.PodTemplateSpec, container string, ours values) []string {
	before, after := treeOf(old, container, ours), treeOf(now, container, ours)
	var paths []string
	compare("", before, after, &paths)
	slices.Sort(paths)
	return slices.Compact(paths)
}

// treeOf returns the template as JSON has it, without what is ours.
func treeOf(template corev1.PodTemplateSpec, container string, ours values) any {
	t := template.DeepCopy()
	delete(t.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	for i := range t.Spec.Containers {
		c := &t.Spec.Containers[i]
		if c.Name != container {
			continue
		}
		c.Image = ""
		c.Env = slices.DeleteFunc(c.Env, func(e corev1.EnvVar) bool { _, is := ours[keyEnv+e.Name]; return is })
		for key, resource := range map[string]corev1.ResourceName{keyCPU: corev1.ResourceCPU, keyMemory: corev1.ResourceMemory} {
			if _, is := ours[key]; is {
				delete(c.Resources.Requests, resource)
			}
		}
		if _, is := ours[keyProbe]; is {
			c.StartupProbe = nil
		}
		if _, is := ours[keyThreshold]; is && c.StartupProbe != nil {
			c.StartupProbe.FailureThreshold = 0
		}
	}
	data, err := json.Marshal(t)
	if err != nil {
		return nil
	}
	var tree any
	if json.Unmarshal(data, &tree) != nil {
		return nil
	}
	return tree
}

// compare adds the paths at which two JSON trees differ. Lists of things that
// have names are compared by name.
func compare(path string, a, b any, paths *[]string) {
	x, y, both := branches(a, b)
	if !both {
		if fmt.Sprint(a) != fmt.Sprint(b) {
			*paths = append(*paths, strings.TrimPrefix(path, "."))
		}
		return
	}
	for key := range x {
		compare(path+key, x[key], y[key], paths)
	}
	for key := range y {
		if _, ok := x[key]; !ok {
			compare(path+key, nil, y[key], paths)
		}
	}
}

// branches returns what lies below two values of the same kind, by the step
// that leads there. Of what is only on one side, no more than the names.
func branches(a, b any) (x, y map[string]any, ok bool) {
	_, list := a.([]any)
	_, other := b.([]any)
	x, y = branchesOf(a), branchesOf(b)
	switch {
	case a == nil:
		return map[string]any{}, y, other && y != nil || isFlat(b)
	case b == nil:
		return x, map[string]any{}, list && x != nil || isFlat(a)
	}
	return x, y, x != nil && y != nil && list == other
}

// isFlat tells a map of texts, such as labels, from a thing with parts.
func isFlat(v any) bool {
	m, ok := v.(map[string]any)
	if m["name"] != nil {
		return false
	}
	for _, value := range m {
		if branchesOf(value) != nil {
			return false
		}
	}
	return ok
}

func branchesOf(v any) map[string]any {
	out := map[string]any{}
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if strings.ContainsAny(key, "./") {
				key = "[" + key + "]"
			} else {
				key = "." + key
			}
			out[key] = value
		}
		return out
	case []any:
		for _, item := range v {
			named, ok := item.(map[string]any)
			if !ok || named["name"] == nil {
				return nil
			}
			out[fmt.Sprintf("[%v]", named["name"])] = item
		}
		return out
	}
	return nil
}
