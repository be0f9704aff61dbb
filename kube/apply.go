package kube

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/slipway-dev/slipway"
)

// survey is a Deployment as a write must know it: its fields, who owns them
// and how they were found.
type survey struct {
	d      *appsv1.Deployment
	c      *corev1.Container
	live   values
	owners owners
	found  found
	undone bool // the annotations are ours but somebody else wrote them: `kubectl rollout undo`
}

func (t *Target) survey(op string, d *appsv1.Deployment) (*survey, error) {
	c, err := t.container(op, &d.Spec.Template)
	if err != nil {
		return nil, err
	}
	s := &survey{d: d, c: c, live: liveValues(d, c), owners: ownersOf(d.ManagedFields), found: decodeFound(d.Annotations[annotationFound])}
	_, released := d.Annotations[annotationRelease]
	s.undone = released && !holds(s.owners.mine, annotationPath(annotationRelease))
	if was := s.found.Container; released && was != "" && was != c.Name {
		return nil, slipway.Errorf(slipway.Invalid, op, "the release before was put into the container %q, not into %q", printable(was, 80), c.Name).
			WithHint("name the same one: ?container=NAME")
	}
	return s, nil
}

// at returns the paths that say who gave the field its value. An entry of the
// environment is there for everybody who names it; its value is one's.
func (s *survey) at(key string) fieldpath.Path {
	path := pathOf(key, s.c.Name)
	if !strings.HasPrefix(key, keyEnv) {
		return path
	}
	for _, part := range []string{"value", "valueFrom"} {
		if partsOf(s.live[key])[part] != nil {
			return append(path, fieldpath.PathElement{FieldName: &part})
		}
	}
	return path
}

// partsOf returns the parts of an object; none of anything else.
func partsOf(v value) values {
	var parts values
	if v.isNull() || v.decode(&parts) != nil {
		return nil
	}
	return parts
}

func (s *survey) mine(key string) bool   { return holds(s.owners.mine, s.at(key)) }
func (s *survey) shared(key string) bool { return holds(s.owners.others, s.at(key)) }

// touched reports whether anything of the field is ours: an entry of the
// environment that we made stays ours when others give it another value.
func (s *survey) touched(key string) bool { return holds(s.owners.mine, pathOf(key, s.c.Name)) }

// ours are the fields that we set or that the annotation tells of.
func (s *survey) ours() []string {
	var keys []string
	for key := range s.live {
		if s.touched(key) && (key != keyThreshold || !s.ownProbe()) && (key != keyProbe || s.ownProbe()) {
			keys = append(keys, key)
		}
	}
	for key := range s.found.Fields {
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// write is what one action changes.
type write struct {
	claims   []fieldpath.Path // to be taken over first; then the rest is decided again
	document []byte           // for server-side apply
}

// decide returns the write that brings the Deployment to what the action wants.
func (s *survey) decide(op string, a slipway.Action) (write, error) {
	send, annotations, err := s.goal(op, a)
	if err != nil {
		return write{}, err
	}
	keep := found{Container: s.c.Name, Served: s.served(), Fields: values{}}
	for key := range send {
		if key != keyReplicas {
			keep.Fields[key] = s.was(key)
		}
	}
	for _, key := range s.ours() {
		if _, wanted := send[key]; !wanted {
			s.leave(key, send, keep.Fields)
		}
	}
	if a.Kind == slipway.Remove && s.forgotten() {
		return write{}, slipway.Errorf(slipway.Invalid, op, "what the Deployment was set to before the first release is not known any more").
			WithHint("put it back by hand: kubectl apply -f %s", manifest)
	}
	if w := s.claims(a, send); len(w.claims) > 0 {
		return w, nil
	}
	annotations[annotationFence] = strconv.FormatUint(a.Fence, 10)
	if annotations[annotationFound], err = keep.encode(); err != nil {
		return write{}, err
	}
	if len(keep.Fields) == 0 {
		delete(annotations, annotationFound)
	}
	document, err := s.document(send, annotations)
	return write{document: document}, err
}

// forgotten reports whether a release set the image and the annotation that
// tells what was there before is gone.
func (s *survey) forgotten() bool {
	_, known := s.found.Fields[keyImage]
	return !known && s.d.Annotations[annotationRelease] != "" && (s.mine(keyImage) || s.undone)
}

// goal returns the fields and annotations that the action names.
func (s *survey) goal(op string, a slipway.Action) (values, map[string]string, error) {
	if a.Kind == slipway.Remove {
		return s.removal(), map[string]string{}, nil
	}
	send, err := s.wanted(op, a.Release)
	if err != nil {
		return nil, nil, err
	}
	annotations, err := about(a.Release)
	return send, annotations, err
}

// served reports whether pods were ready before the first release.
func (s *survey) served() bool {
	if _, known := s.found.Fields[keyImage]; known && (s.mine(keyImage) || s.undone) {
		return s.found.Served
	}
	return s.d.Status.ReadyReplicas > 0
}

// was returns the field as others left it.
func (s *survey) was(key string) value {
	if v, known := s.found.Fields[key]; known && (s.mine(key) || s.undone) {
		return v
	}
	return s.live[key]
}

// leave decides about a field that is ours and that the action does not name.
func (s *survey) leave(key string, send, keep values) {
	was, known := s.found.Fields[key]
	undone := s.undone && known && key != keyMaxUnavailable
	switch {
	case !undone && (!s.mine(key) || s.shared(key)): // somebody else sets it now
		if name, ok := strings.CutPrefix(key, keyEnv); ok && s.touched(key) && !s.live[key].isNull() {
			send.set(key, map[string]string{"name": name}) // or the entry would go with us
		}
	case known && was.isNull(): // it goes, for only we set it
	case known:
		send[key], keep[key] = was, was
	case !s.live[key].isNull():
		send[key] = s.live[key] // without us nobody would say that it is to stay
	}
}

// claims returns the fields to be taken over before the write: those of an
// undone rollout, which whoever undid it owns now, and those that must go and
// would stay.
func (s *survey) claims(a slipway.Action, send values) write {
	var paths []fieldpath.Path
	if s.undone {
		for key := range s.found.Fields {
			paths = append(paths, pathOf(key, s.c.Name))
		}
	}
	if s.undone || a.Kind == slipway.Remove {
		for _, name := range []string{annotationRelease, annotationModel, annotationFound, annotationCause} {
			paths = append(paths, annotationPath(name))
		}
	}
	for key, v := range send {
		if part := s.clash(key, v); part != "" {
			paths = append(paths, append(pathOf(key, s.c.Name), fieldpath.PathElement{FieldName: &part}))
		}
	}
	return write{claims: slices.DeleteFunc(paths, func(p fieldpath.Path) bool { return !holds(s.owners.others, p) })}
}

// clash returns the part of an entry of the environment that cannot stay beside
// what is sent: there is a value or one kind of source for it.
func (s *survey) clash(key string, v value) string {
	live, next := partsOf(s.live[key]), partsOf(v)
	switch {
	case !strings.HasPrefix(key, keyEnv) || len(next) < 2: // a name alone
		return ""
	case live["value"] != nil && next["value"] == nil:
		return "value"
	case live["valueFrom"] != nil && !sameKeys(partsOf(live["valueFrom"]), partsOf(next["valueFrom"])):
		return "valueFrom"
	}
	return ""
}

func sameKeys(a, b values) bool {
	return slices.Equal(slices.Sorted(maps.Keys(a)), slices.Sorted(maps.Keys(b)))
}

// document is the Deployment as we apply it: the fields that are ours.
func (s *survey) document(send values, annotations map[string]string) ([]byte, error) {
	spec, container := map[string]any{}, map[string]any{}
	requests := map[string]any{}
	for key, v := range send {
		switch key {
		case keyImage, keyProbe:
			container[key] = v
		case keyThreshold:
			container[keyProbe] = map[string]any{"failureThreshold": v}
		case keyCPU, keyMemory:
			requests[strings.TrimPrefix(key, "requests/")] = v
		case keyReplicas:
			spec["replicas"] = v
		case keyMaxUnavailable:
			spec["strategy"] = map[string]any{"rollingUpdate": map[string]any{"maxUnavailable": v}}
		case keyCause:
			var text string
			if err := v.decode(&text); err != nil {
				return nil, err
			}
			annotations[annotationCause] = text
		}
	}
	if len(requests) > 0 {
		container["resources"] = map[string]any{"requests": requests}
	}
	if env := s.env(send); len(env) > 0 {
		container["env"] = env
	}
	if len(container) > 0 {
		container["name"] = s.c.Name
		spec["template"] = map[string]any{"spec": map[string]any{"containers": []any{container}}}
	}
	document := map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment",
		"metadata": map[string]any{
			"name": s.d.Name, "namespace": s.d.Namespace, "uid": s.d.UID, "resourceVersion": s.d.ResourceVersion,
			"annotations": annotations,
		},
	}
	if len(spec) > 0 {
		document["spec"] = spec
	}
	return json.Marshal(document)
}

// env returns the entries in the order in which they are; new ones among ours
// by name. So a release that is applied again gives the template it had before,
// and its pods need not start again.
func (s *survey) env(send values) []value {
	var names []string
	for _, e := range s.c.Env {
		if _, ok := send[keyEnv+e.Name]; ok && !slices.Contains(names, e.Name) {
			names = append(names, e.Name)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(send)) {
		name, ok := strings.CutPrefix(key, keyEnv)
		if !ok || slices.Contains(names, name) {
			continue
		}
		i := slices.IndexFunc(names, func(other string) bool { return other > name && s.was(keyEnv+other).isNull() })
		if i < 0 {
			i = len(names)
		}
		names = slices.Insert(names, i, name)
	}
	var entries []value
	for _, name := range names {
		entries = append(entries, send[keyEnv+name])
	}
	return entries
}
