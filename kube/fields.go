package kube

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// The fields of a Deployment that a release may set, by the names we give them.
// Those of the environment are keyEnv and the variable's name.
const (
	keyImage          = "image"
	keyEnv            = "env/"
	keyCPU            = "requests/cpu"
	keyMemory         = "requests/memory"
	keyProbe          = "startupProbe" // where the container has none
	keyThreshold      = "startupProbe/failureThreshold"
	keyCause          = "change-cause"
	keyReplicas       = "replicas"
	keyMaxUnavailable = "maxUnavailable"
)

// value is a field's value as JSON; empty or null where the field is not there.
type value json.RawMessage

func (v value) isNull() bool { return len(v) == 0 || string(v) == "null" }

func (v value) decode(to any) error { return json.Unmarshal(v, to) }

func (v value) MarshalJSON() ([]byte, error) {
	if v.isNull() {
		return []byte("null"), nil
	}
	return v, nil
}

func (v *value) UnmarshalJSON(data []byte) error {
	*v = bytes.Clone(data)
	return nil
}

// values are fields by their names.
type values map[string]value

func (v values) set(key string, x any) {
	data, err := json.Marshal(x)
	if err != nil {
		panic(fmt.Sprintf("a field that is no JSON: %v", err)) // they are strings and numbers
	}
	v[key] = data
}

// liveValues returns the fields that the Deployment has now. A field that is
// not there is not in the map.
func liveValues(d *appsv1.Deployment, c *corev1.Container) values {
	v := templateValues(c)
	if cause, ok := d.Annotations[annotationCause]; ok {
		v.set(keyCause, cause)
	}
	if d.Spec.Replicas != nil {
		v.set(keyReplicas, *d.Spec.Replicas)
	}
	if r := d.Spec.Strategy.RollingUpdate; r != nil && r.MaxUnavailable != nil {
		v.set(keyMaxUnavailable, r.MaxUnavailable)
	}
	return v
}

// templateValues returns the fields that the container has.
func templateValues(c *corev1.Container) values {
	v := values{}
	v.set(keyImage, c.Image)
	for _, e := range c.Env {
		v.set(keyEnv+e.Name, e)
	}
	if q, ok := c.Resources.Requests[corev1.ResourceCPU]; ok {
		v.set(keyCPU, q)
	}
	if q, ok := c.Resources.Requests[corev1.ResourceMemory]; ok {
		v.set(keyMemory, q)
	}
	if c.StartupProbe != nil {
		v.set(keyProbe, c.StartupProbe)
		v.set(keyThreshold, c.StartupProbe.FailureThreshold)
	}
	return v
}

// pathOf returns where the field lies in a Deployment.
func pathOf(key, container string) fieldpath.Path {
	in := []any{"spec", "template", "spec", "containers", fieldpath.KeyByFields("name", container)}
	switch key {
	case keyCause:
		return annotationPath(annotationCause)
	case keyReplicas:
		return fieldpath.MakePathOrDie("spec", "replicas")
	case keyMaxUnavailable:
		return fieldpath.MakePathOrDie("spec", "strategy", "rollingUpdate", "maxUnavailable")
	case keyCPU, keyMemory:
		in = append(in, "resources")
	}
	if name, ok := strings.CutPrefix(key, keyEnv); ok {
		return fieldpath.MakePathOrDie(append(in, "env", fieldpath.KeyByFields("name", name))...)
	}
	for _, element := range strings.Split(key, "/") {
		in = append(in, element)
	}
	return fieldpath.MakePathOrDie(in...)
}

func annotationPath(name string) fieldpath.Path {
	return fieldpath.MakePathOrDie("metadata", "annotations", name)
}
