package kube

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

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
