package kube

import (
	"context"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/slipway-dev/slipway"
)

// Observe returns what the Deployment is set to and what its pods do now. It
// asks the API server each time, so that it sees its own writes and anybody
// else's. A Deployment that does not exist, or that carries
// the manifest's placeholder, serves nothing: that is no error.
func (t *Target) Observe(ctx context.Context) (slipway.Observation, error) {
	s, err := t.read(ctx)
	if err != nil {
		return slipway.Observation{}, err
	}
	s.scaled = t.memory.scalings(s)
	return s.observation(time.Now().UTC()), nil
}

// observation is what the snapshot shows.
func (s *snapshot) observation(now time.Time) slipway.Observation {
	o := slipway.Observation{At: now}
	if s.deployment == nil {
		return o
	}
	o.Replicas = s.replicas(now)
	if o.Desired = s.desired(); o.Desired == "" {
		if note := s.placed(); note != "" {
			o.Notes = []string{note}
		}
		return o
	}
	o.Release, _ = s.owner()
	o.Want = s.want()
	o.Startup = s.startup()
	o.Problem = s.problem(now)
	o.Notes = s.notes()
	return o
}

func (s *snapshot) want() int {
	if n := s.deployment.Spec.Replicas; n != nil {
		return int(*n)
	}
	return 1
}

// startup is how long the start-up probe lets a pod take; 0: there is none.
func (s *snapshot) startup() time.Duration {
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if c == nil {
		return 0
	}
	return probeLimit(c.StartupProbe)
}

func probeLimit(p *corev1.Probe) time.Duration {
	if p == nil {
		return 0
	}
	return time.Duration(p.InitialDelaySeconds+p.FailureThreshold*p.PeriodSeconds) * time.Second
}

// modelContainer returns the container that holds the model server: the one
// that was asked for, else the one named like the Deployment, else the first.
func modelContainer(spec corev1.PodSpec, name, asked string) *corev1.Container {
	if asked != "" {
		name = asked
	}
	for i, c := range spec.Containers {
		if c.Name == name {
			return &spec.Containers[i]
		}
	}
	if asked != "" || len(spec.Containers) == 0 {
		return nil
	}
	return &spec.Containers[0]
}

// desired is the image the Deployment is set to. One that is not ours counts
// once a pod of it has become ready: what never served is no way back.
func (s *snapshot) desired() slipway.Digest {
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if c == nil || isPlaceholder(c.Image) {
		return ""
	}
	if d := digestIn(c.Image); d != "" && s.deployment.Annotations[annotationRelease] != "" {
		return d
	}
	current := s.current()
	for _, p := range s.pods {
		if current != nil && metav1.IsControlledBy(&p, current) && isReady(p) {
			return s.imageOf(p)
		}
	}
	return ""
}

// isPlaceholder reports whether the image is the one that the manifest has
// until the first release: pause, which runs everywhere and does nothing.
func isPlaceholder(image string) bool {
	name, _, _ := strings.Cut(image, "@")
	name = name[strings.LastIndex(name, "/")+1:]
	name, _, _ = strings.Cut(name, ":")
	return name == "pause"
}

// digestIn returns the digest of an image reference, or "".
func digestIn(reference string) slipway.Digest {
	_, text, _ := strings.Cut(reference, "@")
	d, err := slipway.ParseDigest(text)
	if err != nil {
		return ""
	}
	return d
}

// imageOf returns the digest of the image a pod runs: as its template names
// it, else as the node found it.
func (s *snapshot) imageOf(p corev1.Pod) slipway.Digest {
	c := modelContainer(p.Spec, s.name, s.container)
	if c == nil {
		return ""
	}
	if d := digestIn(c.Image); d != "" {
		return d
	}
	status := statusOf(p, c.Name)
	if status == nil {
		return ""
	}
	return digestIn(status.ImageID)
}

func statusOf(p corev1.Pod, container string) *corev1.ContainerStatus {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c corev1.ContainerStatus) bool { return c.Name == container })
	if i < 0 {
		return nil
	}
	return &p.Status.ContainerStatuses[i]
}

// current returns the ReplicaSet whose pods are as the Deployment's template
// is now; nil: its controller has not made it yet.
func (s *snapshot) current() *appsv1.ReplicaSet {
	var found *appsv1.ReplicaSet
	for i := range s.replicaSets {
		r := &s.replicaSets[i]
		if sameTemplate(r.Spec.Template, s.deployment.Spec.Template) && (found == nil || r.CreationTimestamp.Before(&found.CreationTimestamp)) {
			found = r
		}
	}
	return found
}

// sameTemplate compares pod templates as the Deployment's controller does.
func sameTemplate(a, b corev1.PodTemplateSpec) bool {
	a, b = *a.DeepCopy(), *b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// set returns the ReplicaSet that made the pod; nil: another made it.
func (s *snapshot) set(p corev1.Pod) *appsv1.ReplicaSet {
	for i := range s.replicaSets {
		if metav1.IsControlledBy(&p, &s.replicaSets[i]) {
			return &s.replicaSets[i]
		}
	}
	return nil
}

// owner returns the release that set the Deployment to its image, and its
// model. The annotations stay when somebody else sets the image; who set it
// can be told from the fields' managers: whoever set the image must have set
// the annotation too, as we do and `kubectl rollout undo` does.
func (s *snapshot) owner() (slipway.ReleaseID, slipway.ModelVersion) {
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if c == nil || !s.setTogether(c.Name) {
		return "", slipway.ModelVersion{}
	}
	return releaseIn(s.deployment.Annotations), modelIn(s.deployment.Annotations)
}

func (s *snapshot) setTogether(container string) bool {
	entries := s.deployment.ManagedFields
	return len(entries) == 0 || slices.ContainsFunc(entries, func(e metav1.ManagedFieldsEntry) bool {
		set := setOf(e)
		return holds(set, pathOf(keyImage, container)) && holds(set, annotationPath(annotationRelease))
	})
}

var releasePattern = regexp.MustCompile(`^[0-9A-Za-z-]{1,40}$`)

func releaseIn(annotations map[string]string) slipway.ReleaseID {
	id := annotations[annotationRelease]
	if !releasePattern.MatchString(id) {
		return ""
	}
	return slipway.ReleaseID(id)
}

// maxModel bounds the annotation that holds the model, in bytes.
const maxModel = 4 << 10

func modelIn(annotations map[string]string) slipway.ModelVersion {
	var m slipway.ModelVersion
	text := annotations[annotationModel]
	if len(text) > maxModel || json.Unmarshal([]byte(text), &m) != nil {
		return slipway.ModelVersion{}
	}
	m.Name, m.Version = slipway.ModelName(printable(string(m.Name), maxName)), slipway.Version(printable(string(m.Version), maxName))
	m.RunID, m.ModelID, m.Flavor = printable(m.RunID, maxName), printable(m.ModelID, maxName), printable(m.Flavor, maxName)
	if _, err := slipway.ParseDigest(string(m.Files)); err != nil {
		m.Files = ""
	}
	return m
}

// maxName bounds a name in an annotation, in bytes.
const maxName = 500
