package kube

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// notes is what others did since we last wrote that hinders nobody, and what
// cannot be seen. A note's text stays the same as long as what it tells does.
func (s *snapshot) notes() []string {
	notes := slices.Concat(s.unseen, s.scaled)
	for _, note := range []string{s.templateBy(), s.kept(), s.placed()} {
		if note != "" {
			notes = append(notes, note)
		}
	}
	return append(notes, s.leaving()...)
}

// placed is that somebody put another image there, which cannot be told from
// the Deployment's release.
func (s *snapshot) placed() string {
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if c == nil || s.deployment.Annotations[annotationRelease] == "" || s.setTogether(c.Name) {
		return ""
	}
	image := pathOf(keyImage, c.Name)
	by := s.lastOther(func(set *fieldpath.Set) bool { return holds(set, image) })
	if by == nil {
		return ""
	}
	return fmt.Sprintf("the image was set to %s by %s", shortImage(c.Image), who(*by))
}

// scaledBy is who scaled the Deployment; empty: we did. An API server does not
// write down when.
func (s *snapshot) scaledBy() string {
	replicas := fieldpath.MakePathOrDie("spec", "replicas")
	for _, e := range s.deployment.ManagedFields {
		switch {
		case e.Manager == Manager || !setOf(e).Has(replicas):
		case e.Manager == "kube-controller-manager": // which scales in the name of one thing only
			return "the HorizontalPodAutoscaler"
		default:
			return printable(e.Manager, 100)
		}
	}
	return ""
}

// templateBy is that somebody else changed the pod template, and where.
func (s *snapshot) templateBy() string {
	by := s.lastOther(func(set *fieldpath.Set) bool {
		return !set.WithPrefix(fieldName("spec")).WithPrefix(fieldName("template")).Empty()
	})
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if by == nil || c == nil || !s.setTogether(c.Name) {
		return ""
	}
	note := "the pod template was changed by " + who(*by)
	changed := drift(s.deployment, s.replicaSets, c.Name)
	if len(changed) == 0 {
		return note
	}
	return note + ": " + listed(changed)
}

// kept is what others had changed in the pod template when we last wrote, and
// what we left.
func (s *snapshot) kept() string {
	c := modelContainer(s.deployment.Spec.Template.Spec, s.name, s.container)
	if c == nil || s.templateBy() != "" {
		return ""
	}
	changed := drift(s.deployment, s.replicaSets, c.Name)
	if len(changed) == 0 {
		return ""
	}
	return "the pod template is not as it was when the release was first rolled out; what others changed is left: " + listed(changed) +
		" (slipway rollback --whole-template takes it back)"
}

func listed(paths []string) string {
	if len(paths) > maxReasons {
		paths = append(paths[:maxReasons:maxReasons], "…")
	}
	return printable(strings.Join(paths, ", "), maxText)
}

func fieldName(name string) fieldpath.PathElement { return fieldpath.PathElement{FieldName: &name} }

// lastOther returns the newest write of another manager since ours, of fields
// like these; nil: there is none, or we never wrote.
func (s *snapshot) lastOther(of func(*fieldpath.Set) bool) *metav1.ManagedFieldsEntry {
	var ours time.Time
	for _, e := range s.deployment.ManagedFields {
		if e.Manager == Manager && e.Time != nil {
			ours = later(ours, e.Time.Time)
		}
	}
	var last *metav1.ManagedFieldsEntry
	for i, e := range s.deployment.ManagedFields {
		if e.Manager == Manager || e.Time == nil || ours.IsZero() || !e.Time.After(ours) || !of(setOf(e)) {
			continue
		}
		if last == nil || e.Time.After(last.Time.Time) {
			last = &s.deployment.ManagedFields[i]
		}
	}
	return last
}

// who names the program that wrote: people appear as the kubectl they used.
func who(e metav1.ManagedFieldsEntry) string {
	return printable(e.Manager, 100) + " at " + clock(e.Time)
}

func clock(t *metav1.Time) string { return t.UTC().Format("15:04:05 MST") }

// leaving is which pods have to leave their nodes, and why.
func (s *snapshot) leaving() []string {
	var notes []string
	for _, p := range s.pods {
		c := condition(p, corev1.DisruptionTarget)
		if c.Status == corev1.ConditionTrue && s.set(p) != nil {
			notes = append(notes, fmt.Sprintf("%s has to leave its node: %s", p.Name, printable(c.Reason+": "+c.Message, 300)))
		}
	}
	slices.Sort(notes)
	return notes
}
